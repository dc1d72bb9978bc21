"""Every state has a deadline and a way on: each row of the table in docs/operations.md, and the test of each."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from app.clients import Clients, open_clients
from app.ledger import Guard
from app.models.base import utcnow
from app.models.manifests.delivery import Delivery
from app.models.runs.run import Lease, Retries, Run, RunStatus
from app.services.intake.dropped_manifests import IntakeConfig
from app.services.intake.landing_scan import LandingScanner
from app.services.sweep.dead_attempts import LeaseTimeouts
from app.services.sweep.sweep import Repair, Sweep
from app.settings import QueueSettings, Settings
from app.system.processes import process_name
from tests.contract.ledgers import put_run, put_running
from tests.servers.redis import RedisServer

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
RUNNING, QUEUED = Guard(frozenset({RunStatus.RUNNING})), Guard(frozenset({RunStatus.QUEUED}))
ELSEWHERE = "another-host/0/1/1"
# What each row of the table is shown by.
SHOWN_BY = {
    "run `queued`, in the queue": ("unit/test_deadlines", "a_run_that_nobody_begins_fails_in_the_end"),
    "run `queued`, `waiting_for` its `dataset`": (
        "contract/test_ledger_lanes",
        "of_a_dataset_one_run_is_carried_and_the_others_follow_in_order",
    ),
    "run `queued`, in its `backoff`": ("unit/test_deadlines", "a_run_is_enqueued_when_its_back_off_is_over"),
    "run `queued`, in a paused lane": ("faults/test_lanes", "a_lane_is_limited_paused_over_a_restart_and_opened_again"),
    "run `queued`, lost by the queue": ("unit/test_deadlines", "what_the_queue_lost_is_enqueued_once"),
    "run `running`, worker gone": ("unit/test_recovery", "the_sweep_frees_runs_of_workers_that_are_gone_or_silent"),
    "run `running`, lease not renewed": ("unit/test_deadlines", "a_lease_is_over_when_it_was_seen_unchanged"),
    "run `running`, no end": ("unit/test_deadlines", "an_attempt_past_its_time_limit_is_stopped_then_over"),
    "run `canceling`": ("unit/test_deadlines", "a_cancel_that_nobody_carries_out_is_over"),
    "manifest accepted, run not written (MongoDB)": (
        "unit/test_ledger_mongo_crash_points",
        "accept_is_finished_by_whoever_comes_next",
    ),
    "manifest under `manifests/`": ("unit/test_dropped", "a_file_that_stays_broken_is_rejected_in_the_end"),
    "manifest recorded, object not archived": ("unit/test_dropped", "whoever_comes_after_a_crash_finishes"),
    "delivery `received`": ("unit/test_deadlines", "a_delivery_that_nobody_finished_is_looked_at"),
    "plan": ("unit/test_deadlines", "scratch_that_nobody_owns_goes_when_it_was_seen_long_enough"),
    "scratch": ("unit/test_deadlines", "scratch_that_nobody_owns_goes_when_it_was_seen_long_enough"),
    "unfinished upload": ("contract/test_objects_local", "uploads_of_dead_writers_are_removed"),
    "schema `proc_…`": ("faults/test_postgis_faults", "only_orphans_are_dropped"),
    "the sweep itself": ("unit/test_election", "one_that_falls_silent_is_replaced_and_knows_it_before"),
}


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as started:
        yield started


@pytest.fixture
async def clients(tmp_path: Path, redis: RedisServer) -> AsyncIterator[Clients]:
    settings = Settings(data_dir=tmp_path, queue=QueueSettings.model_validate({"redis_url": redis.url}))
    async with open_clients(settings) as opened:
        await opened.ledger.migrate()
        yield opened


class Swept:
    """A sweep whose seconds pass as told."""

    def __init__(self, clients: Clients, scratch: Path, **patience: float) -> None:
        self.clock = Clock()
        made = LeaseTimeouts(**patience)
        self.sweep = Sweep(clients, scratch=scratch, retries=Retries(3), timeouts=made, clock=self.clock)

    async def after(self, seconds: float, every: float = 2) -> list[Repair]:
        """Looks now and then every two seconds for that long; what they mended."""
        made = list(await self.sweep.once())
        for _ in range(round(seconds / every)):
            self.clock.now += every
            made += await self.sweep.once()
        return made


@pytest.fixture
def swept(clients: Clients, tmp_path: Path) -> Swept:
    return Swept(clients, tmp_path / "scratch")


async def carried(clients: Clients, status: RunStatus = RunStatus.RUNNING, seconds: float = 60) -> Run:
    """By a worker of another host."""
    run = await put_running(clients.ledger)
    lease = Lease(owner=ELSEWHERE, expires_at=utcnow() + timedelta(seconds=seconds))
    changed = await clients.ledger.change_run(run.run_id, RUNNING, status=status, lease=lease)
    assert changed is not None
    return changed


async def status_of(clients: Clients, run: Run) -> RunStatus:
    found = await clients.ledger.get_run(run.run_id)
    assert found is not None
    return found.status


async def codes(clients: Clients, run: Run) -> list[str]:
    return [event.code for event in await clients.ledger.list_events(run.run_id)]


def test_every_row_of_the_table_has_a_test() -> None:
    text = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
    table = text.partition("| state | deadline | way on |")[2].partition("\n\n")[0]
    rows = [line.split("|")[1].strip() for line in table.splitlines() if line.startswith("| ") and "---" not in line]
    assert rows == list(SHOWN_BY)
    for module, name in SHOWN_BY.values():
        text = (ROOT / "tests" / f"{module}.py").read_text(encoding="utf-8")
        assert re.search(rf"def test_{name}\(", text), (module, name)


async def test_what_the_queue_lost_is_enqueued_once(clients: Clients, swept: Swept, redis: RedisServer) -> None:
    run = await put_run(clients.ledger)
    clients.queue.enqueue(run)
    assert await swept.after(10) == []
    clients.queue.remove(run)
    assert [repair.action for repair in await swept.after(10)] == ["enqueued"]
    assert clients.queue.waiting_runs() == {run.run_id}
    assert await codes(clients, run) == ["sweep.enqueued"]


async def test_a_run_is_enqueued_when_its_back_off_is_over(clients: Clients, swept: Swept) -> None:
    """At the first look: it was never in the queue for that attempt, so nobody may just have taken it out."""
    run = await put_running(clients.ledger)
    later, earlier = utcnow() + timedelta(hours=1), utcnow() - timedelta(seconds=1)
    queued = {"status": RunStatus.QUEUED, "lease": None}
    assert await clients.ledger.change_run(run.run_id, RUNNING, **queued, not_before=later) is not None
    assert await swept.after(10) == []
    assert clients.queue.waiting_runs() == frozenset()
    assert await clients.ledger.change_run(run.run_id, QUEUED, not_before=earlier) is not None
    await swept.sweep.once()
    assert clients.queue.waiting_runs() == {run.run_id}
    assert await swept.after(10) == []


async def test_what_may_not_begin_is_not_enqueued(clients: Clients, swept: Swept) -> None:
    first, _ = [await put_run(clients.ledger, partition_key="one") for _ in range(2)]
    paused = await put_run(clients.ledger, lane="tabular")
    await clients.ledger.change_lane("tabular", paused=True)
    assert [repair.run_id for repair in await swept.after(10)] == [first.run_id]
    assert clients.queue.waiting_runs() == {first.run_id}
    await clients.ledger.change_lane("tabular", paused=False)
    assert [repair.run_id for repair in await swept.after(10)] == [paused.run_id]


async def test_a_run_that_nobody_begins_fails_in_the_end(clients: Clients, tmp_path: Path) -> None:
    swept = Swept(clients, tmp_path / "scratch", queued_seconds=7200)
    old = await put_run(clients.ledger, created_at=utcnow() - timedelta(seconds=7201))
    young = await put_run(clients.ledger, created_at=utcnow() - timedelta(seconds=7100))
    for run in (old, young):
        clients.queue.enqueue(run)
    assert await swept.after(540, every=60) == [], "it may have waited for another until now"
    (repair,) = await swept.after(60, every=60)
    assert (repair.run_id, repair.action) == (old.run_id, "failure")
    found = await clients.ledger.get_run(old.run_id)
    assert found is not None
    assert found.error is not None
    assert (found.status, found.error.code) == (RunStatus.FAILURE, "not_begun")
    assert "worker" in found.error.fix
    assert await codes(clients, old) == ["not_begun", "run.failure"]
    assert clients.queue.waiting_runs() == {young.run_id}


@pytest.mark.parametrize("seconds", [3600, 60, -3600])
async def test_a_lease_is_over_when_it_was_seen_unchanged(clients: Clients, swept: Swept, seconds: float) -> None:
    """Whatever time the worker's clock has put into it."""
    run = await carried(clients, seconds=seconds)
    assert await swept.after(28) == []
    (repair,) = await swept.after(2)
    assert (repair.action, repair.reason) == ("queued", "its worker fell silent")
    assert await codes(clients, run) == ["attempt.died"]


