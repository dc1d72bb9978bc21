"""The results of the checks of a product, of runs and versions. Those from before have none."""

from __future__ import annotations

from typing import Any

from app.storage.mongo.migrate import load_script

FIRST: Any = load_script("0001_ledger")
NEWEST: Any = load_script("0010_newest")
TOTALS: Any = load_script("0011_totals")
BEFORE: Any = load_script("0012_asked_by")

RUN = FIRST.document(**BEFORE.RUN["properties"], checks=FIRST.LIST)
ASSET = FIRST.document(**TOTALS.ASSET["properties"], checks=FIRST.LIST)
COMMIT = TOTALS.COMMIT | {"asset": ASSET}
VALIDATORS: dict[str, Any] = {
    "runs": FIRST.marked(RUN, **BEFORE.MARKS | {"pending_commit": FIRST.document(**COMMIT)}),
    "manifests": FIRST.marked(BEFORE.VALIDATORS["manifests"], pending_run=RUN),
    "assets": FIRST.marked(ASSET, **NEWEST.ASSET_MARKS),
}


async def upgrade(database: Any) -> None:
    """Idempotent: adds the field where it is missing."""
    for name, schema in VALIDATORS.items():
        await database.command({"collMod": name, "validator": {"$jsonSchema": schema}, "validationLevel": "strict"})
    # All new fields of a document in one write: the validators refuse one that has only some of them.
    for collection, mark, inner, outer in (
        ("manifests", "pending_run.run_id", "pending_run.checks", ()),
        ("runs", "pending_commit.s3_key", "pending_commit.asset.checks", ("checks",)),
    ):
        unfinished = {mark: {"$exists": True}, inner: {"$exists": False}}
        await database[collection].update_many(unfinished, {"$set": {name: [] for name in (inner, *outer)}})
    for name in ("runs", "assets"):
        await database[name].update_many({"checks": {"$exists": False}}, {"$set": {"checks": []}})
