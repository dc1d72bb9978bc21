"""This service: a manifest for each file on a real ledger and a real store, and the product as others read it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq
import shapely

from app.models.runs.run import Run, RunStatus
from differential.case import FileKind, Found, Written, values_of
from tests.place import Place
from tests.service import manifest


@dataclass(frozen=True, slots=True)
class Reading:
    """found: None where the run was refused. refusal: its code and detail. warnings: codes."""

    found: Found | None
    refusal: str = ""
    warnings: tuple[str, ...] = ()
    header: tuple[tuple[str, str], ...] = ()


def read_by_service(place: Place, kind: FileKind, written: Written, name: str) -> Reading:
    """Ingest a file with a recipe that keeps everything, and read the product."""
    key = place.put(f"{name}/{written.path.name}", written.path.read_bytes())
    entry: dict[str, Any] = {"path": f"s3://landing-zone/{key}", "format": kind.format}
    entry["type"] = "vector" if kind.shapes else "tabular"
    if written.options:
        entry["options"] = dict(written.options)
    document = manifest(name, intent="ingest_vector" if kind.shapes else "ingest_tabular")
    document["files"] = [entry]
    if kind.shapes:
        document["recipe"] = {"crs": "source", "repair": "off"}
    run = place.ingest(document)
    warnings = tuple(sorted({each.code for each in run.warnings}))
    if run.status is not RunStatus.SUCCESS:
        return Reading(None, _refusal(run), warnings)
    asset = place.portal.call(place.ledger.get_asset, run.partition_key)
    assert asset is not None
    table = pq.read_table(place.product(run.partition_key), use_threads=False)
    names = {new: old for old, new in asset.metadata.header_mapping.items()}
    kept = [each for each in table.column_names if not kind.shapes or each not in ("geom", "bbox")]
    columns = {names.get(each, each): values_of(table[each]) for each in kept}
    shapes = [None if w is None else shapely.from_wkb(w) for w in table["geom"].to_pylist()] if kind.shapes else None
    return Reading(Found(columns, shapes), "", warnings, tuple(names.items()))


def _refusal(run: Run) -> str:
    return f"{run.error.code}: {run.error.detail}" if run.error else f"status {run.status}"
