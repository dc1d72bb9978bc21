"""The ledgers that must keep the contract, what the tests put into them, and what crowds of processes do to them.

A further ledger joins the whole suite with one row in BACKENDS.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from app.ledger import Accepted, Guard, Ledger
from app.models.api_key import ApiKey, Scope
from app.models.asset import Asset, AssetInput, AssetMetadata
from app.models.base import new_id, utcnow
from app.models.manifests.manifest import ManifestRecord
from app.models.runs.run import Lease, Run, RunStatus
from app.storage.mongo.ledger import open_mongo_ledger
from app.storage.sql.ledger import open_sql_ledger
from tests.servers import mongo, postgres_ledgers

MINUTE = timedelta(minutes=1)
T0 = datetime.fromisoformat("2026-11-22T12:00:00.123+00:00")


@asynccontextmanager
async def _sqlite(folder: Path, migrated: bool) -> AsyncIterator[str]:
    url = f"sqlite:///{folder / 'ledger.sqlite'}"
    if migrated:
        async with open_sql_ledger(url) as ledger:
            await ledger.migrate()
    yield url


@asynccontextmanager
async def _mongodb(_folder: Path, migrated: bool) -> AsyncIterator[str]:
    with mongo.fresh_database() as url:
        if migrated:
            async with open_mongo_ledger(url) as ledger:
                await ledger.migrate()
        yield url


@asynccontextmanager
async def _postgresql(_folder: Path, migrated: bool) -> AsyncIterator[str]:
    async with postgres_ledgers.fresh_database(migrated=migrated) as url:
        yield url


@dataclass(frozen=True, slots=True)
class Backend:
    """fresh: gives the URL of a ledger without entries, migrated or not, and removes it later. open: opens it."""

    fresh: Callable[[Path, bool], AbstractAsyncContextManager[str]]
    open: Callable[[str], AbstractAsyncContextManager[Ledger]]


BACKENDS = {
    "mongodb": Backend(_mongodb, open_mongo_ledger),
    "postgresql": Backend(_postgresql, open_sql_ledger),
    "sqlite": Backend(_sqlite, open_sql_ledger),
}


def a_manifest(batch_id: str = "batch", **fields: Any) -> ManifestRecord:
    """`document`: changes of the document; every other field belongs to the record."""
    document = {
        "batch_id": batch_id,
        "uploader": "ada",
        "intent": "ingest_vector",
        "files": [],
        "metadata": {"tags": {}},
    }
    document |= fields.pop("document", {})
    return ManifestRecord(
        **{"batch_id": batch_id, "manifest": document, "content_hash": "sha256:1", "ingested_at": T0} | fields
    )


def a_run(batch_id: str = "batch", **fields: Any) -> Run:
    # A dataset of its own: of one dataset only one run at a time may be carried.
    common = {"job_name": "spatial_asset_job", "lane": "spatial", "partition_key": f"data-{batch_id}", "created_at": T0}
    return Run(**{"run_id": new_id(), "batch_id": batch_id} | common | fields)


def an_asset(run: Run, version: int = 1, **fields: Any) -> Asset:
    common: dict[str, Any] = {
        "dataset_id": run.partition_key,
        "version": version,
        "s3_key": f"{run.partition_key}/v{version}/data.parquet",
        "content_hash": "sha256:2",
        "size": 10,
        "kind": "spatial",
        "format": "geoparquet",
        "crs": None,
        "bounds": None,
        "run_id": run.run_id,
        "inputs": (),
        "metadata": AssetMetadata(manifest={}, column_schema={}),
        "statistics": {},
        "created_at": T0,
    }
    return Asset(**common | fields)


async def put_run(ledger: Ledger, **fields: Any) -> Run:
    """A queued run with a manifest of its own."""
    run = a_run(fields.pop("batch_id", None) or new_id(), **fields)
    return (await ledger.accept(a_manifest(run.batch_id), run)).run


async def claim(ledger: Ledger, run: Run, owner: str = "host:1:1", expires_at: datetime = T0 + MINUTE) -> Run | None:
    guard = Guard(frozenset({RunStatus.QUEUED}), attempt=run.attempt)
    lease = Lease(owner=owner, expires_at=expires_at)
    return await ledger.change_run(run.run_id, guard, status=RunStatus.RUNNING, attempt=run.attempt + 1, lease=lease)


async def put_running(ledger: Ledger, **fields: Any) -> Run:
    run = await claim(ledger, await put_run(ledger, **fields))
    assert run is not None
    return run


async def put_asset(ledger: Ledger, dataset_id: str, *inputs: AssetInput, **fields: Any) -> Asset:
    """The next version of a dataset, the way a worker makes it."""
    run = await put_running(ledger, partition_key=dataset_id)
    version = await ledger.reserve_version(run.run_id, run.attempt)
    assert version is not None
    asset = await ledger.commit_asset(an_asset(run, version, inputs=inputs, **fields), run.attempt)
    assert asset is not None
    return asset


def in_process(backend: str, url: str, gate: Path, crowd: int, work: str, names: tuple[str, ...]) -> list[Any]:
    """One of `crowd` processes; all begin `work` at the same moment."""
    return asyncio.run(_in_process(backend, url, gate, crowd, work, names))


async def _in_process(backend: str, url: str, gate: Path, crowd: int, work: str, names: tuple[str, ...]) -> list[Any]:
    me = new_id()
    (gate / me).touch()
    deadline = time.monotonic() + 60
    while len(list(gate.iterdir())) < crowd:  # noqa: ASYNC240 # nothing else runs in this loop yet
        if time.monotonic() > deadline:
            raise TimeoutError("the other processes did not come")
        await asyncio.sleep(0.005)
    async with BACKENDS[backend].open(url) as ledger:
        return await WORK[work](ledger, me, names)


async def _accept_all(ledger: Ledger, _me: str, batches: tuple[str, ...]) -> list[tuple[str, str, bool]]:
    made: list[Accepted] = await asyncio.gather(*(ledger.accept(a_manifest(name), a_run(name)) for name in batches))
    return [(each.manifest.batch_id, each.run.run_id, each.created) for each in made]


async def _claim_all(ledger: Ledger, me: str, run_ids: tuple[str, ...]) -> list[str]:
    runs = [await ledger.get_run(run_id) for run_id in run_ids]
    claimed = await asyncio.gather(*(claim(ledger, run, me) for run in runs if run is not None))
    return [run.run_id for run in claimed if run is not None]


async def _reserve_all(ledger: Ledger, _me: str, run_ids: tuple[str, ...]) -> list[tuple[str, int | None]]:
    versions = await asyncio.gather(*(ledger.reserve_version(run_id, 1) for run_id in run_ids))
    return list(zip(run_ids, versions, strict=True))


async def _log_all(ledger: Ledger, me: str, run_ids: tuple[str, ...]) -> list[int]:
    events = await asyncio.gather(
        *(ledger.add_event(name, code="beat", message=me) for name in run_ids for _ in range(10))
    )
    return [event.seq for event in events]


async def _commit_all(ledger: Ledger, me: str, run_ids: tuple[str, ...]) -> list[tuple[str, str | None]]:
    """Every process made its own content for the same version; one of them is registered."""
    made = []
    for run_id in run_ids:
        run = await ledger.get_run(run_id)
        assert run is not None
        assert run.reserved_version is not None
        asset = await ledger.commit_asset(an_asset(run, run.reserved_version, content_hash=me), run.attempt)
        made.append((run_id, asset.content_hash if asset else None))
    return made


async def _rerun_all(ledger: Ledger, _me: str, run_ids: tuple[str, ...]) -> list[tuple[str, bool]]:
    """Each of them twice: under an id that every process derives, and under one of its own."""
    made = []
    for run_id in run_ids:
        run = await ledger.get_run(run_id)
        assert run is not None
        fields = {"retry_of": run_id, "created_at": run.created_at + MINUTE}
        asked = (a_run(run.batch_id, **fields, run_id=f"{run_id}-2"), a_run(run.batch_id, **fields))
        made += [(run.batch_id, done) for done in await asyncio.gather(*(ledger.add_run(each) for each in asked))]
    return [(batch, done is not None) for batch, done in made]


async def _lead_all(ledger: Ledger, me: str, roles: tuple[str, ...]) -> list[tuple[str, int]]:
    """Each role ten times, whoever leads: the (role, beat) pairs that this process won."""
    won = []
    for role in roles * 10:
        led = await ledger.lead(role, me, 5, await ledger.get_leadership(role))
        won += [(role, led.beat)] if led is not None else []
    return won


async def _take_all(ledger: Ledger, me: str, run_ids: tuple[str, ...]) -> list[str]:
    lease = Lease(owner=me, expires_at=T0 + MINUTE)
    made = await asyncio.gather(*(ledger.claim_run(run_id, 0, lease, at=T0, limit=None) for run_id in run_ids))
    return [each.run.run_id for each in made if each.run is not None]


async def _take_and_end_all(ledger: Ledger, me: str, run_ids: tuple[str, ...]) -> list[str]:
    """One after the other; what it could claim, in that order."""
    lease, ended = Lease(owner=me, expires_at=T0 + MINUTE), []
    for run_id in run_ids:
        if (await ledger.claim_run(run_id, 0, lease, at=T0, limit=None)).run is not None:
            await ledger.change_run(run_id, Guard(frozenset({RunStatus.RUNNING})), status=RunStatus.SUCCESS)
            ended.append(run_id)
    return ended


async def _join_line(ledger: Ledger, me: str, names: tuple[str, ...]) -> list[str]:
    """Accept eight runs of that dataset, and after each carry whichever has its turn; those that it carried."""
    served: list[str] = []
    for _ in range(8):
        run = a_run(new_id(), partition_key=names[0], created_at=utcnow())
        await ledger.accept(a_manifest(run.batch_id), run)
        writer = await ledger.get_writer(names[0])
        if writer is not None:
            served += await _take_and_end_all(ledger, me, (writer.run_id,))
    return served


async def _count_all(ledger: Ledger, _me: str, names: tuple[str, ...]) -> list[None]:
    return list(await asyncio.gather(*(ledger.count(dict.fromkeys(names, 1)) for _ in range(10))))


async def _add_api_keys(ledger: Ledger, me: str, names: tuple[str, ...]) -> list[bool]:
    keys = (ApiKey(name=name, token_hash=f"{me} {name}", scope=Scope.READ, created_at=T0) for name in names)
    return list(await asyncio.gather(*(ledger.add_api_key(key) for key in keys)))


async def _migrate(ledger: Ledger, _me: str, _names: tuple[str, ...]) -> list[str]:
    applied = await ledger.migrate()
    await ledger.ping()
    await ledger.accept(a_manifest(), a_run())
    return list(applied)


WORK: dict[str, Callable[[Ledger, str, tuple[str, ...]], Coroutine[Any, Any, list[Any]]]] = {
    "accept": _accept_all,
    "claim": _claim_all,
    "reserve": _reserve_all,
    "log": _log_all,
    "commit": _commit_all,
    "rerun": _rerun_all,
    "take": _take_all,
    "take_and_end": _take_and_end_all,
    "join_line": _join_line,
    "count": _count_all,
    "lead": _lead_all,
    "add_api_key": _add_api_keys,
    "migrate": _migrate,
}
