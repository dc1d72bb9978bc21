"""The recipe with this service's pipeline and its PostGIS engine: python -m bench.ours_postgis SOURCE CRS TARGET.

The server's URL is in BENCH_POSTGIS_URL.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from pydantic import SecretStr

import bench.hide_pandas  # noqa: F401 # before anything imports pyogrio
from app.models.base import new_id
from app.pipelines.vector.engines.postgis import PostgisEngine
from app.pipelines.vector.engines.postgis_access import DirectPostgis
from app.storage.postgis.server import Postgis, RunSchema
from bench.ours import main

if __name__ == "__main__":
    server = Postgis(SecretStr(os.environ["BENCH_POSTGIS_URL"]), 3600)
    main(Path(sys.argv[1]), Path(sys.argv[3]), PostgisEngine(DirectPostgis(server, RunSchema(new_id(), 1))))
