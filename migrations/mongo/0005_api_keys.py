"""API keys: hashes, scopes, prefixes, and when they were created, used and revoked."""

from __future__ import annotations

from typing import Any

from app.storage.mongo.migrate import load_script

FIRST: Any = load_script("0001_ledger")

VALIDATORS: dict[str, Any] = {
    "api_keys": FIRST.document(
        _id=FIRST.TEXT,
        sort_at=FIRST.INTEGER,
        writes=FIRST.COUNT,
        exact=FIRST.DOCUMENT,
        name=FIRST.TEXT,
        token_hash=FIRST.TEXT,
        scope=FIRST.one_of("read", "submit", "admin"),
        prefixes=FIRST.TEXTS,
        created_at=FIRST.TIME,
        expires_at=FIRST.optional(FIRST.TIME),
        last_used_at=FIRST.optional(FIRST.TIME),
        revoked_at=FIRST.optional(FIRST.TIME),
    )
}
UNIQUE: dict[str, list[tuple[str, ...]]] = {"api_keys": [("token_hash",)]}


async def upgrade(database: Any) -> None:
    """Idempotent: keeps what exists."""
    there = await database.list_collection_names()
    for name, schema in VALIDATORS.items():
        if name not in there:
            await database.create_collection(name)
        await database.command({"collMod": name, "validator": {"$jsonSchema": schema}, "validationLevel": "strict"})
        for fields in UNIQUE[name]:
            keys = [(field, FIRST.ASCENDING) for field in fields]
            await database[name].create_index(keys, name="ix_" + "_".join(fields), unique=True)
