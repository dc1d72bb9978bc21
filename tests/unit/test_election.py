"""Who sweeps, on a real ledger, with a clock for each process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.errors import SweepAbsent
from app.ledger import Ledger
from app.services.sweep.election import Election, LeaderWatch
from app.services.sweep.idle_timer import IdleTimer
from app.storage.sql.ledger import open_sql_ledger
from app.system.processes import process_name

pytestmark = pytest.mark.anyio

GONE = process_name().rpartition("/")[0] + "/1"


class Clock:
    """A monotonic clock that goes on when it is told to."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    async with open_sql_ledger(f"sqlite:///{tmp_path}/ledger.sqlite") as opened:
        await opened.migrate()
        yield opened


def candidate(ledger: Ledger, name: str, clock: Clock) -> Election:
    return Election(ledger, "sweep", f"{name}/0/1/1", 10, clock)


async def after(clock: Clock, seconds: float, *elections: Election) -> None:
    """They look every second for that long."""
    for _ in range(round(seconds)):
        clock.now += 1
        for election in elections:
            await election.once()


async def test_the_first_leads_and_stays_while_it_renews(ledger: Ledger) -> None:
    clock = Clock()
    first, second = candidate(ledger, "a", clock), candidate(ledger, "b", clock)
    assert await first.once()
    assert not await second.once()
    await after(clock, 60, first, second)
    assert (first.leads, second.leads) == (True, False)


async def test_one_that_falls_silent_is_replaced_and_knows_it_before(ledger: Ledger) -> None:
    clock = Clock()
    first, second = candidate(ledger, "a", clock), candidate(ledger, "b", clock)
    await first.once()
    await second.once()
    await after(clock, 9, second)
    assert (first.leads, second.leads) == (True, False)
    await after(clock, 1, second)
    assert (first.leads, second.leads) == (False, True)
    assert not await first.once()
    found = await ledger.get_leadership("sweep")
    assert found is not None
    assert (found.owner, found.term) == ("b/0/1/1", 2)


async def test_who_stood_still_itself_does_not_think_the_others_dead(ledger: Ledger) -> None:
    clock = Clock()
    first, second = candidate(ledger, "a", clock), candidate(ledger, "b", clock)
    await first.once()
    await second.once()
    clock.now += 3600
    assert not await second.once(), "an hour in which it did not look is no hour of silence"
    await first.once()
    assert first.leads


async def test_it_is_handed_over_at_once_by_a_clean_stop_and_by_the_dead_of_the_same_host(ledger: Ledger) -> None:
    clock = Clock()
    first, second = candidate(ledger, "a", clock), candidate(ledger, "b", clock)
    await first.once()
    await second.step_down()
    assert first.leads, "only the owner gives it back"
    await first.step_down()
    assert not first.leads
    assert await second.once()
    await second.step_down()
    assert await Election(ledger, "sweep", GONE, 10, clock).once()
    assert await second.once()


async def test_whoever_watches_sees_who_leads_and_when_nobody_does(ledger: Ledger) -> None:
    clock = Clock()
    watch, first = LeaderWatch("sweep", clock), candidate(ledger, "a", clock)
    with pytest.raises(SweepAbsent, match="has ever run"):
        await watch.look(ledger)
    await first.once()
    assert await watch.look(ledger) == {"owner": "a/0/1/1", "term": 1}
    clock.now += 9
    assert await watch.look(ledger)
    clock.now += 1
    with pytest.raises(SweepAbsent, match="no sign of life for 10 s"):
        await watch.look(ledger)
    await first.once()
    assert await watch.look(ledger)
    await first.step_down()
    with pytest.raises(SweepAbsent, match="has stopped"):
        await watch.look(ledger)
    await Election(ledger, "sweep", GONE, 10, clock).once()
    with pytest.raises(SweepAbsent, match="is gone"):
        await LeaderWatch("sweep", clock).look(ledger)


def test_silence_grows_by_what_was_looked_at_and_ends_with_a_change() -> None:
    clock = Clock()
    silence = IdleTimer(10, clock)
    for seconds, values, expected in (
        (0, {"a": 1, "b": 1}, {"a": 0, "b": 0}),
        (4, {"a": 1, "b": 2}, {"a": 4, "b": 0}),
        (60, {"a": 1, "b": 2}, {"a": 14, "b": 10}),
        (1, {"b": 2}, {"a": 0, "b": 11}),
        (1, {"a": 1, "b": None}, {"a": 0, "b": 0}),
        (1, {"a": 1, "b": None}, {"a": 1, "b": 1}),
    ):
        clock.now += seconds
        silence.look(values)
        assert {name: silence.seconds(name) for name in expected} == expected
