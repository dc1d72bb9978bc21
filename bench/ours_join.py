"""A join with this service's pipeline: python -m bench.ours_join FOLDER CRS TARGET. As in `bench.ours`, without ledger
and object store."""

from __future__ import annotations

import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import bench.hide_pandas  # noqa: F401 # before anything imports pyogrio
from app.models.asset import Asset, AssetMetadata
from app.models.base import utcnow
from app.models.manifests.manifest import Manifest
from app.pipelines.contract.context import FetchedAsset
from app.pipelines.join import pipeline as join
from app.settings import Limits, WorkerSettings
from bench.ours import Context

KINDS: dict[str, tuple[Literal["tabular", "spatial"], Literal["parquet", "geoparquet"]]] = {
    "people": ("tabular", "parquet"),
    "places": ("spatial", "geoparquet"),
}


@dataclass(frozen=True)
class JoinContext(Context):
    memory_bytes: int = WorkerSettings().memory_bytes

    def fetch_asset(self, dataset_id: str, version: int | None) -> FetchedAsset:  # noqa: ARG002 # the protocol's
        path = self.source / f"{dataset_id}.parquet"
        kind, fmt = KINDS[dataset_id]
        asset = Asset(
            dataset_id=dataset_id, version=1, s3_key=path.name, content_hash="", size=path.stat().st_size, kind=kind,
            format=fmt, crs=None, bounds=None, run_id="bench", inputs=(), statistics={}, created_at=utcnow(),
            metadata=AssetMetadata(manifest={}, column_schema={}),
        )  # fmt: skip
        return FetchedAsset(asset, path)


def main(source: Path, target: Path) -> None:
    config = {"tabular_dataset_id": "people", "spatial_dataset_id": "places", "left_key": "code"}
    metadata: dict[str, Any] = {"title": "bench", "description": "", "source": "", "license": "", "attribution": ""}
    manifest = Manifest.model_validate(
        {"batch_id": "bench", "uploader": "bench", "intent": "join_datasets", "files": [],
         "metadata": {**metadata, "join_config": config}}
    )  # fmt: skip
    with tempfile.TemporaryDirectory(dir=target.parent) as scratch:
        join.run(JoinContext(manifest, Limits(), Path(scratch), os.cpu_count() or 1, source, target, None))  # type: ignore[arg-type] # no engine in a join


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[3]))
