"""A folder of datum grids reaches the readers of a running service, and its role reports what it does not know."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.service import manifest, running_service

GRID = Path("/usr/share/proj/BETA2007.gsb")
# Near Frankfurt, in DHDN / 3-degree Gauss-Kruger zone 3.
POINT = {
    "type": "FeatureCollection", "crs": {"type": "name", "properties": {"name": "EPSG:31467"}},
    "features": [{"type": "Feature", "properties": {}, "geometry": {"type": "Point", "coordinates": [3.5e6, 5.5e6]}}],
}  # fmt: skip


def test_a_run_uses_the_grids_of_the_operator(tmp_path: Path) -> None:
    if not GRID.is_file():
        pytest.skip("needs Debian's package proj-data")
    grids = tmp_path / "grids"
    grids.mkdir()
    (grids / GRID.name).write_bytes(GRID.read_bytes())
    settings = {"SPATIAL_ETL_PROJ_GRIDS": str(grids), "SPATIAL_ETL_PROJ_GRID": "misspelt"}
    with running_service(tmp_path / "data", **settings) as service:
        service.put("a.geojson", json.dumps(POINT).encode())
        run = service.ingest(manifest("grids", ("a.geojson", "GeoJSON")))
        assert run["status"] == "success"
        assert [each["code"] for each in run["warnings"]] == []
        version = service.http.get("/assets/grids/v1").json()
        assert version["bounds"]["minx"] == pytest.approx(8.998958968, abs=1e-9)
        assert version["statistics"]["engine"]["grids"]
    log = "".join(path.read_text() for path in tmp_path.rglob("*.log"))
    assert "Ignored SPATIAL_ETL_PROJ_GRID of the environment" in log
