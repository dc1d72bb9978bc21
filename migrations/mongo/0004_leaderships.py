"""Elections: which process sweeps."""

from __future__ import annotations

from typing import Any

from app.storage.mongo.migrate import load_script

FIRST: Any = load_script("0001_ledger")

VALIDATORS: dict[str, Any] = {
    "leaderships": FIRST.document(
        _id=FIRST.TEXT,
        writes=FIRST.COUNT,
        role=FIRST.TEXT,
        owner=FIRST.optional(FIRST.TEXT),
        term=FIRST.COUNT,
        beat=FIRST.COUNT,
        seconds={"bsonType": ["double", "int", "long"]},
        renewed_at=FIRST.TIME,
    ),
}


async def upgrade(database: Any) -> None:
    """Idempotent: keeps what exists."""
    there = await database.list_collection_names()
    for name, schema in VALIDATORS.items():
        if name not in there:
            await database.create_collection(name)
        await database.command({"collMod": name, "validator": {"$jsonSchema": schema}, "validationLevel": "strict"})
