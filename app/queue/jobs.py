"""The jobs of the queue: how they are named, and what a worker refuses to run.

The job of a run has its id only: everything else is in the ledger. The job of a plan has its manifest, which is not in
the ledger.
"""

from __future__ import annotations

import contextlib
import re
import zlib
from collections.abc import Mapping
from typing import Any

from rq.exceptions import DeserializationError, InvalidJobOperation, NoSuchJobError
from rq.job import Job

from app.models.runs.run import Run

JOB = "app.worker.execute"
PLAN_JOB = "app.worker.plan"
PLAN_PREFIX = "plan-"
_RUN_JOB_ID = re.compile(r"([0-9a-f]{32})-[1-9][0-9]{0,8}(-[0-9a-f]{8})?")
_PLAN_JOB_ID = re.compile(r"plan-[0-9a-f]{32}")
# Unpacked bytes of one job. JSON as text inside JSON may grow, so this is far above any manifest.
_MAX_JOB_BYTES = 256 * 2**20
# The API writes a manifest without its defaults, but numbers may become longer.
_LONGER = 4


def plan_id_of(job_id: str) -> str:
    """Return the id of the plan of a job."""
    return job_id.removeprefix(PLAN_PREFIX)


def plan_job_id(plan_id: str) -> str:
    """Return the id of the job of a plan."""
    return f"{PLAN_PREFIX}{plan_id}"


def run_job_id(run: Run) -> str:
    """Return the id of the job of the next attempt."""
    return f"{run.run_id}-{run.attempt + 1}"


class OwnJob(Job):
    """A job as this service makes it: two functions, and nothing else that Redis could make a worker call.

    RQ imports and calls what the record of a job in Redis names. So this class forgets callbacks, webhooks, retries and
    repetitions, and imports no other function. A record that cannot be read counts as missing.
    """

    def restore(self, raw_data: Mapping[Any, Any]) -> None:
        known = {bytes(key): value for key, value in raw_data.items()}
        for name in _NOT_OURS:
            known.pop(name, None)
        try:
            _check_size(known.get(b"data", b""))
            super().restore(known)
        except NoSuchJobError:
            raise
        except Exception as err:  # what RQ's readers of single fields raise
            raise NoSuchJobError(f"unreadable record ({type(err).__name__})") from None

    @property
    def func(self) -> Any:
        if self.func_name not in (JOB, PLAN_JOB) or self.instance:
            raise InvalidJobOperation("not a job of this service")
        return super().func


_NOT_OURS = (
    *(b"success_callback_name", b"failure_callback_name", b"stopped_callback_name", b"webhooks"),
    *(b"retries_left", b"retry_intervals", b"repeats_left", b"repeat_intervals"),
    *(b"dependency_id", b"dependency_ids", b"rate_limit_key", b"group_id"),
)


def _check_size(data: bytes) -> None:
    """RQ packs the data of a job with zlib, or not at all. Raises ValueError."""
    unpacker = zlib.decompressobj()
    with contextlib.suppress(zlib.error):
        if len(unpacker.decompress(data, _MAX_JOB_BYTES)) >= _MAX_JOB_BYTES:
            raise ValueError("too large")


def refusal(job: Job, max_manifest_bytes: int) -> str | None:
    """Return why a worker must not run this job; None for a job that the service can have made."""
    try:
        name, args = job.func_name, job.args
        unexpected = job.instance is not None or job.kwargs
    except (DeserializationError, ValueError):
        return "its data is not a call"
    if name not in (JOB, PLAN_JOB):
        return f"unknown function {str(name)[:100]!r}"
    if unexpected or not isinstance(args, list | tuple) or len(args) != 1 or not isinstance(args[0], str):
        return "wrong arguments"
    if job.timeout is not None and job.timeout <= 0:
        return "no time limit"
    return _wrong_plan(job.id, args[0], max_manifest_bytes) if name == PLAN_JOB else _wrong_run(job.id, args[0])


def _wrong_plan(job_id: str, document: str, max_manifest_bytes: int) -> str | None:
    if not _PLAN_JOB_ID.fullmatch(job_id):
        return "its id is not that of a plan"
    return "the manifest is too long" if len(document) > _LONGER * max_manifest_bytes else None


def _wrong_run(job_id: str, run_id: str) -> str | None:
    match = _RUN_JOB_ID.fullmatch(job_id)
    return None if match is not None and match[1] == run_id else "its id is not that of a run"
