"""Lineage in its four encodings, from a real ledger: a join of two ingested datasets whose names want to break out."""

from __future__ import annotations

import json
import re
import types
import typing
from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import attr
import pytest
from hypothesis import given
from hypothesis import strategies as st
from openlineage.client import event_v2, facet_v2
from openlineage.client.serde import Serde
from prov.model import ProvActivity, ProvAgent, ProvDocument, ProvEntity

from app.ledger import Guard, Ledger
from app.models.asset import Asset, AssetInput, AssetMetadata, ColumnSchema, ParentInput, SourceInput
from app.models.checks.kinds import CheckResult
from app.models.runs.run import RunStatus
from app.services.lineage.graph import Encoding, Lineage, encode, provenances_of, trace
from app.services.lineage.mermaid import escape
from tests.contract.ledgers import BACKENDS, MINUTE, T0, a_manifest, a_run, an_asset, claim, put_asset

pytestmark = pytest.mark.anyio

HOSTILE = 'a"];%%{init:{}}%%\n  click n0 href "javascript:alert(1)" `1. x` <img src=x onerror=alert(1)> #quot; ü.csv'
SOURCE = SourceInput(s3_key="landing-zone/in/parcels.shp", size=70, etag="e", sha256="ab" * 32)
SIDECAR = SourceInput(s3_key="landing-zone/in/parcels.dbf", size=30, etag="e", sha256="cd" * 32)
TABLE = SourceInput(s3_key=f"landing-zone/in/{HOSTILE}", size=9, etag="e", sha256="ef" * 32)


def column(name: str, type_name: str = "string", logical: str | None = None) -> ColumnSchema:
    return ColumnSchema(title=name, type_name=type_name, logical_type=logical, description=f"about {name}")


GEOM, BOX = column("geom", "binary", "geometry"), column("bbox", "struct<…>", "bbox")


def metadata(columns: dict[str, ColumnSchema], **mapping: str) -> AssetMetadata:
    about = {"title": "T <b>", "description": "all of them", "tags": {}}
    return AssetMetadata(manifest=about, column_schema=columns, header_mapping=mapping)


@pytest.fixture
async def ledger(tmp_path: Path) -> AsyncIterator[Ledger]:
    backend = BACKENDS["sqlite"]
    async with backend.fresh(tmp_path, True) as url, backend.open(url) as opened:
        await opened.migrate()
        yield opened


async def made(ledger: Ledger, dataset_id: str, minute: int, *inputs: AssetInput, **fields: Any) -> Asset:
    """A version whose run began at T0 + minute and took half of one."""
    document = {
        "uploader": "ada \\ “l”",
        "intent": fields.pop("intent"),
        "files": [
            {"path": f"s3://{item.s3_key}"} for item in inputs if isinstance(item, SourceInput) and item != SIDECAR
        ],
    }
    batch = f"batch-{dataset_id}"
    run = (await ledger.accept(a_manifest(batch, document=document), a_run(batch, partition_key=dataset_id))).run
    claimed = await claim(ledger, run)
    assert claimed is not None
    version = await ledger.reserve_version(run.run_id, 1)
    asset = an_asset(claimed, version or 0, inputs=inputs, created_at=T0 + minute * MINUTE, **fields)
    assert await ledger.commit_asset(asset, 1) is not None
    ended = await ledger.change_run(
        run.run_id,
        Guard(frozenset({RunStatus.RUNNING})),
        status=RunStatus.SUCCESS,
        started_at=T0 + minute * MINUTE,
        completed_at=T0 + minute * MINUTE + timedelta(seconds=30),
    )
    assert ended is not None
    return asset


PARCELS = {"id": column("id"), "name": column("name"), "geom_1": column("geom")}


CHECKS = (
    CheckResult(check="unique", column="id", expected="unique", passed=True, found=0),
    CheckResult(check="rows", expected="at least 20", severity="warn", passed=False, found=9),
)


