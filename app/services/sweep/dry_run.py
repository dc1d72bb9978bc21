"""What the sweep would repair now (`spatial-etl sweep --dry-run`), found by its own functions. Writes nothing.

Workers on other hosts are judged as the sweep does: their leases are watched for as long as a sweep that just started
would watch them. What takes longer to find (an attempt past its time limit, a run that no worker takes) is left out.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Literal

from anyio import to_thread

from app.clients import Clients
from app.errors import EngineUnavailable, QueueUnavailable
from app.models.base import utcnow
from app.models.manifests.manifest import LANDING_BUCKET, MANIFEST_PREFIX
from app.models.runs.run import Run
from app.runs.ending import status_after
from app.services.intake.dropped_manifests import is_manifest_key
from app.services.intake.landing_scan import OWN_TIME_SECONDS
from app.services.listing import all_items, all_objects
from app.services.sweep.dead_attempts import DeadAttempt, DeadAttemptDetector, LeaseTimeouts
from app.services.sweep.orphan_schemas import find_orphans
from app.services.sweep.orphan_scratch import OrphanScratch
from app.services.sweep.sweep import (
    STALE_UPLOAD_SECONDS,
    all_ready_runs,
    missing_from_queue,
    runs_under_way,
    scratch_in_use,
)
from app.storage.postgis.server import StatementFailed

_PAGE = 1000


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing to repair.

    Attributes:
        kind: of the thing; `unseen` is a server that did not answer.
        name: of the thing.
        action: what the sweep would do, as a past participle: removed, enqueued, …
        reason: why.
    """

    kind: Literal["run", "write", "scratch", "schema", "upload", "manifest", "delivery", "version", "unseen"]
    name: str
    action: str
    reason: str

    def document(self) -> dict[str, str]:
        return asdict(self)


async def dry_run(
    clients: Clients, *, scratch: Path, max_attempts: int, timeouts: LeaseTimeouts, pause: float
) -> tuple[Finding, ...]:
    """What the sweep would repair. A queue or an engine that does not answer is a finding of the kind `unseen`.

    Args:
        pause: seconds between two checks.

    Raises:
        LedgerUnavailable, StoreUnavailable.
    """
    found: list[Finding] = []
    try:
        missing = await missing_from_queue(await all_ready_runs(clients), clients)
    except QueueUnavailable as err:
        missing = []
        found.append(Finding("unseen", "queue", "checked", str(err)))
    half = await clients.ledger.list_unfinished(_PAGE)
    committed = {each.name for each in half if each.kind == "commit"}
    found += [Finding("write", each.name, "finished", f"not finished: {each.kind}") for each in half]
    runs, dead = await _dead_attempts(clients, timeouts, pause)
    for run, attempt in dead:
        done = run.run_id in committed or await _is_registered(run, clients)
        status = status_after(run, attempt.end, max_attempts, committed=done)
        found.append(Finding("run", run.run_id, status.value, attempt.reason))
    names = await to_thread.run_sync(OrphanScratch(scratch).find, scratch_in_use(runs))
    found += [Finding("scratch", name, "removed", "its owner is gone") for name in names]
    found += await _schemas(clients)
    found += [each async for each in _landing(clients, utcnow())]
    if uploads := await clients.objects.remove_stale_uploads(STALE_UPLOAD_SECONDS, dry_run=True):
        found.append(Finding("upload", str(uploads), "removed", "unfinished for a day"))
    for asset in await clients.ledger.list_deleted(_PAGE):
        found.append(Finding("version", f"{asset.dataset_id}/v{asset.version}", "removed", "it was deleted"))
    return (*found, *await _lost(clients, missing, pause))


async def _dead_attempts(
    clients: Clients, timeouts: LeaseTimeouts, pause: float
) -> tuple[list[Run], list[tuple[Run, DeadAttempt]]]:
    """The runs under way and, of those, the dead ones."""
    detector = DeadAttemptDetector(timeouts)
    until: float | None = None
    while True:
        runs = await runs_under_way(clients)
        detector.look(runs)
        until = until or time.monotonic() + timeouts.silence_seconds
        dead = [(run, found) for run in runs if (found := detector.find(run)) is not None]
        if len(dead) == sum(run.lease is not None for run in runs) or time.monotonic() >= until:
            return runs, dead
        await asyncio.sleep(max(pause, 0.1))


async def _is_registered(run: Run, clients: Clients) -> bool:
    """As `registered_asset`, which may complete a half-done write, and so is not for a dry run."""
    if run.reserved_version is None:
        return False
    asset = await clients.ledger.get_asset(run.partition_key, run.reserved_version)
    return asset is not None and asset.run_id == run.run_id


async def _schemas(clients: Clients) -> list[Finding]:
    try:
        orphans = await find_orphans(clients)
    except (EngineUnavailable, StatementFailed) as err:
        return [Finding("unseen", "postgis", "checked", str(err))]
    reasons = {True: "its attempt is over", False: "its run is not in this ledger"}
    return [Finding("schema", schema.name, "dropped", reasons[known]) for schema, known in orphans]


async def _landing(clients: Clients, now: datetime) -> AsyncIterator[Finding]:
    async for info in all_objects(clients.objects, LANDING_BUCKET, MANIFEST_PREFIX):
        if is_manifest_key(info.key):
            yield Finding("manifest", info.key, "processed", "it is in the landing zone")
    async for delivery in all_items(partial(clients.ledger.list_deliveries, "received"), _PAGE):
        if delivery.received_at < now - timedelta(seconds=OWN_TIME_SECONDS):
            yield Finding("delivery", delivery.delivery_id, "processed", "its request did not finish it")


async def _lost(clients: Clients, missing: list[Run], pause: float) -> list[Finding]:
    """Those of the missing runs that the queue still does not have after a pause."""
    if not missing:
        return []
    await asyncio.sleep(pause)
    try:
        lost = await missing_from_queue(missing, clients)
    except QueueUnavailable as err:
        return [Finding("unseen", "queue", "checked", str(err))]
    return [Finding("run", run.run_id, "enqueued", "the queue does not have it") for run in lost]
