"""How runs move on when nobody carries them: on a real ledger and a real store, without a queue."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from app.clients import Clients, open_clients
from app.errors import StoreUnavailable
from app.ledger import Guard
from app.models.base import utcnow
from app.models.manifests.manifest import LAKE_BUCKET
from app.models.runs.attempt import AttemptEnd, AttemptOutcome
from app.models.runs.run import Lease, Retries, Run, RunStatus
from app.objects import Listing
from app.runs.ending import attempt_died
from app.services.lineage.graph import graph_of, trace
from app.services.runs.control import cancel
from app.services.sweep.sweep import Repair, Sweep
from app.settings import ObjectsSettings, Settings
from app.storage.local.store import LocalObjectStore
from app.system.processes import process_name
from app.worker import RunWorker
from tests.contract.ledgers import an_asset, put_asset, put_run, put_running

pytestmark = pytest.mark.anyio

KILLED = AttemptEnd(outcome=AttemptOutcome.KILLED, detail="it was killed")


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[Clients]:
    async with open_clients(Settings(data_dir=tmp_path)) as opened:
        await opened.ledger.migrate()
        yield opened


async def bytes_of(text: str) -> AsyncIterator[bytes]:
    yield text.encode()


class Clock:
    """A monotonic clock that goes on when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def sweep_of(clients: Clients, tmp_path: Path, clock: Clock | None = None) -> Sweep:
    return Sweep(clients, scratch=tmp_path / "scratch", retries=Retries(3), clock=clock or Clock())


async def looks(sweep: Sweep, clock: Clock, seconds: float, every: float = 5) -> list[Repair]:
    """What it mends in the looks of that many seconds."""
    made: list[Repair] = []
    end = clock.now + seconds
    while clock.now <= end:
        made += await sweep.once()
        clock.now += every
    return made


async def leased(clients: Clients, run: Run, owner: str, seconds: float) -> Run:
    lease = Lease(owner=owner, expires_at=utcnow() + timedelta(seconds=seconds))
    changed = await clients.ledger.change_run(run.run_id, Guard(frozenset({RunStatus.RUNNING})), lease=lease)
    assert changed is not None
    return changed


async def test_a_dead_attempt_is_followed_by_the_next_until_they_are_used_up(clients: Clients) -> None:
    run = await put_running(clients.ledger)
    again = await attempt_died(run, KILLED, clients, Retries(2), utcnow())
    assert again is not None
    assert (again.status, again.attempt, again.lease) == (RunStatus.QUEUED, 1, None)
    guard = Guard(frozenset({RunStatus.QUEUED}))
    second = await clients.ledger.change_run(run.run_id, guard, status=RunStatus.RUNNING, attempt=2)
    assert second is not None
    over = await attempt_died(second, KILLED, clients, Retries(2), utcnow())
    assert over is not None
    assert over.status is RunStatus.FAILURE
    assert over.error is not None
    assert over.error.code == "attempts_used_up"
    assert "it was killed" in over.error.detail
    assert await attempt_died(second, KILLED, clients, Retries(2), utcnow()) is None, "somebody else moved it on"


async def test_an_attempt_dies_once(clients: Clients) -> None:
    """The sweep takes the run from a silent worker, whose job then finds that it cannot go on and says so too."""
    run = await put_running(clients.ledger)
    waiting = await attempt_died(run, KILLED, clients, Retries(3), utcnow())
    assert waiting is not None
    assert await attempt_died(waiting, KILLED, clients, Retries(3), utcnow()) is None
    events = await clients.ledger.list_events(run.run_id)
    assert [event.code for event in events] == ["attempt.died"]
    assert await clients.ledger.get_run(run.run_id) == waiting


async def test_attempts_wait_twice_as_long_each_time_up_to_the_longest(clients: Clients) -> None:
    retries, now = Retries(9, backoff_seconds=10, backoff_max_seconds=35), utcnow()
    waits = []
    run = await put_running(clients.ledger)
    for _ in range(3):
        died = await attempt_died(run, KILLED, clients, retries, now)
        assert died is not None
        assert died.not_before is not None
        waits.append(round((died.not_before - now).total_seconds()))
        lease = Lease(owner="host:1:1", expires_at=now)
        early = await clients.ledger.claim_run(run.run_id, died.attempt, lease, at=now, limit=None)
        assert early.waiting_for == "backoff"
        claimed = await clients.ledger.claim_run(run.run_id, died.attempt, lease, at=died.not_before, limit=None)
        assert claimed.run is not None
        run = claimed.run
    assert waits == [10, 20, 35]
    assert Retries(10**6, 10, 35).pause_after(10**6).total_seconds() == 35


