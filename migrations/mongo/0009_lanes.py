"""Scheduling: queues of datasets, back-off, lanes. Existing runs are added to the queue of their dataset."""

from __future__ import annotations

from typing import Any

from app.storage.mongo.migrate import load_script

FIRST: Any = load_script("0001_ledger")
BEFORE: Any = load_script("0008_deletion")

NEW: dict[str, Any] = {"blocked": FIRST.BOOLEAN, "not_before": FIRST.optional(FIRST.TIME), "due_at": FIRST.INTEGER}
RUN = FIRST.document(**BEFORE.RUN["properties"], **NEW)
MARKS = {
    name: schema
    for name, schema in BEFORE.VALIDATORS["runs"]["properties"].items()
    if name not in BEFORE.RUN["properties"]
}
VALIDATORS: dict[str, Any] = {
    "runs": FIRST.marked(RUN, **MARKS, turn_due=FIRST.BOOLEAN),
    "manifests": FIRST.marked(BEFORE.VALIDATORS["manifests"], pending_run=RUN),
    "dataset_writers": FIRST.document(_id=FIRST.TEXT, writes=FIRST.COUNT, dataset_id=FIRST.TEXT, run_id=FIRST.TEXT),
    "lanes": FIRST.document(
        _id=FIRST.TEXT,
        writes=FIRST.COUNT,
        lane=FIRST.TEXT,
        paused=FIRST.BOOLEAN,
        limit=FIRST.optional(FIRST.COUNT),
        limit_is_set=FIRST.BOOLEAN,
        slots=FIRST.TEXTS,
    ),
}
# For the next run of a dataset, and of a lane.
INDEXES: dict[str, list[tuple[str, ...]]] = {
    "runs": [
        ("partition_key", "status", "sort_at", "run_id"),
        ("status", "lane", "blocked", "sort_at", "run_id"),
    ]
}
# For unfinished writes.
SPARSE: dict[str, list[tuple[str, ...]]] = {"runs": [("turn_due",)], "lanes": [("pending_told.told_id",)]}
UNFINISHED = ("canceling", "running", "queued")


async def upgrade(database: Any) -> None:
    """Idempotent: adds the fields and the queue entries where they are missing."""
    there = await database.list_collection_names()
    for name, schema in VALIDATORS.items():
        if name not in there:
            await database.create_collection(name)
        await database.command({"collMod": name, "validator": {"$jsonSchema": schema}, "validationLevel": "strict"})
    runs, manifests, writers = database["runs"], database["manifests"], database["dataset_writers"]
    fields = {"blocked": False, "not_before": None, "due_at": 0}
    await runs.update_many({"blocked": {"$exists": False}}, {"$set": fields})
    # Blocked until they are in the queue.
    pending = {f"pending_run.{name}": value for name, value in (fields | {"blocked": True}).items()}
    await manifests.update_many(
        {"pending_run.run_id": {"$exists": True}, "pending_run.blocked": {"$exists": False}}, {"$set": pending}
    )
    for indexes, options in ((INDEXES, {}), (SPARSE, {"sparse": True})):
        for collection, wanted in indexes.items():
            for names in wanted:
                keys = [(field, FIRST.ASCENDING) for field in names]
                name = f"ix_{'_'.join(names).replace('.', '_')}"
                await database[collection].create_index(keys, name=name, **options)
    await _line_up(runs, writers)


async def _line_up(runs: Any, writers: Any) -> None:
    """A run under way is the writer before those that wait. If several are under way, they may end."""
    for status in UNFINISHED:
        async for run in runs.find({"status": status}).sort([("sort_at", 1), ("run_id", 1)]):
            dataset, key = run["partition_key"], run["_id"]
            turn = await writers.find_one({"_id": dataset})
            if turn is None:
                await writers.insert_one({"_id": dataset, "dataset_id": dataset, "run_id": key, "writes": 1})
            elif turn["run_id"] != key and status == "queued":
                blocked = {"$set": {"blocked": True}, "$inc": {"writes": 1}}
                await runs.update_one({"_id": key, "status": status}, blocked)
