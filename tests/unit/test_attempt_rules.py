"""Which ends of an attempt get another one, and what a run says that gets none."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from app.models.runs.attempt import AttemptEnd, AttemptOutcome
from app.models.runs.attempt_rules import KEPT_ATTEMPTS, final_error, with_ended_attempt
from app.models.runs.run import Lease, Run
from tests.contract.ledgers import MINUTE, T0, a_run

ONCE = (
    AttemptOutcome.REFUSED,
    AttemptOutcome.FAILED,
    AttemptOutcome.MEMORY_LIMIT,
    AttemptOutcome.TIME_LIMIT,
    AttemptOutcome.SCRATCH_LIMIT,
)
TWICE = (AttemptOutcome.OUT_OF_MEMORY, AttemptOutcome.SEGFAULT, AttemptOutcome.ABORTED)
OFTEN = (
    AttemptOutcome.DISK_FULL,
    AttemptOutcome.KILLED,
    AttemptOutcome.SERVER_AWAY,
    AttemptOutcome.WORKER_LOST,
    AttemptOutcome.LEASE_LOST,
)


def end(outcome: AttemptOutcome, **fields: str) -> AttemptEnd:
    return AttemptEnd(**{"outcome": outcome, "detail": "this happened", **fields})


def after(*outcomes: AttemptOutcome) -> Run:
    """A run in its next attempt, with those behind it."""
    run = a_run(attempt=0, started_at=T0)
    for number, outcome in enumerate(outcomes, 1):
        run = run.model_copy(update={"attempt": number, "lease": Lease(owner="w", expires_at=T0)})
        run = run.model_copy(update={"attempts": with_ended_attempt(run, end(outcome), T0 + MINUTE)})
    return run.model_copy(update={"attempt": len(outcomes) + 1})


def attempts_until_failure(outcome: AttemptOutcome, max_attempts: int) -> int:
    for behind in range(max_attempts):
        if final_error(after(*[outcome] * behind), end(outcome), max_attempts) is not None:
            return behind + 1
    raise AssertionError("it never fails")


@pytest.mark.parametrize("outcome", [*ONCE, *TWICE, *OFTEN])
def test_a_run_fails_after_as_many_attempts_as_its_ends_are_worth(outcome: AttemptOutcome) -> None:
    expected = 1 if outcome in ONCE else 2 if outcome in TWICE else 5
    assert attempts_until_failure(outcome, 5) == expected
    assert attempts_until_failure(outcome, 1) == 1


def test_ends_of_other_kinds_do_not_count() -> None:
    assert (
        final_error(after(AttemptOutcome.KILLED, AttemptOutcome.OUT_OF_MEMORY), end(AttemptOutcome.SEGFAULT), 5) is None
    )
    assert (
        final_error(after(AttemptOutcome.SEGFAULT, AttemptOutcome.KILLED), end(AttemptOutcome.SEGFAULT), 5) is not None
    )


@pytest.mark.parametrize("outcome", [*ONCE[2:], *TWICE, *OFTEN])
def test_the_error_names_cause_step_file_and_what_to_do(outcome: AttemptOutcome) -> None:
    error = final_error(after(AttemptOutcome.KILLED), end(outcome, step="transform", file="a/b.gpkg"), 2)
    assert error is not None
    assert (error.step, error.file) == ("transform", "a/b.gpkg")
    assert "this happened" in error.detail
    assert error.fix
    if outcome not in ONCE:
        assert error.detail == "Attempt 2 of 2 died: this happened. Earlier attempts: 1: killed."


def test_the_code_is_the_cause_where_there_is_one() -> None:
    codes = {outcome: final_error(after(), end(outcome), 1).code for outcome in (*ONCE[2:], *TWICE, *OFTEN)}  # type: ignore[union-attr] # the last attempt
    blameless = {
        AttemptOutcome.KILLED,
        AttemptOutcome.SERVER_AWAY,
        AttemptOutcome.WORKER_LOST,
        AttemptOutcome.LEASE_LOST,
    }
    assert {outcome for outcome, code in codes.items() if code == "attempts_used_up"} == blameless
    assert all(code == outcome.value for outcome, code in codes.items() if outcome not in blameless)


def test_only_the_newest_attempts_are_kept() -> None:
    run = after(*[AttemptOutcome.KILLED] * (KEPT_ATTEMPTS + 5))
    assert [each.number for each in run.attempts] == list(range(6, KEPT_ATTEMPTS + 6))


def test_the_fixes_name_settings_that_there_are() -> None:
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    for outcome in AttemptOutcome:
        error = final_error(after(), end(outcome), 1)
        assert error is not None
        for name in re.findall(r"SPATIAL_ETL_\w+", error.fix):
            assert f"| `{name}` |" in readme, name