async def test_a_run_in_its_back_off_can_be_canceled(clients: Clients) -> None:
    run = await put_running(clients.ledger)
    assert await attempt_died(run, KILLED, clients, Retries(3, 60, 60), utcnow()) is not None
    canceled = await cancel(run.run_id, clients, seconds=1)
    assert canceled.status is RunStatus.CANCELED


async def test_an_attempt_that_died_after_its_commit_made_a_success(clients: Clients) -> None:
    run = await put_running(clients.ledger)
    assert await clients.ledger.reserve_version(run.run_id, 1) == 1
    counts = {"rows_in": 7, "rows_out": 7}
    asset = an_asset(run, statistics={"counts": counts, "engine": {"engine": "local"}})
    assert await clients.ledger.commit_asset(asset, 1) is not None
    ended = await attempt_died(run, KILLED, clients, Retries(1), utcnow())
    assert ended is not None
    assert (ended.status, dict(ended.counts), ended.error) == (RunStatus.SUCCESS, counts, None)


async def test_a_run_that_ends_without_a_version_leaves_no_object(clients: Clients) -> None:
    run = await put_running(clients.ledger)
    assert await clients.ledger.reserve_version(run.run_id, 1) == 1
    key = f"{run.partition_key}/v1/data-0.parquet"
    await clients.objects.put(LAKE_BUCKET, key, bytes_of("orphan"))
    ended = await attempt_died(run, KILLED, clients, Retries(1), utcnow())
    assert ended is not None
    assert ended.status is RunStatus.FAILURE
    assert await clients.objects.stat(LAKE_BUCKET, key) is None


async def test_a_dying_attempt_of_a_canceling_run_ends_canceled(clients: Clients) -> None:
    run = await put_running(clients.ledger)
    canceling = await clients.ledger.change_run(
        run.run_id, Guard(frozenset({RunStatus.RUNNING})), status=RunStatus.CANCELING
    )
    assert canceling is not None
    ended = await attempt_died(canceling, KILLED, clients, Retries(3), utcnow())
    assert ended is not None
    assert ended.status is RunStatus.CANCELED


async def test_the_sweep_leaves_a_living_attempt_alone(clients: Clients, tmp_path: Path) -> None:
    run = await leased(clients, await put_running(clients.ledger), process_name(), 60)
    assert await sweep_of(clients, tmp_path).once() == ()
    assert (await clients.ledger.get_run(run.run_id)) == run


@pytest.mark.parametrize(("gone", "reason"), [(True, "its worker is gone"), (False, "its worker fell silent")])
async def test_the_sweep_frees_runs_of_workers_that_are_gone_or_silent(
    clients: Clients, tmp_path: Path, gone: bool, reason: str
) -> None:
    owner = process_name().rpartition("/")[0] + "/1" if gone else "another-host/0/1/1"
    run = await leased(clients, await put_running(clients.ledger), owner, 60)
    clock = Clock()
    (repair,) = await looks(sweep_of(clients, tmp_path, clock), clock, 0 if gone else 30)
    assert (repair.run_id, repair.action, repair.reason) == (run.run_id, "queued", reason)
    events = await clients.ledger.list_events(run.run_id)
    assert reason in events[-1].message


async def test_the_sweep_does_its_work_although_the_queue_is_away(clients: Clients, tmp_path: Path) -> None:
    await put_run(clients.ledger, batch_id="waiting")
    gone = process_name().rpartition("/")[0] + "/1"
    run = await leased(clients, await put_running(clients.ledger, batch_id="gone"), gone, 60)
    repairs = await sweep_of(clients, tmp_path).once()
    assert [repair.run_id for repair in repairs] == [run.run_id]


