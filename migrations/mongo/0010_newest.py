"""The mark of the newest versions, also of existing ones; the indexes of the catalogue begin with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pymongo.errors import OperationFailure

from app.storage.mongo.migrate import load_script

FIRST: Any = load_script("0001_ledger")
CATALOG: Any = load_script("0002_catalog")
DELETION: Any = load_script("0008_deletion")
BEFORE: Any = load_script("0009_lanes")

ASSET = FIRST.document(**DELETION.ASSET["properties"], is_newest=FIRST.BOOLEAN)
ASSET_MARKS = {
    name: schema
    for name, schema in DELETION.VALIDATORS["assets"]["properties"].items()
    if name not in DELETION.ASSET["properties"]
}
COMMIT = DELETION.COMMIT | {"asset": ASSET}
VALIDATORS: dict[str, Any] = {
    "assets": FIRST.marked(ASSET, **ASSET_MARKS),
    "runs": FIRST.marked(BEFORE.VALIDATORS["runs"], pending_commit=FIRST.document(**COMMIT)),
}
# As before, for the newest versions only; and the marks of a dataset.
INDEXES: dict[str, list[tuple[str, ...]]] = {
    "assets": [
        ("is_newest", *CATALOG.LISTED),
        ("is_newest", "kind", *CATALOG.LISTED),
        *(("is_newest", *fields) for fields in CATALOG.INDEXES["assets"]),
        ("dataset_id", "is_newest"),
    ]
}
NO_LONGER: list[tuple[str, ...]] = [("kind", *CATALOG.LISTED), *CATALOG.INDEXES["assets"]]
_INDEX_NOT_FOUND = 27


async def upgrade(database: Any) -> None:
    """Idempotent: adds the marks where they are missing."""
    for name, schema in VALIDATORS.items():
        await database.command({"collMod": name, "validator": {"$jsonSchema": schema}, "validationLevel": "strict"})
    assets, runs = database["assets"], database["runs"]
    async for run in runs.find({"pending_commit.s3_key": {"$exists": True}}):
        mark = run["pending_commit"]
        if "is_newest" not in mark["asset"]:
            changed = mark | {"asset": mark["asset"] | {"is_newest": True}}
            replaced = run | {"pending_commit": changed, "writes": run["writes"] + 1}
            await runs.replace_one({"_id": run["_id"], "writes": run["writes"]}, replaced)
    # Those of the newest versions first: an interrupted migration begins again, and no process reads before its end.
    for key in await _newest(assets):
        asset = await assets.find_one({"_id": key})
        if "is_newest" not in asset:
            await assets.replace_one({"_id": key, "writes": asset["writes"]}, asset | {"is_newest": True})
    await assets.update_many({"is_newest": {"$exists": False}}, {"$set": {"is_newest": False}})
    for fields in INDEXES["assets"]:
        await assets.create_index([(field, FIRST.ASCENDING) for field in fields], name=_name(fields))
    for fields in NO_LONGER:
        try:
            await assets.drop_index(_name(fields))
        except OperationFailure as err:
            if err.code != _INDEX_NOT_FOUND:
                raise


async def _newest(assets: Any) -> set[str]:
    """The keys of the newest living version and of the highest number of each dataset."""
    living: dict[str, Mapping[str, Any]] = {}
    highest: dict[str, Mapping[str, Any]] = {}
    async for found in assets.find({}, {"dataset_id": 1, "version": 1, "state": 1}):
        for newest, counts in ((living, found["state"] == "living"), (highest, True)):
            best = newest.get(found["dataset_id"])
            if counts and (best is None or best["version"] < found["version"]):
                newest[found["dataset_id"]] = found
    return {str(each["_id"]) for each in (*living.values(), *highest.values())}


def _name(fields: tuple[str, ...]) -> str:
    return f"ix_{'_'.join(field.removeprefix('search.') for field in fields)}"
