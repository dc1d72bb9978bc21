"""The ledger: manifests, runs and their events, assets, version counters, audit trail, webhook deliveries.

The validators say what the ledger relies on. They name no further fields, so that a later release may add some.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"bsonType": "string"}
TIME: Schema = {"bsonType": "date"}
INTEGER: Schema = {"bsonType": ["int", "long"]}
BOOLEAN: Schema = {"bsonType": "bool"}
DOCUMENT: Schema = {"bsonType": "object"}
LIST: Schema = {"bsonType": "array"}
TEXTS: Schema = {"bsonType": "array", "items": TEXT}
COUNT: Schema = {"bsonType": ["int", "long"], "minimum": 1}

RUN_STATUSES = ("queued", "running", "canceling", "success", "failure", "canceled")
ASCENDING = 1


def optional(schema: Schema) -> Schema:
    kinds = schema["bsonType"]
    return schema | {"bsonType": [*(kinds if isinstance(kinds, list) else [kinds]), "null"]}


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


def document(**properties: Schema) -> Schema:
    """An object with all of these fields."""
    return {"bsonType": "object", "required": list(properties), "properties": properties}


def marked(schema: Schema, **marks: Schema) -> Schema:
    """With fields that exist only while a write is unfinished."""
    return schema | {"properties": schema["properties"] | marks}


RUN = document(
    _id=TEXT,
    sort_at=INTEGER,
    writes=COUNT,
    exact=DOCUMENT,
    run_id=TEXT,
    batch_id=TEXT,
    job_name=TEXT,
    lane=TEXT,
    partition_key=TEXT,
    status=one_of(*RUN_STATUSES),
    attempt=INTEGER,
    lease=optional(document(owner=TEXT, expires_at=TIME)),
    retry_of=optional(TEXT),
    step=optional(TEXT),
    progress=DOCUMENT,
    counts=DOCUMENT,
    warnings=LIST,
    error=optional(DOCUMENT),
    reserved_version=optional(COUNT),
    unchanged_version=optional(COUNT),
    engine=DOCUMENT,
    traceparent=optional(TEXT),
    created_at=TIME,
    started_at=optional(TIME),
    completed_at=optional(TIME),
    revision=COUNT,
)
ASSET = document(
    _id=TEXT,
    sort_at=INTEGER,
    exact=DOCUMENT,
    parents=TEXTS,
    dataset_id=TEXT,
    version=COUNT,
    s3_key=TEXT,
    content_hash=TEXT,
    size=INTEGER,
    kind=one_of("spatial", "raster", "tabular", "joined"),
    format=one_of("geoparquet", "cog", "parquet"),
    crs=optional(TEXT),
    bounds=optional(DOCUMENT),
    run_id=TEXT,
    inputs=LIST,
    metadata=DOCUMENT,
    statistics=DOCUMENT,
    created_at=TIME,
)
MANIFEST = document(
    _id=TEXT,
    sort_at=INTEGER,
    writes=COUNT,
    exact=DOCUMENT,
    batch_id=TEXT,
    manifest=DOCUMENT,
    content_hash=TEXT,
    source=one_of("api", "webhook", "sweep"),
    status=one_of(*RUN_STATUSES, "rejected"),
    error_message=optional(TEXT),
    faults=LIST,
    object_key=optional(TEXT),
    object_etag=optional(TEXT),
    ingested_at=TIME,
    completed_at=optional(TIME),
    intent=optional(TEXT),
    uploader=optional(TEXT),
    project=optional(TEXT),
    testing=BOOLEAN,
    newest_run=optional(document(created_at=TIME, run_id=TEXT, revision=COUNT)),
)
VALIDATORS: dict[str, Schema] = {
    "manifests": marked(MANIFEST, pending_run=RUN),
    "runs": marked(RUN, mirror_due=COUNT, pending_commit=document(commit_id=TEXT, s3_key=TEXT, asset=ASSET)),
    "run_events": document(
        _id=TEXT,
        exact=DOCUMENT,
        run_id=TEXT,
        seq=COUNT,
        at=TIME,
        level=one_of("info", "warning", "error"),
        step=optional(TEXT),
        code=TEXT,
        message=TEXT,
        data=DOCUMENT,
    ),
    "assets": ASSET,
    "dataset_versions": document(_id=TEXT, writes=COUNT, dataset_id=TEXT, last_version=INTEGER, run_id=optional(TEXT)),
    "activity_logs": document(
        _id=TEXT,
        sort_at=INTEGER,
        exact=DOCUMENT,
        number=COUNT,
        timestamp=TIME,
        user=TEXT,
        action=TEXT,
        resource_type=TEXT,
        resource_id=TEXT,
        details=DOCUMENT,
        ip=optional(TEXT),
    ),
    "webhook_deliveries": document(
        _id=TEXT,
        sort_at=INTEGER,
        writes=COUNT,
        exact=DOCUMENT,
        delivery_id=TEXT,
        received_at=TIME,
        ip=optional(TEXT),
        body=TEXT,
        status=one_of("received", "done"),
        outcomes=LIST,
        repeats=INTEGER,
        processed_at=optional(TIME),
    ),
}

# Every filter of the protocol has an index that ends in the sort key of the listing: a page is one range.
INDEXES: dict[str, list[tuple[str, ...]]] = {
    "manifests": [
        ("sort_at", "batch_id"),
        *((name, "sort_at", "batch_id") for name in ("status", "intent", "uploader", "project", "testing")),
        ("object_key", "sort_at", "batch_id"),
    ],
    "runs": [
        ("sort_at", "run_id"),
        *((name, "sort_at", "run_id") for name in ("status", "batch_id", "partition_key", "lane")),
    ],
    "assets": [
        ("sort_at", "dataset_id", "version"),
        ("dataset_id", "sort_at", "version"),
        *((name, "sort_at", "dataset_id", "version") for name in ("run_id", "kind")),
        ("parents",),
    ],
    "activity_logs": [("sort_at", "number")],
    "webhook_deliveries": [("sort_at", "delivery_id"), ("status", "sort_at", "delivery_id")],
}
UNIQUE: dict[str, list[tuple[str, ...]]] = {
    "manifests": [("batch_id",)],
    "runs": [("run_id",)],
    "run_events": [("run_id", "seq")],
    "assets": [("dataset_id", "version"), ("s3_key",)],
    "dataset_versions": [("dataset_id",)],
    "webhook_deliveries": [("delivery_id",)],
}
# For unfinished writes: rarely more than a few entries.
SPARSE: dict[str, list[tuple[str, ...]]] = {
    "manifests": [("pending_run.run_id",)],
    "runs": [("pending_commit.s3_key",), ("mirror_due",)],
}


async def upgrade(database: Any) -> None:
    """Idempotent: keeps what exists."""
    there = await database.list_collection_names()
    for name, schema in VALIDATORS.items():
        if name not in there:
            await database.create_collection(name)
        await database.command({"collMod": name, "validator": {"$jsonSchema": schema}, "validationLevel": "strict"})
        collection = database[name]
        for options, indexes in (({}, INDEXES), ({"unique": True}, UNIQUE), ({"sparse": True}, SPARSE)):
            for fields in indexes.get(name, []):
                keys = [(field, ASCENDING) for field in fields]
                await collection.create_index(keys, name="ix_" + "_".join(fields).replace(".", "_"), **options)
