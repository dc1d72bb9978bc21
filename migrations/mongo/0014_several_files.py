"""What the patterns of a manifest stood for when it was accepted, and the manifests that it supersedes."""

from __future__ import annotations

from typing import Any

from app.storage.mongo.migrate import load_script

FIRST: Any = load_script("0001_ledger")
BEFORE: Any = load_script("0012_asked_by").VALIDATORS["manifests"]

NEW = ("files_found", "earlier")
VALIDATORS: dict[str, Any] = {
    "manifests": BEFORE
    | {
        "required": [*BEFORE["required"], *NEW],
        "properties": BEFORE["properties"] | dict.fromkeys(NEW, FIRST.LIST),
    }
}


async def upgrade(database: Any) -> None:
    """Idempotent: adds the fields where they are missing."""
    for name, schema in VALIDATORS.items():
        await database.command({"collMod": name, "validator": {"$jsonSchema": schema}, "validationLevel": "strict"})
    # Both in one write: the validator refuses a document that has only one of them.
    missing = {"$or": [{name: {"$exists": False}} for name in NEW]}
    await database["manifests"].update_many(missing, {"$set": {name: [] for name in NEW}})
