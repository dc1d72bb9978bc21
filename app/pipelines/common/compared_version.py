"""The version of another dataset that a check compares the product with, in the CRS of the product."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS, Transformer
from pyproj.exceptions import ProjError

from app.messages.checks import CHECK_CRS_MISSING, CHECK_KIND_WRONG
from app.models.asset import COMPARED, ParentInput
from app.models.checks.kinds import Within
from app.models.plan import PlannedParent
from app.models.products import GEOMETRY
from app.pipelines.common.crs import Box, same_crs
from app.pipelines.common.findings import Findings
from app.pipelines.common.geoparquet_writer import product_schema
from app.pipelines.common.reproject import Reprojector
from app.pipelines.common.shapes import Geometries, from_geometries, from_wkb, to_wkb
from app.pipelines.contract.context import FetchedAsset

_BATCH_ROWS = 4_096
# How far around the product geometries are kept when they are moved to its CRS, as a share of its width and height.
_MARGIN = 0.05


@dataclass(frozen=True, slots=True)
class ComparedVersion:
    """A fetched version.

    Attributes:
        asked: (dataset, version or None for the newest), as checks name it.
        crs: of its geometries.
        box: name of its column with their boxes.
    """

    asked: tuple[str, int | None]
    fetched: FetchedAsset
    crs: CRS
    box: str

    @property
    def name(self) -> str:
        return f"{self.fetched.asset.dataset_id} version {self.fetched.asset.version}"

    @property
    def parent(self) -> ParentInput:
        asset = self.fetched.asset
        return ParentInput(dataset_id=asset.dataset_id, version=asset.version, role=COMPARED)

    @property
    def planned(self) -> PlannedParent:
        asset = self.fetched.asset
        with pq.ParquetFile(self.fetched.path) as parquet:
            columns = [name for name in parquet.schema_arrow.names if name not in (GEOMETRY, self.box)]
            rows = parquet.metadata.num_rows
        return PlannedParent(
            role=COMPARED,
            dataset_id=asset.dataset_id,
            version=asset.version,
            kind=asset.kind,
            rows=rows,
            columns=tuple(columns),
        )

    def reprojector(self, target: CRS) -> Reprojector:
        """Raises RunRefused: crs_not_transformable."""
        return Reprojector(self.crs, target, self.name)

    def moved(self, target: CRS, around: Box, into: Path) -> tuple[Path, str]:
        """A GeoParquet file of its geometries in the CRS of the product, and the name of its column with the boxes.

        Args:
            target: the CRS of the product.
            around: (minx, miny, maxx, maxy) of the product; geometries far from it may be left out, or cut off.
            into: the file that is written, if the CRS is another one.

        Raises:
            RunRefused: crs_not_transformable, coordinates_not_transformable, antimeridian_unsplittable.
        """
        if same_crs(self.crs, target):
            return self.fetched.path, self.box
        reprojector, near = self.reprojector(target), _box_in(self.crs, target, around)
        schema = product_schema(pa.schema([]), "bbox")
        with pq.ParquetWriter(into, schema) as writer:
            first, findings = 0, Findings()
            for wkb in _geometries(self.fetched.path):
                geometries = from_wkb(wkb, self.name, first, findings).build(None)
                kept = _near(geometries, near)
                made = reprojector.apply(from_geometries(kept), first, findings)
                writer.write_batch(pa.record_batch([to_wkb(made), _boxes(made)], schema=schema))
                first += len(wkb)
        return into, "bbox"


def open_compared(index: int, check: Within, fetched: FetchedAsset) -> ComparedVersion:
    """A version that has geometries with a CRS.

    Args:
        index: of the check in the manifest.
        check: names the version.
        fetched: the version.

    Raises:
        RunRefused: check_kind_wrong, check_crs_missing.
    """
    asset = fetched.asset
    named: dict[str, Any] = {"index": index, "dataset": asset.dataset_id, "version": asset.version}
    if asset.kind not in ("spatial", "joined"):
        raise CHECK_KIND_WRONG(**named, kind=asset.kind)
    column = geometry_metadata(fetched.path)
    if column["crs"] is None:
        raise CHECK_CRS_MISSING(**named)
    box = column["covering"]["bbox"]["xmin"][0]
    return ComparedVersion(check.version_asked, fetched, CRS.from_json_dict(column["crs"]), box)


def geometry_metadata(path: Path) -> dict[str, Any]:
    """What the footer of a product says of its geometries: crs, covering, and bbox where there are coordinates."""
    with pq.ParquetFile(path) as parquet:
        found: dict[str, Any] = json.loads(parquet.metadata.metadata[b"geo"])["columns"][GEOMETRY]
    return found


def _geometries(path: Path) -> Iterator[pa.Array]:
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=[GEOMETRY]):
            yield batch.column(0)


def _box_in(crs: CRS, target: CRS, around: Box) -> Box | None:
    """A box of the target's CRS with a margin, in another one; None where it has none there."""
    width, height = around[2] - around[0], around[3] - around[1]
    margin = _MARGIN * max(width, height)
    wide = (around[0] - margin, around[1] - margin, around[2] + margin, around[3] + margin)
    try:
        found: Box = Transformer.from_crs(target, crs, always_xy=True).transform_bounds(*wide, errcheck=True)
    except ProjError:
        return None
    # Where it crosses the antimeridian, its west is larger than its east.
    return found if np.isfinite(found).all() and found[0] < found[2] and found[1] < found[3] else None


def _near(geometries: Geometries, box: Box | None) -> Geometries:
    """The parts that lie in the box. So those that have no place in the product's CRS need none."""
    if box is None:
        return geometries
    area = shapely.box(*box)
    found: Geometries = geometries[shapely.intersects(shapely.box(*shapely.bounds(geometries).T), area)]
    beyond = ~shapely.covers(area, found)
    whole = found[beyond]
    invalid = ~shapely.is_valid(whole)
    whole[invalid] = shapely.make_valid(whole[invalid])
    found[beyond] = shapely.intersection(whole, area)
    return found


def _boxes(geometries: Geometries) -> pa.Array:
    boxes = shapely.bounds(geometries)
    missing = np.isnan(boxes[:, 0])
    sides = [pa.array(np.ascontiguousarray(boxes[:, side])) for side in range(4)]
    return pa.StructArray.from_arrays(sides, ["xmin", "ymin", "xmax", "ymax"], mask=pa.array(missing))
