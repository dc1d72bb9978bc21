"""Which run may begin, on every ledger: turns of datasets, back-off, lanes, and the claim that minds all of them."""

from __future__ import annotations

import pytest

from app.ledger import Guard, Ledger
from app.ledger.outbox import Outbox
from app.ledger.scheduling import Claim
from app.models.runs.lane import LaneState
from app.models.runs.run import Lease, Run, RunStatus
from tests.contract.conftest import CROWD, Crowd
from tests.contract.ledgers import MINUTE, T0, a_run, put_run
from tests.contract.test_ledger_outbox import said, told

pytestmark = pytest.mark.anyio

QUEUED, RUNNING, CANCELING = RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.CANCELING
LEASE = Lease(owner="host:1:1", expires_at=T0 + MINUTE)


async def put_line(ledger: Ledger, *run_ids: str, **fields: object) -> list[Run]:
    """Runs of one dataset, each a minute younger than the one before."""
    dataset = {"partition_key": "parcels"} | fields
    return [
        await put_run(ledger, run_id=run_id, created_at=T0 + place * MINUTE, **dataset)
        for place, run_id in enumerate(run_ids)
    ]


async def claim(ledger: Ledger, run_id: str, *, limit: int | None = None, attempt: int = 0) -> Claim:
    return await ledger.claim_run(run_id, attempt, LEASE, at=T0, limit=limit)


async def move(ledger: Ledger, run_id: str, *statuses: RunStatus, **changes: object) -> Run:
    for status in statuses:
        run = await ledger.change_run(run_id, Guard(frozenset(RunStatus)), status=status, **changes)
        assert run is not None
    return run


async def ready(ledger: Ledger, lane: str = "spatial", limit: int = 100) -> list[str]:
    return [run.run_id for run in await ledger.list_ready_runs(lane, T0, limit)]


async def test_a_claim_begins_the_next_attempt_and_forgets_the_one_before(ledger: Ledger) -> None:
    run = await put_run(ledger)
    claimed = (await claim(ledger, run.run_id)).run
    assert claimed is not None
    assert (claimed.status, claimed.attempt, claimed.lease, claimed.started_at) == (RUNNING, 1, LEASE, T0)
    assert claimed == await ledger.get_run(run.run_id)
    assert await claim(ledger, run.run_id) == Claim(), "it is not queued"
    await move(ledger, run.run_id, QUEUED, step="load", counts={"rows_in": 1}, not_before=T0)
    assert await claim(ledger, run.run_id) == Claim(), "another attempt's turn"
    again = (await claim(ledger, run.run_id, attempt=1)).run
    assert again is not None
    assert (again.attempt, again.step, again.counts, again.not_before) == (2, None, {}, None)
    assert await claim(ledger, "nobody") == Claim()


async def test_of_a_dataset_one_run_is_carried_and_the_others_follow_in_order(ledger: Ledger) -> None:
    # The youngest by (created_at, run_id) is accepted first, and has the turn: it is not taken from it.
    await put_run(ledger, run_id="z", partition_key="parcels", created_at=T0 + 9 * MINUTE)
    await put_run(ledger, run_id="c", partition_key="parcels", created_at=T0)
    await put_run(ledger, run_id="d", partition_key="parcels", created_at=T0 + MINUTE)
    await put_run(ledger, run_id="b", partition_key="parcels", created_at=T0)
    await put_run(ledger, run_id="elsewhere")
    assert await ready(ledger) == ["elsewhere", "z"]
    for place, (run_id, last) in enumerate([("z", "success"), ("b", "failure"), ("c", "canceled"), ("d", "success")]):
        writer = await ledger.get_writer("parcels")
        assert writer is not None
        assert (writer.run_id, writer.blocked, writer.revision) == (run_id, False, 2 if place else 1)
        waiting = {"z", "b", "c", "d"} - {run_id}
        for other in sorted(waiting):
            found = await claim(ledger, other)
            assert found.run is None
            assert found.waiting_for in ("dataset", None)
        assert (await claim(ledger, run_id)).run is not None
        if last == "canceled":
            await move(ledger, run_id, CANCELING)
            assert (await claim(ledger, "d")).waiting_for == "dataset"
        await move(ledger, run_id, RunStatus(last))
    assert await ledger.get_writer("parcels") is None
    assert (await claim(ledger, (await put_line(ledger, "later"))[0].run_id)).run is not None


async def test_an_attempt_that_died_keeps_the_turn(ledger: Ledger) -> None:
    await put_line(ledger, "a", "b")
    await claim(ledger, "a")
    await move(ledger, "a", QUEUED, not_before=T0 + MINUTE, lease=None)
    assert (await claim(ledger, "b")).waiting_for == "dataset"
    assert (await claim(ledger, "a", attempt=1)).waiting_for == "backoff"
    assert await ready(ledger) == []
    assert [run.run_id for run in await ledger.list_ready_runs("spatial", T0 + MINUTE, 9)] == ["a"]
    late = await ledger.claim_run("a", 1, LEASE, at=T0 + MINUTE, limit=None)
    assert late.run is not None


async def test_a_waiting_run_that_is_canceled_leaves_the_line(ledger: Ledger) -> None:
    await put_line(ledger, "a", "b", "c", "d")
    await move(ledger, "b", RunStatus.CANCELED)
    assert await ready(ledger) == ["a"]
    await move(ledger, "a", RunStatus.CANCELED)
    assert await ready(ledger) == ["c"]
    await claim(ledger, "c")
    await move(ledger, "c", RunStatus.SUCCESS)
    assert await ready(ledger) == ["d"]


