"""Every field of every domain model survives its way through its table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined
from sqlalchemy import Table, create_engine, insert, select

from app.models.api_key import ApiKey, Scope
from app.models.asset import Asset, AssetMetadata, Bounds, ColumnSchema, Deletion, ParentInput, SourceInput
from app.models.checks.kinds import CheckResult
from app.models.manifests.delivery import Delivery, EventOutcome
from app.models.manifests.manifest import EarlierManifest, FilesFound, ManifestFault, ManifestRecord, ManifestStatus
from app.models.runs.activity import Activity
from app.models.runs.attempt import AttemptOutcome, AttemptRecord
from app.models.runs.run import Lease, Progress, Run, RunError, RunEvent, RunStatus, RunWarning
from app.storage.shared.ledger_rules import checked_change, to_json
from app.storage.sql import conversion, tables

T0 = datetime(2026, 11, 22, 12, 0, 0, 123_000, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
ODD = "Zürich 北京 🗺 'quoted\" \\ %s :name\n"
NESTED = {ODD: [1, 2**70, -0.5, 1e-300, None, True, {"deep": {"er": ODD}}], "z": 1, "a": 2}

MANIFEST = ManifestRecord(
    batch_id="batch-1",
    manifest=NESTED,
    content_hash="sha256:1",
    files_found=(FilesFound(path="s3://landing-zone/*", keys=(ODD, "b")),),
    earlier=(
        EarlierManifest(
            manifest=NESTED,
            content_hash="sha256:0",
            files_found=(FilesFound(path="s3://landing-zone/?", keys=(ODD,)),),
            source="sweep",
            object_key=ODD,
            error_message=ODD,
            ingested_at=T0,
            superseded_at=T0 + MINUTE,
        ),
    ),
    source="webhook",
    status=ManifestStatus.FAILURE,
    error_message=ODD,
    faults=(ManifestFault(pointer="/metadata/title", code="empty", detail=ODD, fix=ODD),),
    object_key=f"manifests/{ODD}.json",
    object_etag="0123-4",
    ingested_at=T0,
    completed_at=T0 + MINUTE,
)
CHECK = CheckResult(
    check="not_null", column=ODD, expected=ODD, severity="warn", passed=False, found=0.5, samples=(NESTED,)
)
RUN = Run(
    run_id="r1",
    batch_id="batch-1",
    job_name="spatial_asset_job",
    lane="spatial",
    partition_key="parcels",
    status=RunStatus.FAILURE,
    attempt=3,
    attempts=(
        AttemptRecord(
            number=2, worker=ODD, started_at=T0, ended_at=T0 + MINUTE, outcome=AttemptOutcome.OUT_OF_MEMORY, reason=ODD
        ),
    ),
    blocked=True,
    not_before=T0 + MINUTE,
    lease=Lease(owner="host:1:2", expires_at=T0 + MINUTE),
    retry_of="r0",
    step="load",
    progress=Progress(rows_done=2**40, rows_total=2**41),
    counts={"rows_in": 2**53 + 1},
    warnings=(RunWarning(code="w", message=ODD, count=7, samples=(1, "x", None, [1.5])),),
    checks=(CHECK,),
    error=RunError(code="c", detail=ODD, fix="f", step="load", file="a/b.gpkg"),
    reserved_version=2**40,
    unchanged_version=2**41,
    new_version="always",
    engine={"geos": "3.13"},
    traceparent="00-1-2-01",
    asked_by=ODD,
    created_at=T0,
    started_at=T0 + MINUTE,
    completed_at=T0 + 2 * MINUTE,
    revision=9,
)
EVENT = RunEvent(run_id="r1", seq=2**40, at=T0, level="error", step="load", code="c", message=ODD, data=NESTED)
ASSET = Asset(
    dataset_id="parcels",
    version=2**40,
    s3_key="parcels/v1/ä.parquet",
    content_hash="sha256:2",
    size=2**50,
    kind="joined",
    format="cog",
    crs="EPSG:4326",
    bounds=Bounds(minx=-180, miny=-90.5, maxx=0.1, maxy=1e-12),
    run_id="r1",
    inputs=(
        SourceInput(s3_key="a", size=2**50, etag="e", sha256="f"),
        ParentInput(dataset_id="p", version=2, role="spatial"),
        ParentInput(dataset_id="q", version=3, role="tabular"),
    ),
    metadata=AssetMetadata(
        manifest=NESTED,
        column_schema={
            "z": ColumnSchema(title=ODD, description="d", type_name="int64", logical_type="json", nullable=False),
            "a": ColumnSchema(title="A", type_name="string"),
        },
        header_mapping={"Straße": "strasse", "A": "a"},
        geometry_type="Polygon",
    ),
    statistics=NESTED,
    checks=(CHECK,),
    created_at=T0,
    deletion=Deletion(at=T0, by=ODD, reason="request", removed_at=T0 + MINUTE),
)
ACTIVITY = Activity(
    timestamp=T0, user=ODD, action="submit", resource_type="run", resource_id="r1", details=NESTED, ip="::1"
)
DELIVERY = Delivery(
    delivery_id="d1",
    received_at=T0,
    ip="::1",
    body=ODD,
    status="done",
    outcomes=(
        EventOutcome(event="s3:ObjectCreated:Put", key=ODD, result="accepted", batch_id="batch-1", detail=ODD),
        EventOutcome(event="", key="", result="unreadable"),
    ),
    repeats=2**40,
    processed_at=T0 + MINUTE,
)

API_KEY = ApiKey(
    name="ci@example",
    token_hash="0" * 64,
    scope=Scope.SUBMIT,
    prefixes=("team-a/", f"{ODD}/"),
    created_at=T0,
    expires_at=T0 + MINUTE,
    last_used_at=T0 + 2 * MINUTE,
    revoked_at=T0 + 3 * MINUTE,
)

Row = Mapping[str, Any]
CASES: list[tuple[Table, Any, Callable[[Any], dict[str, Any]], Callable[[Any], Any]]] = [
    (tables.MANIFESTS, MANIFEST, conversion.manifest_values, conversion.manifest_from),
    (tables.RUNS, RUN, lambda run: conversion.run_values(run) | {"last_seq": 0}, conversion.run_from),
    (tables.EVENTS, EVENT, conversion.event_values, conversion.event_from),
    (tables.ASSETS, ASSET, conversion.asset_values, conversion.asset_from),
    (tables.ACTIVITY, ACTIVITY, conversion.activity_values, conversion.activity_from),
    (tables.DELIVERIES, DELIVERY, conversion.delivery_values, conversion.delivery_from),
    (tables.API_KEYS, API_KEY, conversion.api_key_values, conversion.api_key_from),
]
IDS = [case[0].name for case in CASES]


def stored(table: Table, values: dict[str, Any]) -> Any:
    """The row as a database gives it back."""
    engine = create_engine("sqlite://", json_serializer=to_json)
    tables.Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(table).values(values))
        return connection.execute(select(table)).mappings().one()


@pytest.mark.parametrize(("table", "model", "to_row", "from_row"), CASES, ids=IDS)
def test_every_field_comes_back(table: Table, model: Any, to_row: Any, from_row: Any) -> None:
    found = from_row(stored(table, to_row(model)))
    assert found == model
    # `==` of dicts forgets the order, which is the order of columns in a schema.
    assert found.model_dump_json() == model.model_dump_json()


@pytest.mark.parametrize("model", [case[1] for case in CASES], ids=IDS)
def test_the_samples_leave_no_field_at_its_default(model: BaseModel) -> None:
    """So that a new field that nobody stores fails the test above."""
    for name, field in type(model).model_fields.items():
        default = field.get_default(call_default_factory=True, validated_data={})
        assert default is PydanticUndefined or getattr(model, name) != default, (
            f"give {name} another value in this test"
        )
        assert getattr(model, name) is not None


@pytest.mark.parametrize(("table", "model", "to_row", "from_row"), CASES, ids=IDS)
def test_optional_fields_are_null_not_json_null(table: Table, model: Any, to_row: Any, from_row: Any) -> None:
    optional = {
        name: None
        for name, field in type(model).model_fields.items()
        if field.default is None or name in ("crs", "bounds")
    }
    bare = type(model).model_validate(model.model_dump() | optional)
    engine = create_engine("sqlite://", json_serializer=to_json)
    tables.Base.metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(insert(table).values(to_row(bare)))
        assert from_row(connection.execute(select(table)).mappings().one()) == bare
        for name in set(optional) & set(table.c.keys()):
            assert connection.execute(select(table.c[name].is_(None))).scalar_one()


@pytest.mark.parametrize("name", sorted(set(Run.model_fields) - {"run_id", "batch_id"}))
def test_a_change_of_a_run_writes_the_columns_of_its_fields_only(name: str) -> None:
    row = conversion.run_changes(RUN, {name: None})
    assert set(row) == ({"lease_owner", "lease_expires_at"} if name == "lease" else {name})
    assert row == {column: conversion.run_values(RUN)[column] for column in row}


def test_parents_are_rows_and_sources_are_not() -> None:
    rows = conversion.parent_values(ASSET)
    assert [(row["position"], row["parent_dataset_id"], row["parent_version"], row["role"]) for row in rows] == [
        (0, "p", 2, "spatial"),
        (1, "q", 3, "tabular"),
    ]


def test_text_that_no_database_stores_is_replaced() -> None:
    values = conversion.manifest_values(MANIFEST.model_copy(update={"error_message": "a\0b\ud800c🗺"}))
    assert stored(tables.MANIFESTS, values)["error_message"] == "a\ufffdb\ufffdc🗺"


def test_not_a_number_is_refused() -> None:
    with pytest.raises(ValueError, match="JSON"):
        to_json({"mean": float("nan")})


def test_changes_are_checked_without_a_database() -> None:
    from app.ledger import Guard

    changed, statuses = checked_change(Guard(frozenset({RunStatus.QUEUED})), {"status": "running", "attempt": 1})
    assert (changed.status, changed.attempt, statuses) == (RunStatus.RUNNING, 1, (RunStatus.QUEUED,))
