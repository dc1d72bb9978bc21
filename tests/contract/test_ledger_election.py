"""How processes agree on one of them, on every ledger."""

from __future__ import annotations

from collections import Counter

import pytest

from app.ledger import Ledger
from app.models.base import utcnow
from app.models.runs.leadership import Leadership
from tests.contract.conftest import Crowd

pytestmark = pytest.mark.anyio


async def led(ledger: Ledger, owner: str | None, seen: Leadership | None, seconds: float = 5) -> Leadership:
    made = await ledger.lead("sweep", owner, seconds, seen)
    assert made is not None
    assert await ledger.get_leadership("sweep") == made
    return made


async def test_nobody_leads_at_first(ledger: Ledger) -> None:
    assert await ledger.get_leadership("sweep") is None


async def test_a_term_begins_with_every_new_owner_and_beats_count_writes(ledger: Ledger) -> None:
    before = utcnow()
    first = await led(ledger, "a", None, 2.5)
    assert (first.owner, first.term, first.beat, first.seconds) == ("a", 1, 1, 2.5)
    assert first.renewed_at >= before
    renewed = await led(ledger, "a", first)
    assert (renewed.term, renewed.beat) == (1, 2)
    taken = await led(ledger, "b", renewed)
    assert (taken.owner, taken.term, taken.beat) == ("b", 2, 3)
    back = await led(ledger, None, taken)
    assert (back.owner, back.term, back.beat) == (None, 2, 4)
    again = await led(ledger, "b", back)
    assert (again.owner, again.term, again.beat) == ("b", 3, 5)
    assert await ledger.get_leadership("other") is None


async def test_what_has_changed_since_it_was_seen_stays_as_it_is(ledger: Ledger) -> None:
    first = await led(ledger, "a", None)
    assert await ledger.lead("sweep", "b", 5, None) is None
    second = await led(ledger, "a", first)
    for owner in ("a", "b", None):
        assert await ledger.lead("sweep", owner, 5, first) is None
    assert await ledger.lead("other", "b", 5, first) is None
    assert await ledger.get_leadership("sweep") == second


async def test_of_many_that_saw_the_same_one_succeeds(ledger: Ledger, crowd: Crowd) -> None:
    won = [pair for part in await crowd("lead", "sweep", "other") for pair in part]
    beats = Counter(won)
    assert set(beats.values()) == {1}, "no beat was given twice"
    for role in ("sweep", "other"):
        last = await ledger.get_leadership(role)
        assert last is not None
        assert sorted(beat for name, beat in beats if name == role) == list(range(1, last.beat + 1))
