"""The MongoDB database under the ledger: its client, and the few operations that the ledger uses.

Errors of the server and the driver leave as errors of the domain (`driver_errors`). What meets an election is repeated
for a few seconds (`patience`). Motor is past its end of life, so only what PyMongo's AsyncMongoClient also has is used
(see docs/adr/0002).
"""

from __future__ import annotations

import asyncio
import contextlib
import warnings
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import UTC
from inspect import isawaitable
from typing import Any

import bson
from bson.codec_options import CodecOptions
from bson.errors import BSONError
from motor.motor_asyncio import AsyncIOMotorClient
from pymongo import ReadPreference, ReturnDocument, WriteConcern
from pymongo.errors import ConfigurationError, DocumentTooLarge, DuplicateKeyError, PyMongoError
from pymongo.read_concern import ReadConcern

from app.errors import LedgerUnavailable
from app.storage.mongo.documents import Document
from app.storage.mongo.driver_errors import URL_SETTING, FailedCommands, domain_error
from app.storage.mongo.patience import Patience, nothing_was_done, with_patience

# Documents of one answer of the server, where they are large together.
_FEW = 10
# Also how soon the API answers 503 while the server is away.
_SELECTION_MILLISECONDS = 3000
_WRITE_MILLISECONDS = 30_000
_CODEC: CodecOptions[Document] = CodecOptions(tz_aware=True, tzinfo=UTC)


class MongoDatabase:
    """One client of one database. It connects at the first operation.

    Args:
        url: `mongodb://…/DATABASE`.
        required: returns the migrations that this release needs.
        name_commands: errors name every command that the server lacks. Costs 30 µs for each command.

    Raises:
        LedgerUnavailable: the URL is not one of MongoDB, or names no database.
    """

    def __init__(self, url: str, required: Callable[[], Sequence[str]], *, name_commands: bool = False) -> None:
        self._url = url
        self._failed_commands = FailedCommands()
        try:
            with warnings.catch_warnings():
                # The driver only warns about an unknown option, and quotes it.
                warnings.simplefilter("error", UserWarning)
                self._client: AsyncIOMotorClient[Document] = AsyncIOMotorClient(
                    url,
                    **_options(url),
                    appname="spatial-etl",
                    retryWrites=True,
                    event_listeners=[self._failed_commands] if name_commands else [],
                )
            name = _database_name(self._client)
        except (PyMongoError, ValueError, TypeError, UserWarning) as err:
            # Not the driver's text, which may quote a part of the URL with the password.
            fix = (
                f"Set {URL_SETTING} to mongodb://USER:PASSWORD@HOST:27017/DATABASE?OPTIONS, with @ : / and % in the "
                "user and the password percent-encoded, and options of the MongoDB manual."
            )
            raise LedgerUnavailable(f"The ledger URL is not a MongoDB URL ({type(err).__name__}).", fix) from None
        if not name:
            self._client.close()
            raise LedgerUnavailable(
                "The ledger URL names no database.", f"End {URL_SETTING} with /DATABASE, before any `?`."
            )
        # Not from the URL: the guarantees of the ledger depend on these.
        self._database = self._client.get_database(
            name,
            codec_options=_CODEC,
            read_preference=ReadPreference.PRIMARY,
            write_concern=WriteConcern("majority", j=True, wtimeout=_WRITE_MILLISECONDS),
            read_concern=ReadConcern("majority"),
        )
        self.location = f"mongodb {_hosts(url)}/{name}"
        self._required = required
        self._migrated = False
        self._version = "unknown"

    @property
    def raw(self) -> Any:
        """The driver's database, for migrations. Use it within `errors`."""
        return self._database

    def close(self) -> None:
        """Close all connections."""
        self._client.close()

    @contextlib.asynccontextmanager
    async def naming_commands(self) -> AsyncIterator[MongoDatabase]:
        """Open the same database with a second client whose errors name commands, for migrations and `doctor`."""
        database = MongoDatabase(self._url, self._required, name_commands=True)
        try:
            yield database
        finally:
            database.close()

    def collection(self, name: str) -> Collection:
        """Return the operations of a collection."""
        return Collection(self, name)

    async def applied(self) -> tuple[str, ...]:
        """Return the names of the migrations of this database, oldest first."""

        async def read() -> tuple[str, ...]:
            found = self._database["schema_migrations"].find({}).sort([("_id", 1)])
            return tuple([str(each["_id"]) async for each in found])

        await self.server_version()
        with self.errors("find"):
            return await with_patience(read)

    async def check_migrated(self, *, again: bool = False) -> None:
        """Raise LedgerUnavailable when migrations are missing.

        Checked before the first operation, because a server creates missing collections silently and without the
        unique indexes that the ledger needs. again: check even if an earlier check passed.
        """
        if self._migrated and not again:
            return
        self._migrated = False
        if missing := sorted(set(self._required()) - set(await self.applied())):
            detail = f"The ledger ({self.location}) lacks the migrations {', '.join(missing)}."
            raise LedgerUnavailable(detail, "Run `spatial-etl migrate`.")
        self._migrated = True

    async def server_version(self) -> str:
        """Return the version of the server."""
        with self.errors("buildInfo"):
            info = await with_patience(lambda: self._database.command("buildInfo"))
        self._version = str(info["version"])
        return self._version

    async def next_number(self, counter: str) -> int:
        """Count from 1. No number is returned twice; a crash of the caller leaves a gap."""
        await self.check_migrated()

        async def count() -> Document:
            while True:
                with contextlib.suppress(DuplicateKeyError):  # of two upserts at once, one fails: repeat it
                    found: Document = await self._database["counters"].find_one_and_update(
                        {"_id": counter}, {"$inc": {"value": 1}}, upsert=True, return_document=ReturnDocument.AFTER
                    )
                    return found

        with self.errors("findAndModify"):
            return int((await with_patience(count))["value"])

    @contextlib.contextmanager
    def errors(self, command: str = "a command") -> Iterator[None]:
        """Raise errors of the driver as domain errors, and ValueError for a value that BSON cannot store.

        command: its name, for a server that lacks it.
        """
        try:
            yield
        except DocumentTooLarge as err:
            raise domain_error(
                err, self.location, self._version, self._failed_commands.name_of(err) or command
            ) from err
        except (BSONError, OverflowError, UnicodeEncodeError) as err:
            raise ValueError(f"A value cannot be stored: {err}") from err
        except PyMongoError as err:
            raise domain_error(
                err, self.location, self._version, self._failed_commands.name_of(err) or command
            ) from err


