"""MongoDB's validators, kept for a server that takes them and enforces none: a write that breaks one fails.

For the few methods that migrations use. A server that enforces validators refuses such a write itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from jsonschema import validators

from tests.unit.test_ledger_mongo_documents import Bson


def _bson_type(validator: Any, wanted: Any, value: Any, schema: Any) -> Any:
    """nx-27017 keeps 0 and 1 for a Boolean that `$set` puts into a document within the document."""
    if "bool" in wanted and isinstance(value, int) and value in (0, 1):
        return
    yield from Bson.VALIDATORS["bsonType"](validator, wanted, value, schema)


Tolerant = validators.extend(Bson, {"bsonType": _bson_type})
_WRITES = ("insert_one", "insert_many", "replace_one", "update_one", "update_many")


class EnforcingDatabase:
    """The driver's database, with every document validated that a write has added or may have changed."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw
        self._schemas: dict[str, Any] = {}
        self.validated = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._raw, name)

    def __getitem__(self, name: str) -> Any:
        return _EnforcingCollection(self, self._raw[name])

    async def command(self, command: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(command, Mapping) and "collMod" in command:
            assert command["validationLevel"] == "strict"
            self._schemas[command["collMod"]] = command["validator"]["$jsonSchema"]
        return await self._raw.command(command, *args, **kwargs)

    async def validate(self, collection: str, ids: list[Any]) -> None:
        """Raises jsonschema.ValidationError for the first of these documents that is invalid."""
        schema = self._schemas.get(collection)
        if schema is None:
            return
        async for document in self._raw[collection].find({"_id": {"$in": ids}}):
            Tolerant(schema).validate(document)
            self.validated += 1


class _EnforcingCollection:
    def __init__(self, database: EnforcingDatabase, driver: Any) -> None:
        self._database, self._driver = database, driver

    def __getattr__(self, name: str) -> Any:
        if name not in _WRITES:
            return getattr(self._driver, name)

        async def write(first: Any, *args: Any, **kwargs: Any) -> Any:
            if name == "insert_one":
                ids = [first["_id"]]
            elif name == "insert_many":
                ids = [each["_id"] for each in first]
            else:
                ids = [each["_id"] async for each in self._driver.find(first, {"_id": 1})]
            done = await getattr(self._driver, name)(first, *args, **kwargs)
            await self._database.validate(self._driver.name, ids)
            return done

        return write