@pytest.fixture
async def lineage(ledger: Ledger) -> Lineage:
    await made(
        ledger, "parcels", 0, SOURCE, SIDECAR, intent="ingest_vector", crs="EPSG:4326",
        metadata=metadata({**PARCELS, "geom": GEOM, "bbox": BOX}, geom="geom_1"),
        statistics={"counts": {"rows_in": 5, "rows_out": 4}, "engine": {"geos": "3.13"}},
    )  # fmt: skip
    profile = {
        "id": {"nulls": 1, "count": 8, "min": 1, "max": 9.5, "distinct_estimate": 7},
        "name_": {"nulls": 0, "min": "a"},
    }
    await made(
        ledger, "people", 1, TABLE, intent="ingest_tabular", kind="tabular", format="parquet",
        metadata=metadata({"id": column("id", "int64"), "name_": column("Name!")}, **{"ID": "id", "Name!": "name_"}),
        statistics={"counts": {"rows_in": 9, "rows_out": 9}, "columns": profile}, checks=CHECKS,
    )  # fmt: skip
    parents = (
        ParentInput(dataset_id="people", version=1, role='left"|x'),
        ParentInput(dataset_id="parcels", version=1, role="right"),
    )
    await made(
        ledger, "joined", 2, *parents, intent="join_datasets", kind="joined",
        metadata=metadata({"id": column("id", "int64"), "name_": column("name_"), "geom": GEOM}),
        statistics={"counts": {"rows_in": 9, "rows_out": 9}},
    )  # fmt: skip
    return await trace(ledger, "joined", 1, "up", 8)


# --- OpenLineage. Its JSON schemas are in no package, but its classes are generated from them.

FACETS = {
    "columnLineage": facet_v2.column_lineage_dataset.ColumnLineageDatasetFacet,
    "dataQualityAssertions": facet_v2.data_quality_assertions_dataset.DataQualityAssertionsDatasetFacet,
    "dataQualityMetrics": facet_v2.data_quality_metrics_dataset.DataQualityMetricsDatasetFacet,
    "dataSource": facet_v2.datasource_dataset.DatasourceDatasetFacet,
    "datasetType": facet_v2.dataset_type_dataset.DatasetTypeDatasetFacet,
    "schema": facet_v2.schema_dataset.SchemaDatasetFacet,
    "version": facet_v2.dataset_version_dataset.DatasetVersionDatasetFacet,
    "inputStatistics": facet_v2.input_statistics_input_dataset.InputStatisticsInputDatasetFacet,
    "outputStatistics": facet_v2.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet,
    "jobType": facet_v2.job_type_job.JobTypeJobFacet,
    "ownership": facet_v2.ownership_job.OwnershipJobFacet,
    "processing_engine": facet_v2.processing_engine_run.ProcessingEngineRunFacet,
    "tags": facet_v2.tags_run.TagsRunFacet,
}
DOCUMENTATION = {
    event_v2.Job: facet_v2.documentation_job.DocumentationJobFacet,
    event_v2.OutputDataset: facet_v2.documentation_dataset.DocumentationDatasetFacet,
}


