"""Lineage as OpenLineage run events: a START and a COMPLETE for each run, built with OpenLineage's own classes.

A dataset keeps one name over its versions (`s3://data-lake`, dataset id) and says which in its version facet.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from importlib.metadata import version as version_of
from typing import Any
from uuid import UUID

from openlineage.client import event_v2 as ol
from openlineage.client import facet_v2 as facets
from openlineage.client.serde import Serde

from app import __version__
from app.models.asset import Asset, AssetInput, ParentInput, SourceInput
from app.models.manifests.manifest import LAKE_BUCKET
from app.services.lineage.columns import column_origins, recipe_of
from app.services.lineage.graph import Lineage, Provenance

PRODUCER = f"urn:spatial-etl:{__version__}"
NAMESPACE = "spatial-etl"

_LAKE = f"s3://{LAKE_BUCKET}"

Known = Mapping[tuple[str, int], Asset]


def encode(lineage: Lineage, provenances: Sequence[Provenance]) -> str:
    """A JSON array of run events, oldest first."""
    known = {(asset.dataset_id, asset.version): asset for asset in lineage.assets}
    events = [event for provenance in provenances for event in _events(provenance, known)]
    events.sort(key=lambda event: (event.eventTime, event.eventType is not ol.RunState.START, event.run.runId))
    return json.dumps([Serde.to_dict(event) for event in events], ensure_ascii=False, allow_nan=False)


def _events(provenance: Provenance, known: Known) -> list[ol.RunEvent]:
    """START and COMPLETE of the run; only COMPLETE when the ledger has no start time any more."""
    asset, run = provenance.asset, provenance.run
    job = _job(provenance)
    inputs = _inputs(asset, known)
    made = _event(ol.RunState.COMPLETE, (run and run.completed_at) or asset.created_at, provenance, job, inputs)
    made.outputs = [_output(provenance, known)]
    if run is None or run.started_at is None:
        return [made]
    return [_event(ol.RunState.START, run.started_at, provenance, job, inputs), made]


def _event(
    state: ol.RunState, at: datetime, provenance: Provenance, job: ol.Job, inputs: list[ol.InputDataset]
) -> ol.RunEvent:
    run = ol.Run(str(UUID(provenance.asset.run_id)), facets=_run_facets(provenance))
    return ol.RunEvent(
        eventType=state,
        eventTime=at.isoformat(timespec="milliseconds"),
        run=run,
        job=job,
        inputs=inputs,
        producer=PRODUCER,
    )


def _run_facets(provenance: Provenance) -> dict[str, facets.RunFacet]:
    tag = facets.tags_run.TagsRunFacetFields
    tags = [tag(key=f"engine.{name}", value=str(value)) for name, value in _engine(provenance).items()]
    if provenance.run is not None:
        tags += [
            tag(key="batch_id", value=provenance.run.batch_id),
            tag(key="attempt", value=str(provenance.run.attempt)),
        ]
    found: dict[str, facets.RunFacet] = {
        "processing_engine": facets.processing_engine_run.ProcessingEngineRunFacet(
            version=__version__,
            name=NAMESPACE,
            openlineageAdapterVersion=version_of("openlineage-python"),
            producer=PRODUCER,
        )
    }
    if tags:
        found["tags"] = facets.tags_run.TagsRunFacet(tags=tags, producer=PRODUCER)
    return found


def _engine(provenance: Provenance) -> Mapping[str, Any]:
    engine = provenance.asset.statistics.get("engine", {})
    return engine if isinstance(engine, Mapping) else {}


def _job(provenance: Provenance) -> ol.Job:
    """What recurs: the job that makes versions of this dataset."""
    asset, run, record = provenance.asset, provenance.run, provenance.manifest
    found: dict[str, facets.JobFacet] = {
        "jobType": facets.job_type_job.JobTypeJobFacet(
            processingType="BATCH", integration="SPATIAL_ETL", jobType="JOB", producer=PRODUCER
        )
    }
    if words := recipe_of(provenance):
        found["documentation"] = facets.documentation_job.DocumentationJobFacet(description=words, producer=PRODUCER)
    if record is not None and record.manifest.get("uploader"):
        owner = facets.ownership_job.Owner(name=f"user:{record.manifest['uploader']}", type="OWNER")
        found["ownership"] = facets.ownership_job.OwnershipJobFacet(owners=[owner], producer=PRODUCER)
    return ol.Job(NAMESPACE, f"{run.job_name if run else asset.kind}.{asset.dataset_id}", facets=found)


def _where(item: AssetInput) -> tuple[str, str]:
    """Namespace and name."""
    if isinstance(item, ParentInput):
        return _LAKE, item.dataset_id
    bucket, _, key = item.s3_key.partition("/")
    return f"s3://{bucket}", key


def _common(namespace: str, version: str) -> dict[str, facets.DatasetFacet]:
    return {
        "dataSource": facets.datasource_dataset.DatasourceDatasetFacet(
            name=namespace.removeprefix("s3://"), uri=namespace, producer=PRODUCER
        ),
        "datasetType": facets.dataset_type_dataset.DatasetTypeDatasetFacet(datasetType="FILE", producer=PRODUCER),
        "version": facets.dataset_version_dataset.DatasetVersionDatasetFacet(datasetVersion=version, producer=PRODUCER),
    }


def _inputs(asset: Asset, known: Known) -> list[ol.InputDataset]:
    """Each once, also where several files share a sidecar."""
    found: dict[tuple[str, str, str], ol.InputDataset] = {}
    for item in asset.inputs:
        namespace, name = _where(item)
        size: int | None
        if isinstance(item, SourceInput):
            version, size, parent = f"sha256:{item.sha256}", item.size, None
        else:
            parent = known.get((item.dataset_id, item.version))
            version, size = str(item.version), parent.size if parent else None
        described = _common(namespace, version)
        if parent is not None and (schema := _schema(parent)):
            described["schema"] = schema
        read = facets.input_statistics_input_dataset.InputStatisticsInputDatasetFacet(
            size=size, fileCount=1, producer=PRODUCER
        )
        found[namespace, name, version] = ol.InputDataset(
            namespace, name, facets=described, inputFacets={"inputStatistics": read}
        )
    return list(found.values())


def _output(provenance: Provenance, known: Known) -> ol.OutputDataset:
    asset = provenance.asset
    described = _common(_LAKE, str(asset.version))
    metadata = asset.metadata.manifest
    if words := "\n\n".join(str(text) for name in ("title", "description") if (text := metadata.get(name))):
        described["documentation"] = facets.documentation_dataset.DocumentationDatasetFacet(
            description=words, contentType="text/plain", producer=PRODUCER
        )
    if schema := _schema(asset):
        described["schema"] = schema
    if columns := _column_lineage(provenance, known):
        described["columnLineage"] = columns
    described["dataQualityMetrics"] = _quality(asset)
    if assertions := _assertions(asset):
        described["dataQualityAssertions"] = assertions
    written = facets.output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
        rowCount=_rows(asset), size=asset.size, fileCount=1, producer=PRODUCER
    )
    return ol.OutputDataset(_LAKE, asset.dataset_id, facets=described, outputFacets={"outputStatistics": written})


def _schema(asset: Asset) -> facets.DatasetFacet | None:
    field = facets.schema_dataset.SchemaDatasetFacetFields
    fields = [
        field(name=name, type=column.type_name, description=column.description or None, ordinal_position=position)
        for position, (name, column) in enumerate(asset.metadata.column_schema.items(), 1)
    ]
    return facets.schema_dataset.SchemaDatasetFacet(fields=fields, producer=PRODUCER) if fields else None


def _column_lineage(provenance: Provenance, known: Known) -> facets.DatasetFacet | None:
    api = facets.column_lineage_dataset
    fields = {}
    for name, origins in column_origins(provenance, known).items():
        inputs = []
        for origin in origins:
            subtype = "TRANSFORMATION" if origin.changed else "IDENTITY"
            how = api.Transformation(
                type="DIRECT", subtype=subtype, description=origin.description or None, masking=False
            )
            inputs.append(api.InputField(*_where(origin.source), origin.column, transformations=[how]))
        fields[name] = api.Fields(inputFields=inputs)
    return api.ColumnLineageDatasetFacet(fields=fields, producer=PRODUCER) if fields else None


def _rows(asset: Asset) -> int | None:
    """Rasters have none."""
    rows = asset.statistics.get("counts", {}).get("rows_out")
    return rows if isinstance(rows, int) and asset.kind != "raster" else None


def _quality(asset: Asset) -> facets.DatasetFacet:
    """What was counted exactly; estimates have no place in this facet."""
    api = facets.data_quality_metrics_dataset
    profile = asset.statistics.get("columns", {})
    metrics = {}
    for name, column in profile.items() if isinstance(profile, Mapping) else ():
        if name in asset.metadata.column_schema and isinstance(column, Mapping):
            metrics[name] = api.ColumnMetrics(
                nullCount=_whole(column.get("nulls")),
                count=_number(column.get("count")),
                min=_number(column.get("min")),
                max=_number(column.get("max")),
            )
    return api.DataQualityMetricsDatasetFacet(
        columnMetrics=metrics,
        rowCount=_rows(asset),
        bytes=asset.size,
        fileCount=1,
        lastUpdated=asset.created_at.isoformat(timespec="milliseconds"),
        producer=PRODUCER,
    )


def _assertions(asset: Asset) -> facets.DatasetFacet | None:
    """The checks of the version."""
    api = facets.data_quality_assertions_dataset
    assertions = [
        api.Assertion(
            assertion=each.check,
            success=bool(each.passed),
            column=each.column,
            severity=each.severity,
            expected=each.expected,
            actual=None if each.found is None else str(each.found),
        )
        for each in asset.checks
    ]
    if not assertions:
        return None
    # The library has this class for the datasets that a run reads only.
    return api.DataQualityAssertionsDatasetFacet(assertions=assertions, producer=PRODUCER)  # type: ignore[return-value]


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _number(value: object) -> float | None:
    return value if isinstance(value, int | float) and not isinstance(value, bool) else None
