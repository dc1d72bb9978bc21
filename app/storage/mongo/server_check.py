"""Tries out what the ledger needs of its server, in a scratch collection that is removed afterwards.

No transactions: the ledger uses none (see docs/adr/0009).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError, OperationFailure, WriteError

from app.errors import LedgerUnsupported
from app.models.base import new_id
from app.storage.mongo.database import MongoDatabase
from app.storage.mongo.documents import Document
from app.storage.mongo.migrate import validators

_NOT_AUTHORIZED = 13
_FAILED_VALIDATION = 121


async def try_out(database: MongoDatabase) -> Mapping[str, str]:
    """Return what was tried and how it went.

    Raises:
        LedgerUnsupported: the server lacks something.
        LedgerUnavailable: it does not answer, or the user has too few rights.
    """
    version = await database.server_version()
    with database.errors():
        async with _scratch(database) as scratch:
            missing = await _missing(scratch)
            found = await _try_validators(database, scratch)
    if missing:
        detail = f"The server of the ledger ({database.location}, version {version}) has no working {missing}."
        raise LedgerUnsupported(detail, "The ledger cannot keep its promises on it. Use MongoDB 5.0 or later.")
    return {"findAndModify": "works", "indexes": "unique and sparse", "validators": found}


@asynccontextmanager
async def _scratch(database: MongoDatabase) -> AsyncIterator[Any]:
    name = f"doctor_{new_id()}"
    await database.raw.create_collection(name)
    try:
        yield database.raw[name]
    finally:
        await database.raw.drop_collection(name)


async def _missing(scratch: Any) -> str | None:
    """What the server takes and does not do; None when everything works."""
    for number in (1, 2):
        counted = await scratch.find_one_and_update(
            {"_id": "counter"}, {"$inc": {"value": 1}}, upsert=True, return_document=ReturnDocument.AFTER
        )
        if counted is None or counted["value"] != number:
            return "findAndModify"
    replaced = await scratch.replace_one({"_id": "counter", "value": 1}, {"value": 3})
    if replaced.matched_count:
        return "compare-and-set"
    await scratch.create_index([("key", 1), ("number", 1)], unique=True)
    await scratch.create_index([("mark.id", 1)], sparse=True)
    await scratch.insert_one({"_id": "first", "key": "a", "number": 1})
    if not await _is_refused(scratch, {"_id": "second", "key": "a", "number": 1}):
        return "unique index"
    await scratch.insert_one({"_id": "marked", "key": "b", "number": 1, "mark": {"id": "m"}})
    if [each["_id"] async for each in scratch.find({"mark.id": {"$exists": True}})] != ["marked"]:
        return "sparse index"
    await scratch.delete_many({})
    return None


async def _is_refused(scratch: Any, document: Document) -> bool:
    try:
        await scratch.insert_one(document)
    except DuplicateKeyError:
        return True
    return False


async def _try_validators(database: MongoDatabase, scratch: Any) -> str:
    """Set every validator of this release on the empty scratch collection, then one that refuses a document."""
    last = {"bsonType": "object", "required": ["needed"]}
    for schema in (*validators().values(), last):
        command = {"collMod": scratch.name, "validator": {"$jsonSchema": schema}, "validationLevel": "strict"}
        try:
            await database.raw.command(command)
        except OperationFailure as err:
            if err.code != _NOT_AUTHORIZED:
                raise
            return "not tried: the user may not use collMod, which only `migrate` needs"
    try:
        await scratch.insert_one({"_id": "invalid"})
    except WriteError as err:
        if err.code != _FAILED_VALIDATION:
            raise
        return "enforced"
    return "taken, but not enforced"
