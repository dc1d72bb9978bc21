"""Totals of finished runs and living versions in one document, also of existing ones."""

from __future__ import annotations

from typing import Any

from app.storage.mongo.database import rows_of
from app.storage.mongo.migrate import load_script
from app.storage.shared.totals import of_run, of_versions

FIRST: Any = load_script("0001_ledger")
LANES: Any = load_script("0009_lanes")
BEFORE: Any = load_script("0010_newest")

COUNTED = FIRST.one_of("not_yet", "yes", "no_longer")
RUN = FIRST.document(**LANES.RUN["properties"], counted=COUNTED)
RUN_MARKS = {
    name: schema
    for name, schema in BEFORE.VALIDATORS["runs"]["properties"].items()
    if name not in LANES.RUN["properties"]
}
ASSET = FIRST.document(**BEFORE.ASSET["properties"], counted=COUNTED)
COMMIT = BEFORE.COMMIT | {"asset": ASSET}
AMOUNTS = {"bsonType": "array", "items": FIRST.document(name=FIRST.TEXT, value=FIRST.INTEGER)}
BATCH = {"bsonType": "array", "items": FIRST.document(collection=FIRST.TEXT, key=FIRST.TEXT, counted=COUNTED)}
VALIDATORS: dict[str, Any] = {
    "runs": FIRST.marked(RUN, **RUN_MARKS | {"pending_commit": FIRST.document(**COMMIT)}),
    "manifests": FIRST.marked(LANES.VALIDATORS["manifests"], pending_run=RUN),
    "assets": FIRST.marked(ASSET, **BEFORE.ASSET_MARKS),
    "totals": FIRST.marked(FIRST.document(_id=FIRST.TEXT, writes=FIRST.COUNT, amounts=AMOUNTS), batch=BATCH),
}
# For what is due.
INDEXES: dict[str, list[tuple[str, ...]]] = {"runs": [("counted", "status")], "assets": [("counted", "state")]}
OVER = ("success", "failure", "canceled")


async def upgrade(database: Any) -> None:
    """Idempotent: adds the field where it is missing, then makes the totals of what has it."""
    there = await database.list_collection_names()
    for name, schema in VALIDATORS.items():
        if name not in there:
            await database.create_collection(name)
        await database.command({"collMod": name, "validator": {"$jsonSchema": schema}, "validationLevel": "strict"})
    # All new fields of a document in one write: the validators refuse one that has only some of them.
    for collection, mark, inner, outer in (
        ("manifests", "pending_run.run_id", "pending_run.counted", ()),
        ("runs", "pending_commit.s3_key", "pending_commit.asset.counted", ("counted",)),
    ):
        unfinished = {mark: {"$exists": True}, inner: {"$exists": False}}
        await database[collection].update_many(unfinished, {"$set": dict.fromkeys((inner, *outer), "not_yet")})
    missing = {"counted": {"$exists": False}}
    for name, counts in (("runs", {"status": {"$in": list(OVER)}}), ("assets", {"state": "living"})):
        await database[name].update_many(missing | counts, {"$set": {"counted": "yes"}})
        await database[name].update_many(missing, {"$set": {"counted": "not_yet"}})
        for fields in INDEXES[name]:
            keys = [(field, FIRST.ASCENDING) for field in fields]
            await database[name].create_index(keys, name=f"ix_{'_'.join(fields)}")
    if await database["totals"].find_one({"_id": "totals"}) is None:
        amounts = [{"name": name, "value": value} for name, value in sorted((await _amounts(database)).items())]
        await database["totals"].insert_one({"_id": "totals", "writes": 1, "amounts": amounts})


async def _amounts(database: Any) -> dict[str, int]:
    """Grouped by one field at a time, which every server of the MongoDB protocol can do."""
    found: dict[str, int] = {}
    runs, assets = database["runs"], database["assets"]
    lanes = [each["_id"] for each in await rows_of(runs.aggregate([{"$group": {"_id": "$lane"}}]))]
    totals = {"attempts": {"$sum": "$attempt"}, "runs": {"$sum": 1}}
    for lane in lanes:
        stages = [{"$match": {"lane": lane, "counted": "yes"}}, {"$group": {"_id": "$status", **totals}}]
        for each in await rows_of(runs.aggregate(stages)):
            found |= of_run(lane, each["_id"], each["attempts"], each["runs"])
    sizes = {"_id": "$kind", "bytes": {"$sum": "$size"}, "versions": {"$sum": 1}}
    for each in await rows_of(assets.aggregate([{"$match": {"counted": "yes"}}, {"$group": sizes}])):
        found |= of_versions(each["_id"], each["bytes"], each["versions"])
    return found
