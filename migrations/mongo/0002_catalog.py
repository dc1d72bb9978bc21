"""Search in the catalogue: the field `search` in every version, also in existing ones."""

from __future__ import annotations

from typing import Any

from app.storage.mongo.documents import decoded, search_document
from app.storage.mongo.migrate import load_script
from app.storage.shared.search_terms import BOX, SEARCHED, searchable_fields

FIRST: Any = load_script("0001_ledger")

DEGREES = FIRST.optional({"bsonType": ["double", "int", "long"]})
SEARCH = FIRST.document(terms=FIRST.TEXTS, testing=FIRST.BOOLEAN, **dict.fromkeys(BOX, DEGREES))
ASSET = FIRST.document(**FIRST.ASSET["properties"], search=SEARCH)
COMMIT = FIRST.VALIDATORS["runs"]["properties"]["pending_commit"]
VALIDATORS: dict[str, Any] = {
    "assets": ASSET,
    "runs": FIRST.marked(
        FIRST.VALIDATORS["runs"], pending_commit=FIRST.document(**COMMIT["properties"] | {"asset": ASSET})
    ),
}

# All in the order of the listing. The last has all fields of a bbox filter, so that no other version is read.
LISTED = ("sort_at", "dataset_id", "version")
INDEXES: dict[str, list[tuple[str, ...]]] = {
    "assets": [
        ("search.terms", *LISTED),
        ("search.testing", *LISTED),
        (*LISTED, *(f"search.{side}" for side in BOX)),
    ]
}


async def upgrade(database: Any) -> None:
    """Idempotent: keeps what exists."""
    # First, so that a worker of an earlier release cannot add a version without the field.
    for name, schema in VALIDATORS.items():
        await database.command({"collMod": name, "validator": {"$jsonSchema": schema}, "validationLevel": "strict"})
    assets, runs = database["assets"], database["runs"]
    # Versions with an unfinished commit first; then existing versions, which include those finished meanwhile.
    async for run in runs.find({"pending_commit.s3_key": {"$exists": True}}):
        mark = run["pending_commit"]
        if "search" not in mark["asset"]:
            asset = mark["asset"] | {"search": _search(mark["asset"])}
            changed = run | {"pending_commit": mark | {"asset": asset}, "writes": run["writes"] + 1}
            await runs.replace_one({"_id": run["_id"], "writes": run["writes"]}, changed)
    async for found in assets.find({"search": {"$exists": False}}):
        await assets.update_one({"_id": found["_id"]}, {"$set": {"search": _search(found)}})
    for name, indexes in INDEXES.items():
        for fields in indexes:
            keys = [(field, FIRST.ASCENDING) for field in fields]
            short = "_".join(field.removeprefix("search.") for field in fields)
            await database[name].create_index(keys, name=f"ix_{short}")


def _search(asset: dict[str, Any]) -> dict[str, Any]:
    return search_document(searchable_fields(decoded(asset, dict.fromkeys(SEARCHED))))