async def test_a_lease_that_is_renewed_holds_whatever_time_it_names(clients: Clients, swept: Swept) -> None:
    run = await carried(clients)
    for hours in (1, -1, 0, -2, 3):
        lease = Lease(owner=ELSEWHERE, expires_at=utcnow() + timedelta(hours=hours))
        assert await clients.ledger.change_run(run.run_id, RUNNING, lease=lease) is not None
        assert await swept.after(20) == []


async def test_time_in_which_nobody_looked_is_no_silence(clients: Clients, swept: Swept) -> None:
    await carried(clients)
    assert await swept.after(2) == []
    swept.clock.now += 3600
    assert await swept.after(10) == [], "the ledger was away, say: nobody could renew"
    assert len(await swept.after(10)) == 1


async def test_an_attempt_past_its_time_limit_is_stopped_then_over(clients: Clients, tmp_path: Path) -> None:
    swept = Swept(clients, tmp_path / "scratch", time_limit_seconds=60)
    run = await carried(clients)
    made: list[Repair] = []
    for n in range(12):
        lease = Lease(owner=ELSEWHERE, expires_at=utcnow() + timedelta(seconds=n))
        await clients.ledger.change_run(run.run_id, RUNNING, lease=lease)
        made += await swept.after(16)
        if made:
            break
    (repair,) = made
    assert n == 180 // 16
    assert "past its time limit of 60 s" in repair.reason
    assert await status_of(clients, run) is RunStatus.FAILURE, "another attempt would take as long"


