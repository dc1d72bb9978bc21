"""The MongoDB database under the ledger: its client, and the few operations that the ledger is made of.

Driver errors stop here: whatever the server or the driver raises becomes LedgerUnavailable. Motor is past its end of
life, so only what PyMongo's AsyncMongoClient has as well is used (see docs/adr/0002).
"""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import UTC
from typing import Any

from bson.codec_options import CodecOptions
from bson.errors import BSONError
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import ReadPreference, ReturnDocument, WriteConcern
from pymongo.errors import ConfigurationError, DocumentTooLarge, DuplicateKeyError, OperationFailure, PyMongoError
from pymongo.read_concern import ReadConcern

from app.errors import LedgerFull, LedgerUnavailable
from app.storage.mongo_documents import Document

# Also how soon the API answers 503 while the server is away.
_SELECTION_MILLISECONDS = 3000
_WRITE_MILLISECONDS = 30_000
_URL = "SPATIAL_ETL_LEDGER__URL"
_FIXES = (
    ("authentication failed", f"Check the user, the password and authSource in {_URL}."),
    ("authentication", f"Give a user and a password in {_URL}, as the server asks for them."),
    ("not authorized", f"Give the user of {_URL} the role readWrite (and dbAdmin, to migrate) on this database."),
    ("name or service not known", f"Check the host in {_URL}."),
    ("name resolution", f"Check the host in {_URL}."),
    ("dns", f"Check the host in {_URL}."),
    ("ssl", f"Check tls and its certificates in {_URL}."),
    ("wtimeout", "Most members of the replica set must run for a write to be safe: bring them back."),
    ("waiting for replication", "Most members of the replica set must run for a write to be safe: bring them back."),
    ("no primary", "Most members of the replica set must run for it to have a primary: bring them back."),
    ("document failed validation", "Run `spatial-etl migrate` with this release."),
)
_OUT_OF_DISK_SPACE = 14031
_AUTHENTICATION_FAILED = 18


class MongoDatabase:
    """One client, opened at the first operation. required: the migrations that this release needs."""

    def __init__(self, url: str, required: Callable[[], Sequence[str]]) -> None:
        try:
            with warnings.catch_warnings():
                # The driver only warns about an option that it does not know, and quotes it.
                warnings.simplefilter("error", UserWarning)
                self._client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
                    url, **_options(url), appname="spatial-etl", retryWrites=True
                )
            name = _database_name(self._client)
        except (PyMongoError, ValueError, TypeError, UserWarning) as err:
            # Not the driver's words: they may quote a part of the URL, and with it the password.
            fix = (
                f"Set {_URL} to mongodb://USER:PASSWORD@HOST:27017/DATABASE?OPTIONS, with @ : / and % in the user and "
                "the password percent-encoded, and options that MongoDB's manual names."
            )
            raise LedgerUnavailable(f"The ledger URL is not one of MongoDB ({type(err).__name__}).", fix) from None
        if not name:
            self._client.close()
            raise LedgerUnavailable("The ledger URL names no database.", f"End {_URL} with /DATABASE, before any `?`.")
        # Set here and not from the URL: what the ledger promises depends on them.
        self._database = self._client.get_database(
            name,
            codec_options=CodecOptions(tz_aware=True, tzinfo=UTC),
            read_preference=ReadPreference.PRIMARY,
            write_concern=WriteConcern("majority", j=True, wtimeout=_WRITE_MILLISECONDS),
            read_concern=ReadConcern("majority"),
        )
        self.shown = f"mongodb {_hosts(url)}/{name}"
        self._required = required
        self._migrated = False

    @property
    def raw(self) -> Any:
        """The driver's database, for migrations; use it within `errors`."""
        return self._database

    def close(self) -> None:
        self._client.close()

    def collection(self, name: str) -> Collection:
        return Collection(self, name)

    async def applied(self) -> tuple[str, ...]:
        """The migrations that it has, oldest first."""
        with self.errors():
            found = self._database["schema_migrations"].find({}).sort([("_id", 1)])
            return tuple([str(each["_id"]) async for each in found])

    async def check_migrated(self, *, again: bool = False) -> None:
        """Raises LedgerUnavailable unless it is. Asked once, because a server makes missing collections silently,
        without the unique indexes that the ledger needs.
        """
        if self._migrated and not again:
            return
        self._migrated = False
        if missing := sorted(set(self._required()) - set(await self.applied())):
            detail = f"The ledger ({self.shown}) lacks the migrations {', '.join(missing)}."
            raise LedgerUnavailable(detail, "Run `spatial-etl migrate`.")
        self._migrated = True

    async def server_version(self) -> str:
        with self.errors():
            return str((await self._database.command("buildInfo"))["version"])

    async def next_number(self, counter: str) -> int:
        """Counts from 1, never the same number twice; a caller that dies leaves a gap."""
        await self.check_migrated()
        with self.errors():
            while True:
                with contextlib.suppress(DuplicateKeyError):  # two upserts at once: one of them finds it next time
                    found = await self._database["counters"].find_one_and_update(
                        {"_id": counter}, {"$inc": {"value": 1}}, upsert=True, return_document=ReturnDocument.AFTER
                    )
                    return int(found["value"])

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        try:
            yield
        except (BSONError, OverflowError, DocumentTooLarge, UnicodeEncodeError) as err:
            raise ValueError(f"A value cannot be stored: {err}") from err
        except PyMongoError as err:
            cause = _short(err)
            if getattr(err, "code", None) == _OUT_OF_DISK_SPACE or "no space left" in str(err).lower():
                fix = "Free space on the disk of the MongoDB server."
                raise LedgerFull(f"The ledger ({self.shown}) has no room left: {cause}.", fix) from err
            known = (fix for needle, fix in _FIXES if needle in str(err).lower())
            fix = next(known, "Check that it runs and can be reached.")
            if isinstance(err, OperationFailure) and err.code == _AUTHENTICATION_FAILED:
                fix = _FIXES[0][1]
            raise LedgerUnavailable(f"The ledger ({self.shown}) does not answer: {cause}.", fix) from err