async def test_a_queue_that_is_away_is_told_once(
    clients: Clients, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    await put_run(clients.ledger, batch_id="waiting")
    sweep = sweep_of(clients, tmp_path)
    for _ in range(3):
        await sweep.once()
    assert caplog.text.count("the sweep could not look at the queue") == 1


async def test_scratch_of_dead_owners_is_removed_and_of_living_ones_kept(clients: Clients, tmp_path: Path) -> None:
    mine = await leased(clients, await put_running(clients.ledger), process_name(), 60)
    kept = tmp_path / "scratch" / f"{mine.run_id}.1"
    dead = tmp_path / "scratch" / "0123.1"
    for directory, owner in ((kept, process_name()), (dead, process_name().rpartition("/")[0] + "/1")):
        directory.mkdir(parents=True)
        (directory / ".owner").write_text(owner)
        (directory / "part.parquet").write_bytes(b"x")
    await sweep_of(clients, tmp_path).once()
    assert kept.is_dir()
    assert not dead.exists()


async def test_scratch_that_nobody_here_can_judge_goes_when_it_was_seen_long_enough(
    clients: Clients, tmp_path: Path
) -> None:
    """However old it is: another host's clock made its times."""
    for name in ("0123.1", "plan-0123"):
        directory = tmp_path / "scratch" / name
        directory.mkdir(parents=True)
        (directory / ".owner").write_text("elsewhere/x/1/1")
        os.utime(directory, (0, 0))
    clock = Clock()
    sweep = sweep_of(clients, tmp_path, clock)

    async def left_after(seconds: float) -> set[str]:
        await looks(sweep, clock, seconds)
        return {path.name for path in (tmp_path / "scratch").iterdir()}

    assert await left_after(50) == {"0123.1", "plan-0123"}
    assert await left_after(20) == {"plan-0123"}
    assert await left_after(800) == {"plan-0123"}
    assert await left_after(60) == set()


async def test_lineage_is_walked_both_ways_once_and_to_the_depth_asked(clients: Clients) -> None:
    """A diamond: a → b, a → c, b and c → d; and d → e below it."""
    from app.models.asset import ParentInput

    def parent(dataset_id: str) -> ParentInput:
        return ParentInput(dataset_id=dataset_id, version=1, role="left")

    ledger = clients.ledger
    await put_asset(ledger, "a")
    await put_asset(ledger, "b", parent("a"))
    await put_asset(ledger, "c", parent("a"))
    await put_asset(ledger, "d", parent("b"), parent("c"))
    await put_asset(ledger, "e", parent("d"))

    async def datasets(dataset_id: str, direction: str, depth: int) -> tuple[set[str], bool]:
        graph = graph_of(await trace(ledger, dataset_id, 1, direction, depth))  # type: ignore[arg-type]
        assert len({node.id for node in graph.nodes}) == len(graph.nodes)
        assert {edge.source for edge in graph.edges} | {edge.target for edge in graph.edges} <= {
            n.id for n in graph.nodes
        }
        return {node.dataset_id for node in graph.nodes if node.dataset_id}, graph.truncated

    assert await datasets("e", "up", 8) == ({"a", "b", "c", "d", "e"}, False)
    assert await datasets("a", "down", 8) == ({"a", "b", "c", "d", "e"}, False)
    assert await datasets("d", "both", 8) == ({"a", "b", "c", "d", "e"}, False)
    assert await datasets("e", "up", 1) == ({"b", "c", "d", "e"}, True)
    assert (await datasets("a", "down", 1))[1] is True
    assert await datasets("a", "up", 1) == ({"a"}, False)


async def test_a_lease_is_renewed_without_a_look_at_anything_but_the_ledger(clients: Clients, tmp_path: Path) -> None:
    """Opening the other clients with every heartbeat would cost more than it does, and fail when one of them fails."""
    run = await leased(clients, await put_running(clients.ledger), process_name(), 1)
    unusable = ObjectsSettings(backend="s3", endpoint="http://127.0.0.1:1", access_key=SecretStr("without a secret"))
    worker = RunWorker.__new__(RunWorker)  # its own start would ask Redis
    worker._settings, worker._owner = Settings(data_dir=tmp_path, objects=unusable), process_name()
    await worker._renew(run.run_id)
    renewed = await clients.ledger.get_run(run.run_id)
    assert renewed is not None
    assert renewed.lease is not None
    assert run.lease is not None
    assert renewed.lease.expires_at > run.lease.expires_at


async def test_a_store_that_is_away_does_not_keep_the_next_runs_from_moving_on(
    clients: Clients, tmp_path: Path
) -> None:
    class Away(LocalObjectStore):
        async def list_objects(self, *_args: object, **_kwargs: object) -> Listing:
            raise StoreUnavailable("The object store is away.", "Start it.")

    runs = [await put_running(clients.ledger, batch_id=f"dead-{n}") for n in range(2)]
    for run in runs:
        assert await clients.ledger.reserve_version(run.run_id, 1) is not None
        await leased(clients, run, process_name().rpartition("/")[0] + "/1", 60)
    sweep = Sweep(replace(clients, objects=Away(tmp_path)), scratch=tmp_path / "scratch", retries=Retries(1))
    repairs = await sweep.once()
    assert sorted(repair.run_id for repair in repairs) == sorted(run.run_id for run in runs)