def rebuilt(kind: Any, value: Any, owner: type | None = None) -> Any:
    """The object of OpenLineage's class that the JSON stands for; fails for fields that the class does not have."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin in (typing.Union, types.UnionType):
        (wanted,) = [each for each in arguments if each is not type(None)]
        return None if value is None else rebuilt(wanted, value, owner)
    if origin is list:
        assert isinstance(value, list)
        return [rebuilt(arguments[0], each) for each in value]
    if origin is dict:
        assert isinstance(value, dict)
        if owner is not None and isinstance(arguments[1], type) and issubclass(arguments[1], facet_v2.BaseFacet):
            return {name: rebuilt(FACETS.get(name) or DOCUMENTATION[owner], each) for name, each in value.items()}
        return {name: rebuilt(arguments[1], each) for name, each in value.items()}
    if attr.has(kind):
        return rebuilt_object(kind, value)
    if not issubclass(kind, Enum):
        assert isinstance(value, (int, float) if kind is float else kind), f"{value!r} is no {kind}"
    return kind(value) if issubclass(kind, Enum) else value


def rebuilt_object(kind: Any, value: dict[str, Any]) -> Any:
    attr.resolve_types(kind)
    fields = {field.name: field for field in attr.fields(kind)}
    assert set(value) <= set(fields), f"{kind.__name__} has no {set(value) - set(fields)}"
    given = {name: rebuilt(fields[name].type, each, kind) for name, each in value.items()}
    for name in ("schemaURL", "_schemaURL"):
        if name in fields:
            assert given.pop(name) == kind._get_schema()
    return kind(**{name.lstrip("_"): each for name, each in given.items()})


async def run_events(ledger: Ledger, lineage: Lineage) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(await encode(ledger, lineage, "openlineage"))
    return events


async def test_run_events_are_what_the_classes_of_openlineage_take(ledger: Ledger, lineage: Lineage) -> None:
    for event in await run_events(ledger, lineage):
        assert Serde.to_dict(rebuilt(event_v2.RunEvent, event)) == event
        assert datetime.fromisoformat(event["eventTime"]).tzinfo is not None
        assert UUID(event["run"]["runId"]).hex in {asset.run_id for asset in lineage.assets}
        assert re.fullmatch(r"urn:spatial-etl:[0-9.]+", event["producer"])
    with pytest.raises(AssertionError, match="has no"):
        rebuilt(event_v2.RunEvent, {**event, "state": "done"})


async def test_every_run_has_its_start_and_its_end_in_order(ledger: Ledger, lineage: Lineage) -> None:
    events = await run_events(ledger, lineage)
    told = [(event["eventType"], event["job"]["name"].partition(".")[2]) for event in events]
    assert told == [(state, name) for name in ("parcels", "people", "joined") for state in ("START", "COMPLETE")]
    assert [event["eventTime"][11:23] for event in events][:2] == ["12:00:00.123", "12:00:30.123"]
    assert all(
        ("outputs" in event and bool(event["outputs"])) is (event["eventType"] == "COMPLETE") for event in events
    )


async def test_datasets_keep_their_names_over_their_runs(ledger: Ledger, lineage: Lineage) -> None:
    events = [event for event in await run_events(ledger, lineage) if event["eventType"] == "COMPLETE"]
    parcels, people, joined = events
    names = [[(each["namespace"], each["name"]) for each in event["inputs"]] for event in events]
    assert names[0] == [("s3://landing-zone", "in/parcels.shp"), ("s3://landing-zone", "in/parcels.dbf")]
    assert names[1] == [("s3://landing-zone", f"in/{HOSTILE}")]
    made_there = [(each["namespace"], each["name"]) for event in (people, parcels) for each in event["outputs"]]
    assert names[2] == made_there == [("s3://data-lake", "people"), ("s3://data-lake", "parcels")]
    (output,) = joined["outputs"]
    assert output["facets"]["version"]["datasetVersion"] == "1"
    assert joined["inputs"][0]["facets"]["schema"] == people["outputs"][0]["facets"]["schema"]


async def test_what_was_counted_is_in_the_facets(ledger: Ledger, lineage: Lineage) -> None:
    parcels, people, _ = [event for event in await run_events(ledger, lineage) if event["eventType"] == "COMPLETE"]
    statistics = parcels["outputs"][0]["outputFacets"]["outputStatistics"]
    assert (statistics["rowCount"], statistics["size"], statistics["fileCount"]) == (4, 10, 1)
    assertions = people["outputs"][0]["facets"]["dataQualityAssertions"]["assertions"]
    shown = ("assertion", "column", "success", "severity", "expected", "actual")
    assert [tuple(each.get(name) for name in shown) for each in assertions] == [
        ("unique", "id", True, "error", "unique", "0"),
        ("rows", None, False, "warn", "at least 20", "9"),
    ]
    metrics = people["outputs"][0]["facets"]["dataQualityMetrics"]
    assert metrics["rowCount"] == 9
    assert metrics["columnMetrics"]["id"] | {"quantiles": {}} == {
        "nullCount": 1, "count": 8, "min": 1, "max": 9.5, "quantiles": {},
    }, "an estimate is no count"  # fmt: skip
    assert metrics["columnMetrics"]["name_"]["nullCount"] == 0
    assert "min" not in metrics["columnMetrics"]["name_"], "the facet takes numbers only"
    assert parcels["inputs"][0]["inputFacets"]["inputStatistics"]["size"] == 70
    assert {"key": "engine.geos", "value": "3.13"} in parcels["run"]["facets"]["tags"]["tags"]
    assert parcels["job"]["facets"]["documentation"]["description"].startswith("ingest_vector: GeoParquet")
    assert "all of them" in parcels["outputs"][0]["facets"]["documentation"]["description"]


async def test_columns_lead_to_the_columns_they_were_made_from(ledger: Ledger, lineage: Lineage) -> None:
    events = [event for event in await run_events(ledger, lineage) if event["eventType"] == "COMPLETE"]

    def origins(event: dict[str, Any]) -> dict[str, set[tuple[str, str, str]]]:
        fields = event["outputs"][0]["facets"]["columnLineage"]["fields"]
        return {
            name: {(one["name"], one["field"], one["transformations"][0]["subtype"]) for one in field["inputFields"]}
            for name, field in fields.items()
        }

    parcels, people, joined = map(origins, events)
    assert parcels == {
        "id": {("in/parcels.shp", "id", "IDENTITY")},
        "name": {("in/parcels.shp", "name", "IDENTITY")},
        "geom_1": {("in/parcels.shp", "geom", "IDENTITY")},
    }, "neither sidecars, nor a geometry column whose name in the file nobody knows"
    table = f"in/{HOSTILE}"
    assert people == {"id": {(table, "ID", "TRANSFORMATION")}, "name_": {(table, "Name!", "IDENTITY")}}
    assert joined == {
        "id": {("people", "id", "IDENTITY")},
        "name_": {("people", "name_", "IDENTITY")},
        "geom": {("parcels", "geom", "IDENTITY")},
    }, "of the key column, which both have, the tabular side's is kept"


async def test_a_version_whose_parents_are_beyond_the_depth_says_no_more_than_is_known(ledger: Ledger) -> None:
    await put_asset(ledger, "a")
    await put_asset(ledger, "b", ParentInput(dataset_id="a", version=1, role="left"))
    await put_asset(ledger, "c", ParentInput(dataset_id="b", version=1, role="left"))
    found = await trace(ledger, "c", 1, "up", 1)
    assert found.truncated
    events = await run_events(ledger, found)
    assert {each["name"] for event in events for each in event["inputs"]} == {"a", "b"}
    for event in events:
        assert Serde.to_dict(rebuilt(event_v2.RunEvent, event)) == event
    assert "more[" in await encode(ledger, found, "mermaid")
    document = ProvDocument.deserialize(content=await encode(ledger, found, "prov"), format="json")
    assert {str(each.identifier) for each in document.get_records(ProvEntity)} == {
        "asset:a/v1",
        "asset:b/v1",
        "asset:c/v1",
    }


# --- PROV


def without_blank_names(text: str) -> dict[str, Any]:
    """Relations have no names of their own: the package numbers them as it goes."""
    return {
        kind: sorted(map(str, records.values())) if any(name.startswith("_:") for name in records) else records
        for kind, records in json.loads(text).items()
    }


async def test_prov_is_read_back_by_the_prov_package(ledger: Ledger, lineage: Lineage) -> None:
    text = await encode(ledger, lineage, "prov")
    document = ProvDocument.deserialize(content=text, format="json")
    assert without_blank_names(document.serialize(format="json") or "") == without_blank_names(text)
    entities = {str(each.identifier): each for each in document.get_records(ProvEntity)}
    assert len(entities) == 6
    assert {name for name in entities if name.startswith("asset:")} == {
        "asset:parcels/v1",
        "asset:people/v1",
        "asset:joined/v1",
    }
    for name in entities:
        assert re.fullmatch(r"[a-z]+:[A-Za-z0-9%/._~-]+", name), name
    assert entities["asset:parcels/v1"].label == "T <b>"
    activities = {each.identifier.localpart: each for each in document.get_records(ProvActivity)}
    assert set(activities) == {asset.run_id for asset in lineage.assets}
    first = activities[lineage.assets[-1].run_id]
    assert first.get_startTime() is not None
    assert first.get_startTime() < first.get_endTime()
    agents = {str(each.identifier) for each in document.get_records(ProvAgent)}
    assert len(agents) == 2, "the uploader and the software"


async def test_prov_names_what_was_used_and_derived(ledger: Ledger, lineage: Lineage) -> None:
    document = json.loads(await encode(ledger, lineage, "prov"))
    derived = {(one["prov:generatedEntity"], one["prov:usedEntity"]) for one in document["wasDerivedFrom"].values()}
    assert ("asset:joined/v1", "asset:people/v1") in derived
    assert ("asset:joined/v1", "asset:parcels/v1") in derived
    assert len(derived) == 5
    assert {one["prov:entity"] for one in document["wasGeneratedBy"].values()} == {
        "asset:parcels/v1", "asset:people/v1", "asset:joined/v1",
    }  # fmt: skip
    assert len(document["used"]) == 5
    declared = {*document["entity"], *document["activity"], *document["agent"]}
    for kind, names in (
        ("used", ("prov:activity", "prov:entity")),
        ("wasDerivedFrom", ("prov:generatedEntity", "prov:usedEntity", "prov:activity")),
        ("wasAttributedTo", ("prov:entity", "prov:agent")),
        ("actedOnBehalfOf", ("prov:delegate", "prov:responsible", "prov:activity")),
    ):
        for relation in document[kind].values():
            assert {relation[name] for name in names} <= declared, kind


# --- Mermaid

NODE = re.compile(r'  n\d+(\[/|\(\[|\[\()"[^"]*"(/\]|\]\)|\)\]):::(source|run|asset|root)')
EDGE = re.compile(r'  n\d+ -->(\|"[^"]*"\|)? n\d+')


async def test_the_flowchart_has_nothing_but_nodes_and_edges(ledger: Ledger, lineage: Lineage) -> None:
    lines = (await encode(ledger, lineage, "mermaid")).splitlines()
    assert lines[0] == "flowchart TD"
    rest = [line for line in lines[1:] if not line.startswith("  classDef ")]
    nodes, edges = ([line for line in rest if shape.fullmatch(line)] for shape in (NODE, EDGE))
    assert (len(nodes), len(edges), len(rest)) == (9, 8, 17), "3 versions, 3 runs and 3 sources"
    assert sum(":::root" in node for node in nodes) == 1
    assert sum("parcels v1<br/>4 rows, geoparquet, EPSG#58;4326" in node for node in nodes) == 1
    text = "\n".join(rest)
    for word in ("<img", "%%", "click n0 href", "javascript:", "`"):
        assert word not in text.replace("click n0 href #34;", ""), word


@given(st.text())
def test_no_text_leaves_its_label(text: str) -> None:
    label = escape(text)
    assert re.fullmatch(r"(?:[^\W_]| |\N{REPLACEMENT CHARACTER}|#\d+;|(?<=[^\W_])(?:[._-](?=[^\W_])|,(?= )))*", label)
    assert label
    assert label == label.strip()
    assert "  " not in label


@given(st.text(st.characters(categories=["L", "N", "P", "S"]), min_size=1, max_size=70))
def test_every_visible_character_is_shown(text: str) -> None:
    shown = re.sub(r"#(\d+);", lambda match: chr(int(match[1])), escape(text))
    assert shown == text


@pytest.mark.parametrize("encoding", ["graph", "openlineage", "prov", "mermaid"])
async def test_the_same_lineage_gives_the_same_text(ledger: Ledger, lineage: Lineage, encoding: Encoding) -> None:
    once = await encode(ledger, lineage, encoding)
    assert await encode(ledger, lineage, encoding) == once
    again = await trace(ledger, "joined", 1, "up", 8)
    assert await encode(ledger, again, encoding) == once


async def test_a_version_with_many_children_has_a_bounded_lineage(ledger: Ledger) -> None:
    await made(ledger, "root", 0, SOURCE, intent="ingest_vector")
    for number in range(1, 41):
        parent = ParentInput(dataset_id="root", version=1, role="left")
        await made(ledger, f"child-{number:02}", number, parent, intent="join_datasets", kind="joined")
    everything = await trace(ledger, "root", 1, "both", 8)
    assert (len(everything.assets), everything.truncated) == (41, False)
    for nodes in (10, 30, 60):
        some = await trace(ledger, "root", 1, "both", 8, nodes)
        graph = json.loads(await encode(ledger, some, "graph"))
        assert (some.truncated, graph["truncated"], some.root.dataset_id) == (True, True, "root")
        assert nodes - 3 <= len(some.assets) * 3 <= nodes
        assert len(graph["nodes"]) <= nodes
        # The oldest come first.
        assert [asset.dataset_id for asset in some.assets[1:3]] == ["child-01", "child-02"]


async def test_a_version_of_many_files_has_a_bounded_lineage(ledger: Ledger) -> None:
    sources = [SOURCE.model_copy(update={"s3_key": f"landing-zone/in/{n}.shp"}) for n in range(300)]
    await made(ledger, "many", 0, *sources, intent="ingest_vector")
    some = await trace(ledger, "many", 1, "both", 8, 50)
    assert (some.truncated, len(json.loads(await encode(ledger, some, "graph"))["nodes"])) == (True, 50)
    for encoding in ("openlineage", "prov", "mermaid"):
        assert await encode(ledger, some, encoding)  # type: ignore[arg-type] # one of them
    (one,) = await provenances_of(ledger, some)
    assert one.manifest is not None
    assert len(one.manifest.manifest["files"]) == 48
