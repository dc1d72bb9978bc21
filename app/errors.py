"""Domain errors with stable codes. They know no HTTP: `app.http.problems` maps them to statuses.

Every error says what was found (`detail`) and what to do about it (`fix`), for a reader who has never seen this code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with a document: where (RFC 6901 JSON pointer), a stable code, what was found, what to do."""

    pointer: str
    code: str
    detail: str
    fix: str


@dataclass(eq=False)
class DomainError(Exception):
    """Base of every error that is raised on purpose: a refused request, or a server that is unavailable."""

    detail: str
    fix: str = ""
    faults: Sequence[Fault] = field(default=())

    code: ClassVar[str] = "error"

    def __str__(self) -> str:
        return f"{self.detail} {self.fix}".strip()


def summary_of(error: type[DomainError]) -> str:
    """When an error is raised, for the table of codes: the first sentence or line of its docstring."""
    return (error.__doc__ or "").strip().partition("\n")[0]


class InvalidManifest(DomainError):
    """The manifest breaks the contract; `errors` lists everything that is wrong with it."""

    code = "manifest_invalid"


class InvalidRequest(DomainError):
    """A query, header or body that is not a manifest breaks the contract."""

    code = "request_invalid"


class NotAcceptable(DomainError):
    """The Accept header allows no media type that this resource has."""

    code = "not_acceptable"


class LaneClosed(DomainError):
    """MANIFEST_ROUTER_ENABLED_LANES keeps this intent's lane closed."""

    code = "lane_closed"


class BatchConflict(DomainError):
    """The batch id was used before, for other content."""

    code = "batch_conflict"


class QueueFull(DomainError):
    """SPATIAL_ETL_QUEUE__MAX_QUEUED runs are queued or running: no further manifest is accepted for now."""

    code = "queue_full"


class TooManyPlans(DomainError):
    """SPATIAL_ETL_PLAN__MAX_WAITING plans wait for a worker: no further one is taken for now."""

    code = "too_many_plans"


class RunOver(DomainError):
    """The run is over: there is nothing left to cancel."""

    code = "run_over"


class RunNotOver(DomainError):
    """The batch has a run that is not over: it can neither be run again nor withdrawn."""

    code = "run_not_over"


class ManifestRejected(DomainError):
    """The manifest was never accepted: there is nothing to run again, and nothing to withdraw."""

    code = "manifest_rejected"


class ManifestRemoved(DomainError):
    """The manifest was removed with its runs: only its batch id is left, and stays taken."""

    code = "manifest_removed"


class NotFound(DomainError):
    """No such manifest, run, asset, version or object."""

    code = "not_found"


class BodyTooLarge(DomainError):
    """A request body over its limit."""

    code = "body_too_large"


class WebhookClosed(DomainError):
    """No webhook token is configured, so senders cannot be authenticated."""

    code = "webhook_closed"


class Unauthorized(DomainError):
    """The request carries no API key or bearer token, or a wrong one."""

    code = "unauthorized"


class Forbidden(DomainError):
    """The caller is known, but has no right to this."""

    code = "forbidden"


class RateLimited(DomainError):
    """More requests than SPATIAL_ETL_API__RATE_LIMIT allows."""

    code = "rate_limited"


class ApiKeyTaken(DomainError):
    """There is, or was, an API key of that name."""

    code = "api_key_taken"


class UnsafeBind(DomainError):
    """The API would be reachable from other hosts without authentication."""

    code = "open_door"


class LedgerUnavailable(DomainError):
    """The ledger does not answer: nothing was accepted."""

    code = "ledger_unavailable"


class StoreUnavailable(DomainError):
    """The object store does not answer, or refused the operation."""

    code = "store_unavailable"


class StoreFull(StoreUnavailable):
    """The disk of the local object store has no room left."""

    code = "store_full"


class LedgerFull(LedgerUnavailable):
    """The disk of the ledger has no room left: nothing was accepted."""

    code = "ledger_full"


class LedgerUnsupported(LedgerUnavailable):
    """The server of the ledger lacks a command, a validator or an index that the ledger needs. Do not wait."""

    code = "ledger_unsupported"


class RecordTooLarge(DomainError):
    """A record is larger than the ledger can hold. Trying again does not help."""

    code = "record_too_large"


class EngineUnavailable(DomainError):
    """The PostGIS engine does not answer, or is not set up: the run gets its next attempt."""

    code = "engine_unavailable"


class QueueUnavailable(DomainError):
    """The queue does not answer. Accepted runs stay in the ledger and are enqueued when it is back."""

    code = "queue_unavailable"


class SweepAbsent(DomainError):
    """No sweep is running, so runs whose worker is gone are not recovered."""

    code = "sweep_absent"


class NoPresignedUrls(DomainError):
    """The object store has no presigned URLs, because it is a directory and not an S3 API."""

    code = "presign_unsupported"


class InvalidKey(DomainError):
    """An object key that is empty, absolute, or could leave its bucket."""

    code = "key_invalid"


class KeyConflict(DomainError):
    """An object of this key would be below another object, or have the name of a folder of others."""

    code = "key_conflict"


class ObjectExists(DomainError):
    """A create-only put found an existing object."""

    code = "object_exists"


class VersionTaken(DomainError):
    """(dataset_id, version) or the object key is registered already."""

    code = "version_taken"


class VersionDeleted(DomainError):
    """The version was deleted. Its record says when, by whom and why."""

    code = "version_deleted"


class VersionIsNewest(DomainError):
    """The newest version of a dataset cannot be deleted."""

    code = "version_is_newest"


class VersionHasChildren(DomainError):
    """Other versions were made from this one and still exist."""

    code = "version_has_children"


class VersionInUse(DomainError):
    """A run that is not over made this version or reads it."""

    code = "version_in_use"


class RangeNotSatisfiable(DomainError):
    """The byte range starts after the end of the object."""

    code = "range_not_satisfiable"


class StaleAttempt(DomainError):
    """This attempt lost its lease: another one has taken the run over, so nothing more may be written for it."""

    code = "stale_attempt"


class RunCanceled(DomainError):
    """A user canceled the run."""

    code = "canceled"


class PlanTimedOut(DomainError):
    """A plan took longer than SPATIAL_ETL_PLAN__TIME_LIMIT_SECONDS."""

    code = "plan_timeout"


class PlanFailed(DomainError):
    """The process that made a plan ended without one."""

    code = "plan_failed"


class NoFreeWorker(DomainError):
    """No worker took the plan in time."""

    code = "workers_busy"


class TimeLimitExceeded(DomainError):
    """The attempt ran longer than SPATIAL_ETL_RUN__TIME_LIMIT_SECONDS."""

    code = "time_limit"


class ScratchLimitExceeded(DomainError):
    """The attempt's scratch directory holds more than SPATIAL_ETL_RUN__SCRATCH_LIMIT_BYTES."""

    code = "scratch_limit"


@dataclass(eq=False)
class RunRefused(DomainError):
    """The run cannot go on because of its input. `file` is the landing key, `reason` the stable code."""

    reason: str = "refused"
    file: str | None = None

    code: ClassVar[str] = "run_refused"

    def within(self, part: str) -> RunRefused:
        """The same for a part of the file: numbers of rows mean nothing without it."""
        return replace(self, detail=f"In the {part} of {self.file}: {self.detail}")

    def beside(self, others: Sequence[RunRefused]) -> RunRefused:
        """The same with the texts of further refusals."""
        found = (self, *others)
        fixes = dict.fromkeys(each.fix for each in found)
        return replace(self, detail=" ".join(each.detail for each in found), fix=" ".join(fixes))