async def test_a_cancel_that_nobody_carries_out_is_over(clients: Clients, swept: Swept) -> None:
    """Ten seconds by the setting, five for its worker, and one look after the queue was told."""
    run = await carried(clients, RunStatus.CANCELING, seconds=3600)
    assert await swept.after(16) == []
    (repair,) = await swept.after(2)
    assert repair.action == "canceled"
    assert await codes(clients, run) == ["attempt.died", "run.canceled"]


async def test_scratch_that_nobody_owns_goes_when_it_was_seen_long_enough(
    clients: Clients, swept: Swept, tmp_path: Path
) -> None:
    scratch = tmp_path / "scratch"
    mine, other = await carried(clients), await put_run(clients.ledger)
    names = {"mine": f"{mine.run_id}.1", "stray": f"{other.run_id}.1", "plan": "plan-1", "dead": "plan-2"}
    for name in names.values():
        (scratch / name).mkdir(parents=True)
    (scratch / "plan-1" / ".owner").write_text(process_name())
    (scratch / "plan-2" / ".owner").write_text(process_name().rpartition("/")[0] + "/1")
    await swept.after(20, every=20)
    assert sorted(path.name for path in scratch.iterdir()) == sorted({*names.values()} - {"plan-2"})
    await swept.after(20, every=20)
    assert names["stray"] in {path.name for path in scratch.iterdir()}
    await swept.after(20, every=20)
    assert "plan-1" in {path.name for path in scratch.iterdir()}
    assert names["stray"] not in {path.name for path in scratch.iterdir()}
    assert "sweep.scratch_removed" in await codes(clients, other)
    await swept.after(900, every=20)
    assert not (scratch / "plan-1").exists()


async def test_a_delivery_that_nobody_finished_is_looked_at(clients: Clients) -> None:
    """After five seconds, also where the clock of the process that received it is ahead."""
    clock = Clock()
    watch = LandingScanner(IntakeConfig(clients, frozenset({"spatial"}), 2**20), clock)
    for name, ahead in (("old", -10), ("ahead", 3600)):
        at = utcnow() + timedelta(seconds=ahead)
        await clients.ledger.add_delivery(Delivery(delivery_id=name, received_at=at, body="{}"))
    await watch.once()
    assert {each.delivery_id: each.status for each in await _deliveries(clients)} == {
        "old": "done",
        "ahead": "received",
    }
    clock.now += 5
    await watch.once()
    assert {each.status for each in await _deliveries(clients)} == {"done"}


async def test_a_delivery_that_fails_for_a_defect_of_ours_is_closed_after_a_day(
    clients: Clients, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def defect(_body: str) -> tuple[object, ...]:
        return (object(),)

    monkeypatch.setattr("app.services.intake.webhook_deliveries.read_notification", defect)
    watch = LandingScanner(IntakeConfig(clients, frozenset({"spatial"}), 2**20))
    for name, days in (("young", 0.9), ("old", 1.1)):
        at = utcnow() - timedelta(days=days)
        await clients.ledger.add_delivery(Delivery(delivery_id=name, received_at=at, body="{}"))
    await watch.once()
    young, old = await _deliveries(clients)
    assert (young.delivery_id, young.status) == ("young", "received")
    assert (old.status, old.outcomes[0].result) == ("done", "unreadable")
    assert "This is a defect of the service" in old.outcomes[0].detail
    assert "AttributeError" in caplog.text


async def _deliveries(clients: Clients) -> tuple[Delivery, ...]:
    from app.models.page import Page

    return (await clients.ledger.list_deliveries(None, Page())).items