class Collection:
    """The operations of one collection. Writes are atomic, because each changes one document."""

    def __init__(self, database: MongoDatabase, name: str) -> None:
        self._database = database
        self._driver = database.raw[name]

    @contextlib.asynccontextmanager
    async def _ready(self, command: str) -> AsyncIterator[None]:
        await self._database.check_migrated()
        with self._database.errors(command):
            yield

    async def one(self, query: Mapping[str, Any], sort: Sequence[tuple[str, int]] | None = None) -> Document | None:
        """Return the first document of a query, or None."""
        async with self._ready("find"):
            found: Document | None = await with_patience(lambda: self._driver.find_one(query, sort=sort))
            return found

    async def many(
        self, query: Mapping[str, Any], sort: Sequence[tuple[str, int]] | None = None, limit: int = 0
    ) -> list[Document]:
        """Return the documents of a query. limit 0: all."""

        async def read() -> list[Document]:
            return [each async for each in self._driver.find(query, sort=sort, limit=limit)]

        async with self._ready("find"):
            return await with_patience(read)

    async def each(
        self, query: Mapping[str, Any], sort: Sequence[tuple[str, int]] | None = None, limit: int = 0
    ) -> AsyncIterator[Document]:
        """Yield the documents of a query, a few at a time: for documents that are large together."""
        patience, given = Patience(), False
        async with self._ready("find"):
            while True:
                try:
                    async for each in self._driver.find(query, sort=sort, limit=limit).batch_size(_FEW):
                        given = True
                        yield each
                    return
                except PyMongoError as err:
                    if given or not await patience.pause(err, repeatable=True):
                        raise

    async def add(self, document: Document) -> bool:
        """Insert a document. False when one of its unique keys exists."""
        patience, doubtful = Patience(), False
        async with self._ready("insert"):
            while True:
                try:
                    await self._driver.insert_one(dict(document))
                    return True
                except DuplicateKeyError:
                    # It may be the one that was sent before, and whose answer was lost.
                    return doubtful and await self._is_there(document)
                except PyMongoError as err:
                    if not await patience.pause(err, repeatable=True):
                        raise
                    doubtful = doubtful or not nothing_was_done(err)

    async def _is_there(self, document: Document) -> bool:
        found = await with_patience(lambda: self._driver.find_one({"_id": document["_id"]}))
        return bool(found == _as_stored(document))

    async def change(self, key: str, decide: Callable[[Document], Document | None]) -> Document | None:
        """Compare-and-set of one document: replace it by what `decide` returns, if it was not written in between.

        If it was, read and decide again. This ends, because each repetition means that another writer succeeded. When
        the answer of the server was lost, reading again tells whether the document was replaced: no other writer makes
        the same document with the same count of writes.

        Args:
            key: `_id` of the document.
            decide: is given a copy of the document, and returns the new one, or None for no change.

        Returns:
            The new document; None when `decide` returned None, or there is no such document.
        """
        patience = Patience()
        doubtful: tuple[Document, PyMongoError] | None = None
        async with self._ready("update"):
            while True:
                new: Document | None = None
                try:
                    old = await self._driver.find_one({"_id": key})
                    if old is None:
                        return None
                    if doubtful is not None and old["writes"] >= doubtful[0]["writes"]:
                        if _is_own_write(old, doubtful):
                            return doubtful[0]
                        doubtful = None
                    new = decide(dict(old)) if doubtful is None else doubtful[0]
                    if new is None:
                        return None
                    new["writes"] = old["writes"] + 1
                    result = await self._driver.replace_one({"_id": key, "writes": old["writes"]}, new)
                    if result.matched_count:
                        return new
                    await asyncio.sleep(0)
                except PyMongoError as err:
                    is_final = doubtful is not None and err is doubtful[1]
                    if is_final or not await patience.pause(err, repeatable=True):
                        raise
                    if new is not None and not nothing_was_done(err):
                        doubtful = (new, err)

    async def grouped(
        self, name: str, fields: Mapping[str, Any], where: Mapping[str, Any] | None = None
    ) -> list[Document]:
        """Group by the field `name`: one document per value, with the value as `_id` and the accumulators `fields`."""
        stages: list[Document] = [{"$match": dict(where)}] if where else []

        async def read() -> list[Document]:
            return await rows_of(self._driver.aggregate([*stages, {"$group": {"_id": f"${name}", **fields}}]))

        async with self._ready("aggregate"):
            return await with_patience(read)

    async def increase(self, key: str, amount: int) -> None:
        """Add to `value` of a document, which begins at 0."""

        async def increase() -> None:
            while True:
                with contextlib.suppress(DuplicateKeyError):  # of two upserts at once, one fails: repeat it
                    await self._driver.update_one({"_id": key}, {"$inc": {"value": amount}}, upsert=True)
                    return

        async with self._ready("update"):
            await with_patience(increase, repeatable=False)

    async def remove_many(self, query: Mapping[str, Any]) -> int:
        """Remove the documents of a query, and return how many there were."""
        async with self._ready("delete"):
            done = await with_patience(lambda: self._driver.delete_many(query), repeatable=False)
            return int(done.deleted_count)

    async def remove(self, query: Mapping[str, Any]) -> bool:
        """Remove the first document of a query. False: there is none."""
        async with self._ready("delete"):
            done = await with_patience(lambda: self._driver.delete_one(query), repeatable=False)
            return bool(done.deleted_count)


@contextlib.asynccontextmanager
async def open_database(url: str, required: Callable[[], Sequence[str]]) -> AsyncIterator[MongoDatabase]:
    """Open a database, and close its connections at the end; see `MongoDatabase`."""
    database = MongoDatabase(url, required)
    try:
        yield database
    finally:
        database.close()


def _options(url: str) -> dict[str, Any]:
    """Time limits for those that the URL does not set."""
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
    """The hosts of the URL, without user, password and options."""
    return url.partition("://")[2].partition("/")[0].rpartition("@")[2]


def _as_stored(document: Document) -> Document:
    """The document as the server gives it back."""
    return bson.decode(bson.encode(document), _CODEC)


def _is_own_write(found: Document, doubtful: tuple[Document, PyMongoError]) -> bool:
    """Whether the document is the one whose answer was lost.

    False: another writer was faster. When several have written since, it is unknown, and the error is raised.
    """
    sent, err = doubtful
    if found["writes"] > sent["writes"]:
        raise err
    return found == _as_stored(sent)


async def rows_of(found: Any) -> list[Document]:
    """All documents of an aggregation, whose cursor Motor returns at once, and its successor when it is awaited."""
    cursor = await found if isawaitable(found) else found
    return [each async for each in cursor]
