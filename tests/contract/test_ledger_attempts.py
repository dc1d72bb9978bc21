"""The ends of a run's attempts, on every ledger."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.ledger import Guard, Ledger
from app.models.runs.attempt import AttemptEnd, AttemptOutcome, AttemptRecord
from app.models.runs.attempt_rules import with_ended_attempt
from app.models.runs.run import RunStatus
from tests.contract.ledgers import MINUTE, T0, claim, put_run, put_running

pytestmark = pytest.mark.anyio

QUEUED, RUNNING = frozenset({RunStatus.QUEUED}), frozenset({RunStatus.RUNNING})


async def test_a_run_keeps_how_each_attempt_ended(ledger: Ledger) -> None:
    run = await put_running(ledger)
    assert run.attempts == ()
    odd = "memory ran out \0 while processing Zürich/北京.gpkg"
    for number, outcome in enumerate((AttemptOutcome.OUT_OF_MEMORY, AttemptOutcome.WORKER_LOST), 1):
        at = T0 + number * MINUTE + timedelta(microseconds=1)
        over = with_ended_attempt(run, AttemptEnd(outcome=outcome, detail=odd), at)
        again = await ledger.change_run(
            run.run_id, Guard(RUNNING, attempt=number), status=RunStatus.QUEUED, lease=None, attempts=over
        )
        assert again is not None
        assert again == await ledger.get_run(run.run_id)
        assert [(each.number, each.outcome) for each in again.attempts][-1] == (number, outcome)
        claimed = await claim(ledger, again, owner=f"host:{number}:1")
        assert claimed is not None
        assert claimed.attempts == again.attempts
        run = claimed
    first = AttemptRecord(
        number=1,
        worker="host:1:1",
        started_at=T0,
        ended_at=T0 + MINUTE,
        outcome=AttemptOutcome.OUT_OF_MEMORY,
        reason=odd.replace("\0", "\ufffd"),
    )
    assert run.attempts[0] == first
    assert run.attempts[1].worker == "host:1:1"


async def test_a_stale_attempt_says_nothing_of_its_end(ledger: Ledger) -> None:
    run = await put_running(ledger)
    back = await ledger.change_run(run.run_id, Guard(RUNNING), status=RunStatus.QUEUED, lease=None)
    assert back is not None
    second = await claim(ledger, back)
    assert second is not None
    late = with_ended_attempt(run, AttemptEnd(outcome=AttemptOutcome.SUCCESS, detail=""), T0)
    guard = Guard(RUNNING, attempt=run.attempt)
    assert await ledger.change_run(run.run_id, guard, status=RunStatus.SUCCESS, attempts=late) is None
    assert await ledger.get_run(run.run_id) == second


async def test_a_run_that_waits_has_none(ledger: Ledger) -> None:
    assert (await put_run(ledger)).attempts == ()
