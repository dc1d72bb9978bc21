"""Which ends of an attempt get another one, and what a run says that gets none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.models.attempt import AttemptEnd, Outcome
from app.models.attempt_rules import KEPT_ATTEMPTS, ended, last_error
from app.models.run import Lease, Run
from tests.contract.ledgers import MINUTE, T0, a_run

ONCE = (Outcome.REFUSED, Outcome.FAILED, Outcome.MEMORY_LIMIT, Outcome.TIME_LIMIT, Outcome.SCRATCH_LIMIT)
TWICE = (Outcome.OUT_OF_MEMORY, Outcome.SEGFAULT, Outcome.ABORTED)
OFTEN = (Outcome.DISK_FULL, Outcome.KILLED, Outcome.SERVER_AWAY, Outcome.WORKER_LOST, Outcome.LEASE_LOST)


def end(outcome: Outcome, **fields: str) -> AttemptEnd:
    return AttemptEnd(**{"outcome": outcome, "detail": "this happened", **fields})


def after(*outcomes: Outcome) -> Run:
    """A run in its next attempt, with those behind it."""
    run = a_run(attempt=0, started_at=T0)
    for number, outcome in enumerate(outcomes, 1):
        run = run.model_copy(update={"attempt": number, "lease": Lease(owner="w", expires_at=T0)})
        run = run.model_copy(update={"attempts": ended(run, end(outcome), T0 + MINUTE)})
    return run.model_copy(update={"attempt": len(outcomes) + 1})


def attempts_until_failure(outcome: Outcome, max_attempts: int) -> int:
    for behind in range(max_attempts):
        if last_error(after(*[outcome] * behind), end(outcome), max_attempts) is not None:
            return behind + 1
    raise AssertionError("it never fails")


@pytest.mark.parametrize("outcome", [*ONCE, *TWICE, *OFTEN])
def test_a_run_fails_after_as_many_attempts_as_its_ends_are_worth(outcome: Outcome) -> None:
    expected = 1 if outcome in ONCE else 2 if outcome in TWICE else 5
    assert attempts_until_failure(outcome, 5) == expected
    assert attempts_until_failure(outcome, 1) == 1


def test_ends_of_other_kinds_do_not_count() -> None:
    assert last_error(after(Outcome.KILLED, Outcome.OUT_OF_MEMORY), end(Outcome.SEGFAULT), 5) is None
    assert last_error(after(Outcome.SEGFAULT, Outcome.KILLED), end(Outcome.SEGFAULT), 5) is not None


@pytest.mark.parametrize("outcome", [*ONCE[2:], *TWICE, *OFTEN])
def test_the_error_names_cause_step_file_and_what_to_do(outcome: Outcome) -> None:
    error = last_error(after(Outcome.KILLED), end(outcome, step="transform", file="a/b.gpkg"), 2)
    assert error is not None
    assert (error.step, error.file) == ("transform", "a/b.gpkg")
    assert "this happened" in error.detail
    assert error.fix
    if outcome not in ONCE:
        assert error.detail == "Attempt 2 of 2 died: this happened. Earlier attempts: 1: killed."


def test_the_code_is_the_cause_where_there_is_one() -> None:
    codes = {outcome: last_error(after(), end(outcome), 1).code for outcome in (*ONCE[2:], *TWICE, *OFTEN)}  # type: ignore[union-attr] # the last attempt
    blameless = {Outcome.KILLED, Outcome.SERVER_AWAY, Outcome.WORKER_LOST, Outcome.LEASE_LOST}
    assert {outcome for outcome, code in codes.items() if code == "attempts_used_up"} == blameless
    assert all(code == outcome.value for outcome, code in codes.items() if outcome not in blameless)


def test_only_the_newest_attempts_are_kept() -> None:
    run = after(*[Outcome.KILLED] * (KEPT_ATTEMPTS + 5))
    assert [each.number for each in run.attempts] == list(range(6, KEPT_ATTEMPTS + 6))


def test_the_fixes_name_settings_that_there_are() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for outcome in Outcome:
        error = last_error(after(), end(outcome), 1)
        assert error is not None
        for name in re.findall(r"SPATIAL_ETL_\w+", error.fix):
            assert f"| `{name}` |" in readme, name
