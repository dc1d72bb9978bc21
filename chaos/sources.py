"""The files of the load and the expected outcome of each, small enough that a run takes about a second."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyogrio
import shapely

SAMPLES = Path(__file__).parents[1] / "samples"
_POLYGONS = 10_000

Kind = Literal["vector", "raster", "tabular"]


@dataclass(frozen=True)
class Source:
    """rows: of the result; None for rasters. error: the code that a run of it fails with."""

    key: str
    kind: Kind
    format: str
    body: bytes
    rows: int | None = None
    error: str = ""

    @property
    def intent(self) -> str:
        return f"ingest_{self.kind}"


def sources() -> tuple[Source, ...]:
    """All sources of the campaign, including an unreadable one and one that is missing."""
    points = [_feature({"type": "Point", "coordinates": [n / 4, n / 8]}, {"n": n, "name": f"p{n}"}) for n in range(200)]
    collection = json.dumps({"type": "FeatureCollection", "features": points}).encode()
    table = "id;name;value\n" + "".join(f"{n:05};name {n};{n / 7:.3f}\n" for n in range(5000))
    keyed = "n,height\n" + "".join(f"{n},{n * 1.5}\n" for n in range(0, 200, 2))
    return (
        Source("in/points.geojson", "vector", "GeoJSON", collection, 200),
        Source("in/polygons.fgb", "vector", "FlatGeobuf", _polygons(), _POLYGONS),
        Source("in/parcels.gpkg", "vector", "GPKG", (SAMPLES / "parcels.gpkg").read_bytes(), 432),
        Source("in/countries.zip", "vector", "SHP", (SAMPLES / "countries.zip").read_bytes(), 177),
        Source("in/terrain.tif", "raster", "GTiff", (SAMPLES / "raster/terrain.tif").read_bytes()),
        Source("in/table.csv", "tabular", "CSV", table.encode(), 5000),
        Source("in/keyed.csv", "tabular", "CSV", keyed.encode(), 100),
        Source("in/damaged.gpkg", "vector", "GPKG", (SAMPLES / "parcels.gpkg").read_bytes()[:60_000], error="*"),
        Source("in/empty.csv", "tabular", "CSV", b"", error="*"),
    )


MISSING = Source("in/nobody-uploaded-this.gpkg", "vector", "GPKG", b"", error="*")


def manifest(batch_id: str, source: Source, dataset_id: str, **more: Any) -> dict[str, Any]:
    path = f"s3://landing-zone/{source.key}"
    files = [{"path": path, "type": source.kind, "format": source.format}]
    return document(batch_id, source.intent, files, dataset_id, **more)


def join(batch_id: str, dataset_id: str, spatial: str, tabular: str) -> dict[str, Any]:
    made = document(batch_id, "join_datasets", [], dataset_id)
    made["metadata"]["join_config"] = {"spatial_dataset_id": spatial, "tabular_dataset_id": tabular, "left_key": "n"}
    return made


def document(batch_id: str, intent: str, files: list[Any], dataset_id: str, **more: Any) -> dict[str, Any]:
    texts = dict.fromkeys(("description", "source", "license", "attribution"), "")
    metadata = {"title": "Campaign", **texts, "tags": {"dataset_id": dataset_id}}
    return {"batch_id": batch_id, "uploader": "chaos", "intent": intent, "files": files, "metadata": metadata, **more}


def _feature(geometry: Any, properties: Any) -> dict[str, Any]:
    return {"type": "Feature", "geometry": geometry, "properties": properties}


def _polygons() -> bytes:
    chance = np.random.default_rng(7)
    centres = chance.uniform([400_000, 5_500_000], [600_000, 5_700_000], (_POLYGONS, 2))
    angles = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * 15
    polygons = shapely.polygons(centres[:, None, :] + ring[None])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "polygons.fgb"
        pyogrio.write_arrow(
            pa.table({"n": np.arange(_POLYGONS), "geometry": shapely.to_wkb(polygons)}),
            path, driver="FlatGeobuf", geometry_name="geometry", geometry_type="Polygon", crs="EPSG:25832",
        )  # fmt: skip
        return path.read_bytes()
