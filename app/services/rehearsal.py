"""What the sweep would mend, found by reading only: `spatial-etl sweep --dry-run`.

One look has no past, so silence is judged here by the times in the leases, and thus by this host's clock; the sweep
itself waits until it has seen it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal

from anyio import to_thread

from app.clients import Clients
from app.dispatch import ready_runs
from app.errors import EngineUnavailable, QueueUnavailable
from app.ledger import RunFilter
from app.models.attempt import AttemptEnd, Outcome
from app.models.attempt_rules import last_error
from app.models.base import utcnow
from app.models.intents import LANES
from app.models.manifest import LANDING_BUCKET
from app.models.page import Page
from app.models.run import Run, RunStatus
from app.processes import is_gone
from app.services.carried import Patience
from app.services.dropped import is_manifest_key
from app.services.notifications import MANIFESTS
from app.services.scratch import ScratchRemains
from app.services.sweep import STALE_UPLOAD_SECONDS
from app.services.watch import OWN_TIME_SECONDS
from app.storage.postgis import StatementFailed

_PAGE = 1000
_CARRIED = (RunStatus.RUNNING, RunStatus.CANCELING)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is to be mended: of which kind, its name, what it would become, and why."""

    kind: Literal["run", "write", "scratch", "schema", "upload", "manifest", "delivery", "version", "unseen"]
    name: str
    action: str
    reason: str

    def document(self) -> dict[str, str]:
        return asdict(self)


async def rehearse(
    clients: Clients, *, scratch: Path, max_attempts: int, patience: Patience, pause: float
) -> tuple[Finding, ...]:
    """Two looks, `pause` seconds apart: what the queue lacks both times is lost. Writes nothing anywhere.

    Raises LedgerUnavailable, StoreUnavailable. A queue or an engine that is away is a finding of the kind `unseen`.
    """
    now = utcnow()
    carried = [run for status in _CARRIED async for run in _runs(clients, status)]
    ready = [run for lane in LANES for run in await ready_runs(lane, clients, _PAGE)]
    half = await clients.ledger.list_unfinished(_PAGE)
    committed = {each.name for each in half if each.kind == "commit"}
    found = [Finding("write", each.name, "finished", f"its writer died in the middle of {each.kind}") for each in half]
    for run in carried:
        if (end := _why_over(run, patience, now)) is not None:
            after = await _after(run, end, clients, max_attempts, committed=run.run_id in committed)
            found.append(Finding("run", run.run_id, after.value, end.detail))
    keep = {f"{run.run_id}.{run.attempt}" for run in carried}
    names = await to_thread.run_sync(ScratchRemains(scratch).find, keep)
    found += [Finding("scratch", name, "removed", "its owner is gone") for name in names]
    found += [each async for each in _schemas(clients, carried)]
    found += [each async for each in _landing(clients, now)]
    if uploads := await clients.objects.remove_stale_uploads(STALE_UPLOAD_SECONDS, dry_run=True):
        found.append(Finding("upload", str(uploads), "removed", "unfinished for a day"))
    for asset in await clients.ledger.list_deleted(_PAGE):
        found.append(Finding("version", f"{asset.dataset_id}/v{asset.version}", "removed", "it was deleted"))
    found += await _lost(clients, ready, pause)
    return tuple(found)


async def _runs(clients: Clients, status: RunStatus) -> AsyncIterator[Run]:
    page: Page | None = Page(limit=_PAGE)
    while page is not None:
        part = await clients.ledger.list_runs(RunFilter(status), page)
        for run in part.items:
            yield run
        page = Page(_PAGE, part.next_cursor) if part.next_cursor else None


def _why_over(run: Run, patience: Patience, now: datetime) -> AttemptEnd | None:
    if run.lease is None:
        return None
    late = (now - run.lease.expires_at).total_seconds()
    if is_gone(run.lease.owner):
        return AttemptEnd(outcome=Outcome.WORKER_LOST, detail="its worker is gone")
    if late > 0:
        what = "its deadline to be canceled" if run.status is RunStatus.CANCELING else "its lease"
        detail = f"{what} was over {late:.0f} s ago, by this host's clock"
        return AttemptEnd(outcome=Outcome.LEASE_LOST, detail=detail)
    began = run.started_at
    if began is not None and (now - began).total_seconds() > patience.time_limit_seconds + 120:
        detail = f"it is past its time limit of {patience.time_limit_seconds:g} s"
        return AttemptEnd(outcome=Outcome.TIME_LIMIT, detail=detail)
    return None


async def _after(run: Run, end: AttemptEnd, clients: Clients, max_attempts: int, *, committed: bool) -> RunStatus:
    """What `attempt_died` would make of the run."""
    if run.reserved_version is not None and not committed:
        # Not by a list of the run's versions, which finishes what is half done.
        asset = await clients.ledger.get_asset(run.partition_key, run.reserved_version)
        committed = asset is not None and asset.run_id == run.run_id
    if committed:
        return RunStatus.SUCCESS
    if run.status is RunStatus.CANCELING:
        return RunStatus.CANCELED
    return RunStatus.QUEUED if last_error(run, end, max_attempts) is None else RunStatus.FAILURE


async def _schemas(clients: Clients, carried: list[Run]) -> AsyncIterator[Finding]:
    if clients.postgis is None:
        return
    attempts = {(run.run_id, run.attempt) for run in carried}
    try:
        for schema in await clients.postgis.list_schemas():
            if (schema.run_id, schema.attempt) not in attempts:
                yield Finding("schema", schema.name, "dropped", "its attempt is over, or its run is not in this ledger")
    except (EngineUnavailable, StatementFailed) as err:
        yield Finding("unseen", "postgis", "looked at", str(err))


async def _landing(clients: Clients, now: datetime) -> AsyncIterator[Finding]:
    after: str | None = ""
    while after is not None:
        listing = await clients.objects.list_objects(LANDING_BUCKET, MANIFESTS, after)
        for info in listing.objects:
            if is_manifest_key(info.key):
                yield Finding("manifest", info.key, "taken in", "it lies in the landing zone")
        after = listing.next_after
    page: Page | None = Page(limit=_PAGE)
    while page is not None:
        part = await clients.ledger.list_deliveries("received", page)
        for delivery in part.items:
            if delivery.received_at < now - timedelta(seconds=OWN_TIME_SECONDS):
                yield Finding("delivery", delivery.delivery_id, "looked at", "whoever received it did not finish it")
        page = Page(_PAGE, part.next_cursor) if part.next_cursor else None


async def _lost(clients: Clients, ready: list[Run], pause: float) -> list[Finding]:
    if not ready:
        return []
    try:
        waiting = await to_thread.run_sync(clients.queue.waiting_runs)
        await asyncio.sleep(pause)
        waiting |= await to_thread.run_sync(clients.queue.waiting_runs)
    except QueueUnavailable as err:
        return [Finding("unseen", "queue", "looked at", str(err))]
    return list(_absent(ready, waiting))


def _absent(ready: list[Run], waiting: frozenset[str]) -> Iterator[Finding]:
    for run in ready:
        if run.run_id not in waiting:
            yield Finding("run", run.run_id, "enqueued", "the queue does not have it")