async def test_a_further_run_of_a_batch_joins_the_line(ledger: Ledger) -> None:
    first, _ = await put_line(ledger, "a", "b")
    await move(ledger, "a", RunStatus.CANCELED)
    further = a_run(first.batch_id, run_id="a2", retry_of="a", created_at=T0 + 9 * MINUTE, partition_key="parcels")
    added = await ledger.add_run(further)
    assert added is not None
    assert added.blocked
    await move(ledger, "b", RunStatus.CANCELED)
    assert (await claim(ledger, "a2")).run is not None


async def test_a_paused_lane_begins_nothing_and_its_limit_holds(ledger: Ledger) -> None:
    assert await ledger.list_lanes() == ()
    for run_id in ("a", "b", "c"):
        await put_run(ledger, run_id=run_id)
    tabular = await put_run(ledger, lane="tabular")
    assert await ledger.change_lane("spatial", paused=True) == LaneState(lane="spatial", paused=True)
    assert (await claim(ledger, "a")).waiting_for == "lane_paused"
    assert (await claim(ledger, tabular.run_id)).run is not None
    assert await ready(ledger) == ["a", "b", "c"], "whether the lane is paused is not asked"
    limited = await ledger.change_lane("spatial", paused=False, limit=1)
    assert (limited,) == await ledger.list_lanes() == (LaneState(lane="spatial", limit=1, limit_is_set=True),)
    assert (await claim(ledger, "a")).run is not None
    assert (await claim(ledger, "b")).waiting_for == "lane_limit"
    assert await ledger.count_by_lane({QUEUED}) == {"spatial": 2}
    assert await ledger.count_by_lane({RUNNING, CANCELING}) == {"spatial": 1, "tabular": 1}
    await move(ledger, "a", CANCELING)
    assert (await claim(ledger, "b")).waiting_for == "lane_limit", "it is still being carried"
    await move(ledger, "a", RunStatus.CANCELED)
    assert (await claim(ledger, "b", limit=9)).run is not None
    assert (await claim(ledger, "c", limit=9)).waiting_for == "lane_limit", "what is set goes before the default"
    await ledger.change_lane("spatial", limit="unlimited")
    assert (await claim(ledger, "c", limit=1)).run is not None
    with pytest.raises(ValueError, match="at least 1"):
        await ledger.change_lane("spatial", limit=0)


async def test_the_default_limit_and_one_that_is_set_late_count_who_is_carried(ledger: Ledger) -> None:
    for run_id in ("a", "b", "c", "d"):
        await put_run(ledger, run_id=run_id)
    assert (await claim(ledger, "a")).run is not None
    assert (await claim(ledger, "b")).run is not None
    await ledger.change_lane("spatial", limit=2)
    assert (await claim(ledger, "c")).waiting_for == "lane_limit"
    await ledger.change_lane("spatial", limit="default")
    assert await ledger.list_lanes() in ((), (LaneState(lane="spatial"),))
    assert (await claim(ledger, "c", limit=3)).run is not None
    assert (await claim(ledger, "d", limit=3)).waiting_for == "lane_limit"
    # An attempt that dies makes room while its run waits.
    await move(ledger, "a", QUEUED, lease=None)
    assert (await claim(ledger, "d", limit=3)).run is not None
    assert (await claim(ledger, "a", limit=3, attempt=1)).waiting_for == "lane_limit"


async def test_processes_that_claim_at_once_mind_turns_and_limits(ledger: Ledger, crowd: Crowd) -> None:
    """One dataset, and a lane of many datasets that has room for three."""
    await put_line(ledger, *(f"line-{n:02}" for n in range(6)))
    for n in range(6):
        await put_run(ledger, run_id=f"lane-{n}", lane="tabular")
    await ledger.change_lane("tabular", limit=3)
    names = [*(f"line-{n:02}" for n in range(6)), *(f"lane-{n}" for n in range(6))]
    claimed = sorted(run_id for part in await crowd("take", *names) for run_id in part)
    assert claimed[-1] == "line-00"
    assert len(claimed) == 4
    assert not any(await crowd("take_and_end", *names[1:6])), "the first of the line is still carried"
    await move(ledger, "line-00", RunStatus.SUCCESS)
    ended: list[str] = []
    while len(ended) < 5:
        # Whichever process looks at a run when the one before it has just ended gets it, and no other does.
        parts = await crowd("take_and_end", *names[1:6])
        assert any(parts)
        ended += sorted(run_id for part in parts for run_id in part)
        assert ended == names[1 : len(ended) + 1]
    assert await ledger.get_writer("parcels") is None


async def test_processes_that_join_a_line_while_it_moves_are_all_served(ledger: Ledger, crowd: Crowd) -> None:
    """Each accepts runs of one dataset and carries whatever has the turn: none is left over, wherever they meet."""
    served = [run_id for part in await crowd("join_line", "parcels") for run_id in part]
    while (writer := await ledger.get_writer("parcels")) is not None:
        assert (await claim(ledger, writer.run_id)).run is not None
        await move(ledger, writer.run_id, RunStatus.SUCCESS)
        served.append(writer.run_id)
    assert len(served) == len(set(served)) == CROWD * 8
    assert await ledger.count_by_lane({QUEUED, RUNNING}) == {}


async def test_a_change_of_a_lane_tells_its_entries_once_and_not_without_it(ledger: Ledger) -> None:
    entries = Outbox(entries=told("paused").entries)
    await ledger.change_lane("spatial", entries, paused=True)
    with pytest.raises(ValueError, match="at least 1"):
        await ledger.change_lane("spatial", entries, limit=0)
    assert await said(ledger, "nobody") == ([], ["paused"])