class Collection:
    """The operations of one collection. Each is atomic, because each writes one document at most."""

    def __init__(self, database: MongoDatabase, name: str) -> None:
        self._database = database
        self._driver = database.raw[name]

    @contextlib.asynccontextmanager
    async def _ready(self) -> AsyncIterator[None]:
        await self._database.check_migrated()
        with self._database.errors():
            yield

    async def one(self, query: Mapping[str, Any], sort: Sequence[tuple[str, int]] | None = None) -> Document | None:
        async with self._ready():
            found: Document | None = await self._driver.find_one(query, sort=sort)
            return found

    async def many(
        self, query: Mapping[str, Any], sort: Sequence[tuple[str, int]] | None = None, limit: int = 0
    ) -> list[Document]:
        """limit 0: all."""
        async with self._ready():
            return [each async for each in self._driver.find(query, sort=sort, limit=limit)]

    async def add(self, document: Document) -> bool:
        """False when one of its unique keys is taken."""
        async with self._ready():
            try:
                await self._driver.insert_one(dict(document))
            except DuplicateKeyError:
                return False
            return True

    async def change(self, key: str, decide: Callable[[Document], Document | None]) -> Document | None:
        """Compare-and-set of one document: what `decide` makes of it replaces it, if nobody wrote it in between.

        Then it is read and decided again: somebody else went on, so this ends. None when `decide` gives None, or there
        is no such document.
        """
        async with self._ready():
            while True:
                old = await self._driver.find_one({"_id": key})
                new = decide(dict(old)) if old is not None else None
                if old is None or new is None:
                    return None
                new["writes"] = old["writes"] + 1
                result = await self._driver.replace_one({"_id": key, "writes": old["writes"]}, new)
                if result.matched_count:
                    return new
                await asyncio.sleep(0)

    async def grouped(
        self, name: str, fields: Mapping[str, Any], where: Mapping[str, Any] | None = None
    ) -> list[Document]:
        """One for each value of the field called `name`: that value as `_id`, and what `fields` accumulate."""
        stages: list[Document] = [{"$match": dict(where)}] if where else []
        async with self._ready():
            found = self._driver.aggregate([*stages, {"$group": {"_id": f"${name}", **fields}}])
            return [each async for each in found]

    async def increase(self, key: str, amount: int) -> None:
        """Add to `value` of that document, which begins at 0."""
        async with self._ready():
            while True:
                with contextlib.suppress(DuplicateKeyError):  # two upserts at once: one of them finds it next time
                    await self._driver.update_one({"_id": key}, {"$inc": {"value": amount}}, upsert=True)
                    return

    async def remove_many(self, query: Mapping[str, Any]) -> int:
        """How many there were."""
        async with self._ready():
            return int((await self._driver.delete_many(query)).deleted_count)

    async def remove(self, query: Mapping[str, Any]) -> bool:
        async with self._ready():
            return bool((await self._driver.delete_one(query)).deleted_count)


@contextlib.asynccontextmanager
async def open_database(url: str, required: Callable[[], Sequence[str]]) -> AsyncIterator[MongoDatabase]:
    """Connects at the first operation. Raises LedgerUnavailable for a URL that names no database of MongoDB."""
    database = MongoDatabase(url, required)
    try:
        yield database
    finally:
        database.close()


def _options(url: str) -> dict[str, Any]:
    """Defaults for what the URL leaves open."""
    wanted = {
        "serverSelectionTimeoutMS": _SELECTION_MILLISECONDS,
        "connectTimeoutMS": _SELECTION_MILLISECONDS,
        "socketTimeoutMS": 2 * _WRITE_MILLISECONDS,
    }
    return {name: value for name, value in wanted.items() if f"{name.lower()}=" not in url.lower()}


def _database_name(client: AsyncIOMotorClient[Document]) -> str:
    """Empty when the URL names none."""
    try:
        return client.get_default_database().name
    except ConfigurationError:
        return ""


def _hosts(url: str) -> str:
    """Without user, password and options."""
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2]


def _short(err: PyMongoError) -> str:
    """The driver's words up to where it begins to describe the topology."""
    text = str(err)
    for end in (", full error:", " (configured timeouts", ", Timeout:", ", Topology Description"):
        text = text.partition(end)[0]
    return text.rstrip(".")
