"""The recipe with this service's pipeline: python -m bench.ours SOURCE CRS TARGET.

The pipeline runs as in a worker, through `run` of `app.pipelines.vector.pipeline` (`raster` for a .tif, `tabular`
for a .csv); ledger and object store are left out, as they are for the peers: fetching is a hard link, publishing is a
rename.
"""

from __future__ import annotations

import importlib
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bench.hide_pandas  # noqa: F401 # before anything imports pyogrio
from app.models.asset import Asset, AssetInput, AssetMetadata
from app.models.base import utcnow
from app.models.manifests.manifest import Manifest, ManifestFile
from app.models.runs.run import RunWarning
from app.pipelines.contract.context import FetchedFile, Product
from app.pipelines.contract.engine import VectorEngine
from app.settings import Limits

FORMATS = {".gpkg": "GPKG", ".geojson": "GeoJSON", ".tif": "GTiff", ".csv": "CSV"}


@dataclass(frozen=True)
class Context:
    """`RunContext` and `Watch` over one local file."""

    manifest: Manifest
    limits: Limits
    scratch: Path
    threads: int
    source: Path
    target: Path
    engine: VectorEngine

    @property
    def watch(self) -> Context:
        return self

    @contextmanager
    def step(self, name: str) -> Iterator[None]:  # noqa: ARG002 # the protocol's
        yield

    def fetch(self, file: ManifestFile) -> FetchedFile:
        folder = self.scratch / "in"
        folder.mkdir()
        copy = folder / self.source.name
        copy.hardlink_to(self.source)
        return FetchedFile(file, copy, ())

    def unchanged(self, *_: object) -> None:
        return None

    def newest_rows(self) -> None:
        return None

    def publish(self, product: Product, inputs: Sequence[AssetInput]) -> Asset:
        product.path.rename(self.target)
        return Asset(
            dataset_id=self.manifest.dataset_id,
            version=1,
            s3_key=self.target.name,
            content_hash="",
            size=self.target.stat().st_size,
            kind=product.kind,
            format=product.format,
            crs=product.crs,
            bounds=product.bounds,
            run_id="bench",
            inputs=tuple(inputs),
            metadata=AssetMetadata(manifest={}, column_schema=product.column_schema),
            statistics=product.statistics,
            created_at=utcnow(),
        )

    def advance(self, rows_done: int, rows_total: int | None) -> None:
        pass

    def warn(self, warning: RunWarning) -> None:
        print(warning.code, warning.count, warning.message, flush=True)  # into the log of the measurement


def main(source: Path, target: Path, engine: VectorEngine | None = None) -> None:
    """Run it; with the local engine where none is given and the source is vector."""
    kind = {".tif": "raster", ".csv": "tabular"}.get(source.suffix, "vector")
    pipeline = importlib.import_module(f"app.pipelines.{kind}.pipeline")
    if kind == "vector" and engine is None:
        from app.pipelines.vector.engines.local import LocalEngine

        engine = LocalEngine()
    manifest = Manifest.model_validate(
        {
            "batch_id": "bench",
            "uploader": "bench",
            "intent": f"ingest_{kind}",
            "files": [
                {"path": f"s3://landing-zone/{source.name}", "type": kind, "format": FORMATS[source.suffix]},
            ],
            "metadata": {"title": "bench", "description": "", "source": "", "license": "", "attribution": ""},
        }
    )
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        pipeline.run(Context(manifest, Limits(), Path(scratch), os.cpu_count() or 1, source, target, engine))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[3]))
