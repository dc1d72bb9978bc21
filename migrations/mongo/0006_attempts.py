"""How each attempt of a run ended. Earlier attempts have no record."""

from __future__ import annotations

from typing import Any

from app.storage.mongo.migrate import load_script

FIRST: Any = load_script("0001_ledger")
BEFORE: Any = load_script("0003_rerun")

ATTEMPT = FIRST.document(
    number=FIRST.COUNT,
    worker=FIRST.TEXT,
    started_at=FIRST.TIME,
    ended_at=FIRST.TIME,
    outcome=FIRST.TEXT,
    reason=FIRST.TEXT,
)
NEW: dict[str, Any] = {"attempts": {"bsonType": "array", "items": ATTEMPT}}
RUN = FIRST.document(**BEFORE.RUN["properties"], **NEW)
VALIDATORS: dict[str, Any] = {
    "runs": FIRST.marked(RUN, **BEFORE.MARKS),
    "manifests": FIRST.marked(FIRST.VALIDATORS["manifests"], pending_run=RUN),
}


async def upgrade(database: Any) -> None:
    """Idempotent: adds the field where it is missing."""
    for name, schema in VALIDATORS.items():
        await database.command({"collMod": name, "validator": {"$jsonSchema": schema}, "validationLevel": "strict"})
    await database["runs"].update_many({"attempts": {"$exists": False}}, {"$set": {"attempts": []}})
    await database["manifests"].update_many(
        {"pending_run.run_id": {"$exists": True}, "pending_run.attempts": {"$exists": False}},
        {"$set": {"pending_run.attempts": []}},
    )
