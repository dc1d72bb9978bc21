"""Deleted versions: when, by whom, why, and whether their objects are removed. Runs whose log was removed."""

from __future__ import annotations

from typing import Any

from app.storage.mongo.migrate import load_script

FIRST: Any = load_script("0001_ledger")
CATALOG: Any = load_script("0002_catalog")
BEFORE: Any = load_script("0006_attempts")

DELETION = FIRST.document(at=FIRST.TIME, by=FIRST.TEXT, reason=FIRST.TEXT, removed_at=FIRST.optional(FIRST.TIME))
NEW: dict[str, Any] = {
    "writes": FIRST.COUNT,
    "state": FIRST.one_of("living", "deleted", "removed"),
    "deletion": FIRST.optional(DELETION),
}
ASSET = FIRST.document(**CATALOG.ASSET["properties"], **NEW)
COMMIT = CATALOG.COMMIT["properties"] | {"asset": ASSET, "checked": FIRST.BOOLEAN}
RUN = FIRST.document(**BEFORE.RUN["properties"], log_removed=FIRST.BOOLEAN)
RUN_MARKS = {
    name: schema
    for name, schema in BEFORE.VALIDATORS["runs"]["properties"].items()
    if name not in BEFORE.RUN["properties"]
}
STATUS = FIRST.one_of(*FIRST.RUN_STATUSES, "rejected", "removed")
MANIFEST = FIRST.document(**FIRST.MANIFEST["properties"] | {"status": STATUS})
VALIDATORS: dict[str, Any] = {
    "manifests": FIRST.marked(MANIFEST, pending_run=RUN, removing=FIRST.document(run_ids=FIRST.TEXTS)),
    "assets": FIRST.marked(
        ASSET,
        pending_deletion=FIRST.document(
            deletion_id=FIRST.TEXT,
            deletion=DELETION,
            keep_newest=FIRST.BOOLEAN,
            ip=FIRST.optional(FIRST.TEXT),
        ),
        untold=FIRST.document(ip=FIRST.optional(FIRST.TEXT)),
    ),
    "runs": FIRST.marked(RUN, **RUN_MARKS | {"pending_commit": FIRST.document(**COMMIT)}),
}
# For the newest version, for versions to remove, and for unfinished deletions.
INDEXES: dict[str, list[tuple[str, ...]]] = {
    "assets": [("state", "sort_at", "dataset_id", "version"), ("dataset_id", "state", "version")],
    "runs": [("log_removed", "completed_at")],
}
SPARSE: dict[str, list[tuple[str, ...]]] = {
    "assets": [("pending_deletion.deletion_id",), ("untold",)],
    "manifests": [("removing.run_ids",)],
}
ADDED: dict[str, Any] = {"writes": 1, "state": "living", "deletion": None}


async def upgrade(database: Any) -> None:
    """Idempotent: adds the fields where they are missing."""
    for name, schema in VALIDATORS.items():
        await database.command({"collMod": name, "validator": {"$jsonSchema": schema}, "validationLevel": "strict"})
    assets, runs = database["assets"], database["runs"]
    # Unfinished commits of an earlier release, which could not delete versions.
    async for run in runs.find({"pending_commit.s3_key": {"$exists": True}}):
        mark = run["pending_commit"]
        if "checked" not in mark:
            changed = mark | {"asset": ADDED | mark["asset"], "checked": True}
            # All new fields in one write: the validators refuse a run that has only some of them.
            replaced = {"log_removed": False} | run | {"pending_commit": changed, "writes": run["writes"] + 1}
            await runs.replace_one({"_id": run["_id"], "writes": run["writes"]}, replaced)
    await runs.update_many({"log_removed": {"$exists": False}}, {"$set": {"log_removed": False}})
    await database["manifests"].update_many(
        {"pending_run.run_id": {"$exists": True}, "pending_run.log_removed": {"$exists": False}},
        {"$set": {"pending_run.log_removed": False}},
    )
    await assets.update_many({"state": {"$exists": False}}, {"$set": ADDED})
    for indexes, options in ((INDEXES, {}), (SPARSE, {"sparse": True})):
        for name, wanted in indexes.items():
            for fields in wanted:
                keys = [(field, FIRST.ASCENDING) for field in fields]
                await database[name].create_index(keys, name=f"ix_{'_'.join(fields).replace('.', '_')}", **options)
