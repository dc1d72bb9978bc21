"""Every hostile file through a real service, whose worker is watched from outside."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from app.models.formats import FORMATS
from tests.hostile import grids, markup, tables, vectors
from tests.hostile.case import CANARY, SECRET, Bait, Hostile
from tests.hostile.documented import documented_codes
from tests.hostile.watch import Rules, can_trace, traced, violations
from tests.hostile.web import Visits, counting_server
from tests.service import POINTS, Json, Service, manifest, running_service, wait_for

CASES: list[Hostile] = [*vectors.CASES, *markup.CASES, *tables.CASES, *grids.CASES]
INTENTS = {"vector": "ingest_vector", "raster": "ingest_raster", "tabular": "ingest_tabular"}
REPRESENTATIVE = frozenset(
    (
        *("geojson-crs-grid", "gpkg-view-load-extension", "gpkg-virtual-ogr", "gpkg-trigger", "shp-offsets"),
        *("flatgeobuf-feature", "openfilegdb-garbage", "geoparquet-wkb-deep", "geoparquet-crs-grid"),
        *("kml-network-link", "kml-laughs", "gml-schema-url", "gml-entity-file", "geojson-zip-dotdot"),
        *("geojson-zip-overlapping", "csv-long-line", "jsonl-deep", "xlsx-external", "parquet-footer-long"),
        *(
            "gpkg-srs-wkt-grid",
            "flatgeobuf-crs-wkt-grid",
            "openfilegdb-crs-wkt-grid",
            "shp-prj-wkt-grid",
            "gml-srs-grid",
        ),
        *("gml-schema-include", "gtiff-overviews-url", "gtiff-aux", "netcdf-environment", "png-bomb", "jp2-box"),
    )
)
MEMORY = 1 << 30
SECONDS = 60

pytestmark = pytest.mark.skipif(not can_trace(), reason="strace is not here, or may not trace")


@dataclass
class Watched:
    """service: with one worker, traced. visits: of the server that the files name."""

    service: Service
    bait: Bait
    visits: Visits
    trace: Path
    rules: Rules
    read: int = 0

    def news(self) -> list[str]:
        """Lines of the trace since the last call."""
        with self.trace.open(errors="replace") as stream:
            stream.seek(self.read)
            lines = stream.readlines()
            self.read = stream.tell()
        return lines


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    root = tmp_path_factory.mktemp("hostile")
    canary = root / "canary" / "file"
    canary.parent.mkdir()
    canary.write_text(CANARY)
    (root / "data" / "tmp").mkdir(parents=True)
    settings = {
        "SPATIAL_ETL_WORKER__PROCESSES": "1",
        "SPATIAL_ETL_RUN__MEMORY_LIMIT_BYTES": str(MEMORY),
        "SPATIAL_ETL_RUN__TIME_LIMIT_SECONDS": str(SECONDS),
        "SPATIAL_ETL_RUN__LEASE_SECONDS": "120",
        "SPATIAL_ETL_LIMITS__ARCHIVE_BYTES": str(64 << 20),
        "SPATIAL_ETL_LIMITS__PIXELS": "100000000",
        "SPATIAL_ETL_WEBHOOK__TOKEN": SECRET,
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "TMPDIR": str(root / "data" / "tmp"),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    with counting_server() as visits, running_service(root / "data", **settings) as service:
        bait = Bait(visits.url, str(canary))
        # What a worker does while it starts is its own: it is watched from its second run on.
        service.put("p.geojson", POINTS)
        assert service.ingest(manifest("before", ("p.geojson", "GeoJSON")))["status"] == "success"
        (worker,) = service.workers()
        with traced(worker.pid, root / "trace"):
            # A job tells the kernel that it is to go first when memory runs out, before it reads anything.
            writable = (root / "data", Path("/dev/null"), Path("/proc/self/oom_score_adj"))
            rules = Rules(writable, (str(canary), "/proc/self/environ", "/etc/passwd"))
            yield Watched(service, bait, visits, root / "trace", rules)


def document(case: Hostile, source: str) -> Json:
    made = manifest(case.name, intent=INTENTS[case.kind])
    made["files"] = [{"path": f"s3://landing-zone/{source}", "type": case.kind, "format": case.format, **case.more}]
    return made


def check(case: Hostile, watched: Watched) -> None:
    service = watched.service
    files = case.files(watched.bait)
    for name, body in files.items():
        service.put(f"{case.name}/{name}", body)
    before = service.lake()
    watched.news()
    run = service.ingest(document(case, f"{case.name}/{next(iter(files))}"))
    said = json.dumps([run, service.http.get(f"/runs/{run['run_id']}/events").json()])
    found = run["error"]["code"] if run["status"] == "failure" else run["counts"]["rows_out"]
    assert found == case.outcome, run["error"] or run["counts"]
    if run["status"] == "success":
        body = service.http.get(f"/assets/{case.name}/v1/download").content
        # What is compressed in there is looked at as a table.
        said += body.decode("latin-1") + (_texts(body) if body.startswith(b"PAR1") else "")
    else:
        assert run["attempt"] == 1
        assert run["error"]["fix"]
        assert service.lake() == before
        assert service.versions(case.name) == []
    assert CANARY not in said
    assert SECRET not in said
    assert "Traceback" not in said
    assert violations(watched.news(), watched.rules) == []
    assert watched.visits == []
    wait_for(lambda: service.scratch() == [], "scratch to be empty")


def _texts(body: bytes) -> str:
    import pyarrow.parquet as pq

    return str(pq.read_table(io.BytesIO(body)).slice(0, 100).to_pylist())


def chosen(case: Hostile) -> object:
    """The default run has a few of each kind of door; `make test-slow` tries them all."""
    return pytest.param(case, id=case.name, marks=() if case.name in REPRESENTATIVE else pytest.mark.slow)


@pytest.mark.parametrize("case", [chosen(case) for case in CASES])
def test_it_is_refused_or_harmless(watched: Watched, case: Hostile) -> None:
    check(case, watched)


def test_the_table_is_what_it_says() -> None:
    """Every format has hostile files, names are unique, and the representatives exist."""
    names = [case.name for case in CASES]
    assert len(set(names)) == len(names) >= 60
    assert set(names) >= REPRESENTATIVE
    assert {case.format for case in CASES} >= {fmt.name for fmt in FORMATS if fmt.available} - {"COG", "GeoJSONSeq"}
    assert {str(case.outcome) for case in CASES if isinstance(case.outcome, str)} <= documented_codes()


def test_the_watch_sees_what_a_careless_reader_does(tmp_path: Path) -> None:
    """A reader without any care opens two of the files: each assertion above would have failed."""
    canary = tmp_path / "outside" / "canary"
    canary.parent.mkdir()
    canary.write_bytes(bytes(64))
    with counting_server() as visits:
        bait = Bait(visits.url, str(canary))
        links = {
            "url": f"/vsicurl/{visits.url}/x.tif",
            "path": str(canary),
            "into": str(canary.with_suffix(".written")),
        }
        external = {case.name: case for case in grids.NETCDF}["netcdf-external"].files(bait)["x"]
        (tmp_path / "x.h5").write_bytes(external)
        done = subprocess.Popen(
            [sys.executable, "-c", CARELESS, str(tmp_path / "x.h5"), json.dumps(links)], stdin=subprocess.PIPE
        )
        with traced(done.pid, tmp_path / "trace"):
            done.communicate(b"go\n")
        assert done.returncode == 0
        assert visits != []
    seen = violations((tmp_path / "trace").read_text().splitlines(), Rules((tmp_path / "scratch",), (str(canary),)))
    reasons = {line.partition(":")[0] for line in seen}
    assert reasons == {"touches a bait", "talks to an address", "starts a program", "changes something outside"}


CARELESS = """
import json, subprocess, sys
import h5py, rasterio
sys.stdin.readline()
links = json.loads(sys.argv[2])
assert h5py.File(sys.argv[1])["v"][0, 0] == 0
try:
    rasterio.open(links["url"])
except rasterio.errors.RasterioIOError:
    pass
open(links["into"].replace("canary", "other"), "w").close()
subprocess.run(["/bin/true"], check=True)
"""
