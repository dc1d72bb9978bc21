"""Brings a MongoDB database up to date with the scripts of migrations/mongo.

Scripts are idempotent, so an interrupted one runs again. A lock that expires keeps two processes from migrating at
once.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from pymongo.errors import DuplicateKeyError

import app
from app.errors import LedgerUnavailable
from app.models.base import new_id, utcnow
from app.storage.mongo.database import MongoDatabase
from app.storage.shared.migration_wait import MigrationWait

LOCK_SECONDS = 30.0
_LOCK = "migrations"


def scripts_dir() -> Path:
    """Return the directory of the scripts: inside the installed package, or beside it in a source checkout."""
    package = Path(app.__file__).parent
    installed = package / "_migrations" / "mongo"
    return installed if installed.is_dir() else package.parent / "migrations" / "mongo"


def known_versions() -> tuple[str, ...]:
    """Return the names of all migrations, oldest first."""
    return tuple(sorted(path.stem for path in scripts_dir().glob("[0-9]*.py")))


def load_script(version: str) -> Any:
    """Return the module of one migration. Its `upgrade(database)` takes the driver's database."""
    spec = importlib.util.spec_from_file_location(f"_mongo_migration_{version}", scripts_dir() / f"{version}.py")
    assert spec is not None  # noqa: S101 # the file was just listed
    assert spec.loader is not None  # noqa: S101 # as above
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def validators() -> dict[str, Any]:
    """Return the schema of every collection in this release."""
    scripts = [load_script(version) for version in known_versions()]
    return {name: schema for script in scripts for name, schema in getattr(script, "VALIDATORS", {}).items()}


async def upgrade(database: MongoDatabase) -> tuple[str, ...]:
    """Apply the missing migrations, and return their names."""
    if set(known_versions()) <= set(await database.applied()):
        return ()
    made: list[str] = []
    async with _lock(database):
        before = await database.applied()
        for version in known_versions():
            if version not in before:
                await _apply(database, version)
                made.append(version)
    return tuple(made)


async def _apply(database: MongoDatabase, version: str) -> None:
    started = time.perf_counter()
    run: Callable[[Any], Awaitable[None]] = load_script(version).upgrade
    with database.errors():
        await run(database.raw)
        record = {"_id": version, "version": version, "applied_at": utcnow()}
        with contextlib.suppress(DuplicateKeyError):  # our lock expired, and another process did the same
            duration = round((time.perf_counter() - started) * 1000)
            await database.raw["schema_migrations"].insert_one(record | {"duration_ms": duration})


@contextlib.asynccontextmanager
async def _lock(database: MongoDatabase) -> AsyncIterator[None]:
    """Hold the lock of migrations, which expires LOCK_SECONDS after its process died."""
    me = new_id()
    waiting = MigrationWait(database.location)
    # A process that lives renews its lock; that of a dead one expires, and is taken over.
    while not await _take(database, me):
        await waiting.pause()
    renewing = asyncio.create_task(_renew(database, me))
    try:
        yield
    finally:
        renewing.cancel()
        with contextlib.suppress(asyncio.CancelledError, LedgerUnavailable):
            await renewing
        with database.errors():
            await database.raw["locks"].delete_one({"_id": _LOCK, "owner": me})


async def _take(database: MongoDatabase, me: str) -> bool:
    locks = database.raw["locks"]
    mine = {"_id": _LOCK, "owner": me, "expires_at": utcnow() + timedelta(seconds=LOCK_SECONDS)}
    with database.errors():
        held = await locks.find_one({"_id": _LOCK})
        if held is None:
            with contextlib.suppress(DuplicateKeyError):
                await locks.insert_one(mine)
                return True
            return False
        if held["owner"] != me and held["expires_at"] > utcnow():
            return False
        # Whole documents and the owner as found: of several that take over an expired lock, one succeeds.
        replaced = await locks.replace_one({"_id": _LOCK, "owner": held["owner"]}, mine)
        return bool(replaced.matched_count)


async def _renew(database: MongoDatabase, me: str) -> None:
    while True:
        await asyncio.sleep(LOCK_SECONDS / 3)
        await _take(database, me)
