"""Which ends of an attempt are followed by another attempt, and the error of a run that gets none (ADR 14)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from app.models.runs.attempt import AttemptEnd, AttemptOutcome, AttemptRecord
from app.models.runs.run import Retries, Run, RunError

# Attempts that a run remembers: the newest.
KEPT_ATTEMPTS = 20


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows an outcome of an attempt.

    Attributes:
        tries: how many attempts may end like this before the run fails; None: all that the run has.
        code: of the run's error.
        fix: of the run's error.
        at_once: the next attempt does not wait for a back-off.
    """

    tries: int | None = None
    code: str = "attempts_used_up"
    fix: str = ""
    at_once: bool = False


_SAME_FILE = "Two attempts ended like this, so it is the file or a library: "
_RULES: Mapping[AttemptOutcome, Rule] = {
    # The same input would end in the same way.
    AttemptOutcome.REFUSED: Rule(1, "refused"),
    AttemptOutcome.FAILED: Rule(1, "internal_error"),
    AttemptOutcome.MEMORY_LIMIT: Rule(
        1, "memory_limit", "Split the file, or raise SPATIAL_ETL_RUN__MEMORY_LIMIT_BYTES."
    ),
    AttemptOutcome.TIME_LIMIT: Rule(1, "time_limit", "Split the file, or raise SPATIAL_ETL_RUN__TIME_LIMIT_SECONDS."),
    AttemptOutcome.SCRATCH_LIMIT: Rule(
        1, "scratch_limit", "Split the file, or raise SPATIAL_ETL_RUN__SCRATCH_LIMIT_BYTES."
    ),
    # It probably would: one more attempt, because neighbours and hardware cause these too.
    AttemptOutcome.OUT_OF_MEMORY: Rule(
        2,
        "out_of_memory",
        "Give the host or container of the workers more memory, run fewer workers there, split the file, or lower "
        "SPATIAL_ETL_RUN__MEMORY_LIMIT_BYTES until all workers fit.",
    ),
    AttemptOutcome.SEGFAULT: Rule(
        2, "segfault", _SAME_FILE + "write the file again with another tool or in another format, and report it."
    ),
    AttemptOutcome.ABORTED: Rule(
        2, "aborted", _SAME_FILE + "look into the worker's log, write the file again with another tool, and report it."
    ),
    # Causes outside the run.
    AttemptOutcome.DISK_FULL: Rule(None, "disk_full", "Free space on the disk that is full, then run it again."),
    AttemptOutcome.KILLED: Rule(
        fix="Find out what kills the processes of the workers: the system log, the limits of a container, an operator."
    ),
    AttemptOutcome.SERVER_AWAY: Rule(fix="Look at /ready and the log of the server that is named, then run it again."),
    AttemptOutcome.WORKER_LOST: Rule(
        fix="Look why the workers ended: their log, the system log, and what stops them. Then run it again.",
        # Most likely the worker was stopped: the run is not the cause.
        at_once=True,
    ),
    AttemptOutcome.LEASE_LOST: Rule(
        fix="Look whether the worker's host was away or far too busy, or its ledger was: its log says when it could "
        "not renew the lease. Then run it again."
    ),
}


def rule_of(outcome: AttemptOutcome) -> Rule:
    return _RULES.get(outcome, Rule())


def with_ended_attempt(run: Run, end: AttemptEnd, now: datetime) -> tuple[AttemptRecord, ...]:
    """The ended attempts of the run, with the one that has just ended."""
    record = AttemptRecord(
        number=run.attempt,
        worker=run.lease.owner if run.lease else "",
        started_at=run.started_at or run.created_at,
        ended_at=now,
        outcome=end.outcome,
        reason=end.detail,
    )
    return (*(each for each in run.attempts if each.number != run.attempt), record)[-KEPT_ATTEMPTS:]


def final_error(run: Run, end: AttemptEnd, max_attempts: int) -> RunError | None:
    """Why the run fails with this end of its attempt; None when it gets another attempt."""
    rule = rule_of(end.outcome)
    alike = 1 + sum(each.outcome is end.outcome for each in run.attempts if each.number != run.attempt)
    if run.attempt < max_attempts and (rule.tries is None or alike < rule.tries):
        return None
    detail = f"{end.detail.rstrip('.')}."
    if rule.tries != 1:
        detail = f"Attempt {run.attempt} of {max_attempts} died: {detail}{_before(run)}"
    code = end.code or rule.code
    return RunError(code=code, detail=detail, fix=end.fix or rule.fix, step=end.step or run.step, file=end.file)


def backoff_end(run: Run, end: AttemptEnd, retries: Retries, now: datetime) -> datetime | None:
    """When the next attempt may begin; None: at once."""
    pause = retries.pause_after(run.attempt)
    return now + pause if pause and not rule_of(end.outcome).at_once else None


def _before(run: Run) -> str:
    """The outcomes of earlier attempts, which often tell more than the last one."""
    earlier = [f"{each.number}: {each.outcome}" for each in run.attempts if each.number != run.attempt]
    return f" Earlier attempts: {', '.join(earlier)}." if earlier else ""
