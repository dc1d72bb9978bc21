"""What the catalogue is searched by: `search` in every version, also in those that are there."""

from __future__ import annotations

from typing import Any

from app.storage.ledger_search import BOX, SEARCHED, searchable_fields
from app.storage.mongo_documents import decoded, search_document
from app.storage.mongo_migrate import load_script

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

# All in the order of the listing. The last has all that a bbox asks for: no version is read that lies elsewhere.
LISTED = ("sort_at", "dataset_id", "version")
INDEXES: dict[str, list[tuple[str, ...]]] = {
    "assets": [
        ("search.terms", *LISTED),
        ("search.testing", *LISTED),
        (*LISTED, *(f"search.{side}" for side in BOX)),
    ]
}


async def upgrade(database: Any) -> None:
    """Idempotent: what is there already stays as it is."""
    # First, so that a worker of an earlier release adds no version any more that nobody would find.
    for name, schema in VALIDATORS.items():
        await database.command({"collMod": name, "validator": {"$jsonSchema": schema}, "validationLevel": "strict"})
    assets, runs = database["assets"], database["runs"]
    # Versions whose commit was decided and not finished; then those that are there, among them what was finished since.
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
