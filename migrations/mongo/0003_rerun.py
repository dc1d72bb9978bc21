"""Further runs that publish a new version even without a change. (Counters are created when they are first counted.)"""

from __future__ import annotations

from typing import Any

from app.storage.mongo.migrate import load_script

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
    """Idempotent: adds the field where it is missing."""
    for name, schema in VALIDATORS.items():
        await database.command({"collMod": name, "validator": {"$jsonSchema": schema}, "validationLevel": "strict"})
    await database["runs"].update_many({"new_version": {"$exists": False}}, {"$set": {"new_version": None}})
    await database["manifests"].update_many(
        {"pending_run.run_id": {"$exists": True}, "pending_run.new_version": {"$exists": False}},
        {"$set": {"pending_run.new_version": None}},
    )
