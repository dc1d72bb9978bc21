"""Joins through the real pipeline: parents as the other pipelines write them, the result beside plain Python."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from app.models.asset import Asset, AssetMetadata, Bounds, ColumnSchema
from app.models.base import utcnow
from app.models.manifests.manifest import Manifest
from app.pipelines.common.column_names import product_names
from app.pipelines.common.geoparquet_writer import GeoParquetWriter
from app.pipelines.contract.context import FetchedAsset, Product
from app.pipelines.join import pipeline as join
from tests.pipelines.conftest import Context


@dataclass
class JoinContext(Context):
    """One attempt over parents that are in the lake."""

    asset: Asset | None = None

    @property
    def table(self) -> pa.Table:
        assert self.product is not None
        return pq.read_table(self.product.path)

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.table.to_pylist()

    @property
    def made(self) -> Product:
        assert self.product is not None
        return self.product


class Lake:
    """Makes parents in a directory and joins them."""

    def __init__(self, root: Path) -> None:
        self.root, self._runs = root, 0
        (root / "lake").mkdir()
        self.parents: dict[str, FetchedAsset] = {}

    def tabular(self, table: pa.Table, name: str = "people", **more: Any) -> str:
        path = self.root / f"{name}.parquet"
        pq.write_table(table, path, row_group_size=more.pop("row_group_size", 7))
        self._add(name, path, table.schema, kind="tabular", format="parquet", **more)
        return name

    def spatial(self, attributes: pa.Table, geometries: Sequence[Any], name: str = "places", **more: Any) -> str:
        """Written by the writer that every vector pipeline uses, in batches of 5 rows."""
        crs = CRS(more.pop("crs", "EPSG:4326"))
        shapes = np.array(geometries, dtype=object)
        names, box = product_names(attributes.schema.names)
        path = self.root / f"{name}.parquet"
        wkb = pa.array(shapely.to_wkb(shapes, flavor="iso"), pa.binary())
        boxes = shapely.bounds(shapes)
        attributes = attributes.rename_columns(names).combine_chunks()
        with GeoParquetWriter(path, attributes.schema, box, crs) as writer:
            for start in range(0, len(shapes), 5):
                part = attributes.slice(start, 5)
                columns = [column.combine_chunks() for column in part.columns]
                columns = [column.chunk(0) if isinstance(column, pa.ChunkedArray) else column for column in columns]
                stop = start + part.num_rows
                writer.write(columns, wkb.slice(start, 5), boxes[start:stop], _types(shapes[start:stop]))
        self._add(name, path, attributes.schema, kind=more.pop("kind", "spatial"), format="geoparquet", **more)
        return name

    def _add(self, name: str, path: Path, schema: pa.Schema, **more: Any) -> None:
        described = {each.name: ColumnSchema(title=each.name, type_name=str(each.type)) for each in schema}
        metadata = AssetMetadata(
            manifest={},
            column_schema=more.pop("column_schema", described),
            header_mapping=more.pop("header_mapping", {}),
        )
        asset = Asset(
            dataset_id=name, version=more.pop("version", 1), s3_key=f"{name}/v1/data.parquet", content_hash="sha256:",
            size=path.stat().st_size, crs=None, bounds=Bounds(minx=0, miny=0, maxx=1, maxy=1), run_id="r", inputs=(),
            metadata=metadata, statistics={}, created_at=utcnow(), **more,
        )  # fmt: skip
        self.parents[name] = FetchedAsset(asset, path)

    def join(self, left_key: str = "k", how: str = "left", **more: Any) -> JoinContext:
        """right_key=…, spatial_columns=… go to join_config, all else to the context."""
        self._runs += 1
        scratch = self.root / f"scratch{self._runs}"
        scratch.mkdir()
        config = {"spatial_dataset_id": "places", "tabular_dataset_id": "people", "left_key": left_key, "how": how}
        asked = {"dataset": {"checks": more.pop("checks")}} if "checks" in more else {}
        for name in ("right_key", "spatial_columns", "spatial_dataset_id", "tabular_dataset_id"):
            if name in more:
                config[name] = more.pop(name)
        metadata = {"title": "t", "description": "", "source": "", "license": "", "attribution": ""}
        manifest = Manifest.model_validate(
            {"batch_id": f"b{self._runs}", "uploader": "u", "intent": "join_datasets", "files": [],
             "metadata": {**metadata, "join_config": config}, **asked}
        )  # fmt: skip
        ctx = JoinContext(manifest, self.root, scratch, self.root / "lake", parents=self.parents, **more)
        ctx.asset = join.run(ctx)
        return ctx


def _types(shapes: np.ndarray[Any, Any]) -> set[str]:
    return {f"{each.geom_type}{' Z' if each.has_z else ''}" for each in shapes if each is not None}


def points(number: int) -> list[Any]:
    return [shapely.Point(i, -i / 4) for i in range(number)]


def key_of(value: Any, *, numbers: bool) -> str | None:
    """The key that a value is, in plain Python. numbers: both sides are."""
    if isinstance(value, bool):
        text = str(value).lower()
    elif isinstance(value, float):
        text = _float_key(value)
    elif isinstance(value, Decimal):
        text = _short(value) if numbers else format(value, "f")
    elif isinstance(value, datetime):
        moment = value.astimezone(UTC).replace(tzinfo=None) if value.tzinfo else value
        text = _no_zeros(moment.isoformat(timespec="microseconds")) + ("Z" if value.tzinfo else "")
    elif isinstance(value, time):
        text = _no_zeros(value.isoformat(timespec="microseconds"))
    elif isinstance(value, date):
        text = value.isoformat()
    else:
        text = None if value is None else str(value).strip()
    return text or None


def _float_key(value: float) -> str | None:
    if not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return str(int(value)) if value == int(value) and abs(value) < 2**63 else _short(Decimal(repr(value)))


def _short(value: Decimal) -> str:
    text = format(value, "f")
    text = text.rstrip("0").rstrip(".") if "." in text else text
    return "0" if text == "-0" else text


def _no_zeros(text: str) -> str:
    return text.rstrip("0").rstrip(".")


def pairs_of(left: Sequence[str | None], right: Sequence[str | None], how: str) -> list[tuple[int | None, int | None]]:
    """Row numbers that belong together, by nested loops."""
    found: list[tuple[int | None, int | None]] = []
    for i, key in enumerate(left):
        matches = [j for j, other in enumerate(right) if key is not None and key == other]
        found += [(i, j) for j in matches]
        if not matches and how in ("left", "outer"):
            found.append((i, None))
    matched = {j for _, j in found}
    if how in ("right", "outer"):
        found += [(None, j) for j in range(len(right)) if j not in matched]
    return found
