"""Further runs that want a new version whatever there is. (Counters for the metrics are made when they are counted.)"""

from __future__ import annotations

from typing import Any

from app.storage.mongo_migrate import load_script

FIRST: Any = load_script("0001_ledger")
BEFORE: Any = load_script("0002_catalog")

NEW: dict[str, Any] = {"new_version": FIRST.optional(FIRST.TEXT)}
RUN = FIRST.document(**FIRST.RUN["properties"], **NEW)
MARKS = {
    name: schema
    for name, schema in BEFORE.VALIDATORS["runs"]["properties"].items()
    if name not in FIRST.RUN["properties"]
}
VALIDATORS: dict[str, Any] = {
    "runs": FIRST.marked(RUN, **MARKS),
    "manifests": FIRST.marked(FIRST.VALIDATORS["manifests"], pending_run=RUN),
}


async def upgrade(database: Any) -> None:
    """Idempotent: only what lacks the field gets it."""
    for name, schema in VALIDATORS.items():
        await database.command({"collMod": name, "validator": {"$jsonSchema": schema}, "validationLevel": "strict"})
    await database["runs"].update_many({"new_version": {"$exists": False}}, {"$set": {"new_version": None}})
    await database["manifests"].update_many(
        {"pending_run.run_id": {"$exists": True}, "pending_run.new_version": {"$exists": False}},
        {"$set": {"pending_run.new_version": None}},
    )
