"""Who asked for a run. Runs from before have nobody there: their audit entries name the manifest's uploader."""

from __future__ import annotations

from typing import Any

from app.storage.mongo.migrate import load_script

FIRST: Any = load_script("0001_ledger")
BEFORE: Any = load_script("0011_totals")

RUN = FIRST.document(**BEFORE.RUN["properties"], asked_by=FIRST.optional(FIRST.TEXT))
MARKS = {
    name: schema
    for name, schema in BEFORE.VALIDATORS["runs"]["properties"].items()
    if name not in BEFORE.RUN["properties"]
}
VALIDATORS: dict[str, Any] = {
    "runs": FIRST.marked(RUN, **MARKS),
    "manifests": FIRST.marked(BEFORE.VALIDATORS["manifests"], pending_run=RUN),
}


async def upgrade(database: Any) -> None:
    """Idempotent: adds the field where it is missing."""
    for name, schema in VALIDATORS.items():
        await database.command({"collMod": name, "validator": {"$jsonSchema": schema}, "validationLevel": "strict"})
    await database["runs"].update_many({"asked_by": {"$exists": False}}, {"$set": {"asked_by": None}})
    await database["manifests"].update_many(
        {"pending_run.run_id": {"$exists": True}, "pending_run.asked_by": {"$exists": False}},
        {"$set": {"pending_run.asked_by": None}},
    )
