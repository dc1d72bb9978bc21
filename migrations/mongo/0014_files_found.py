"""What the patterns of a manifest stood for when it was accepted. Earlier manifests had no patterns."""

from __future__ import annotations

from typing import Any

from app.storage.mongo.migrate import load_script

FIRST: Any = load_script("0001_ledger")
BEFORE: Any = load_script("0012_asked_by").VALIDATORS["manifests"]

VALIDATORS: dict[str, Any] = {
    "manifests": BEFORE
    | {
        "required": [*BEFORE["required"], "files_found"],
        "properties": BEFORE["properties"] | {"files_found": FIRST.LIST},
    }
}


async def upgrade(database: Any) -> None:
    """Idempotent: adds the field where it is missing."""
    for name, schema in VALIDATORS.items():
        await database.command({"collMod": name, "validator": {"$jsonSchema": schema}, "validationLevel": "strict"})
    await database["manifests"].update_many({"files_found": {"$exists": False}}, {"$set": {"files_found": []}})
