"""The command line in real processes: what people type, what they read, and the exit codes that scripts read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.service import POINTS, Service, manifest

ROOT = Path(__file__).parents[2]


def cli(*arguments: str, code: int = 0, **options: Any) -> subprocess.CompletedProcess[str]:
    options = {"timeout": 180, **options}
    done = subprocess.run(
        [sys.executable, "-m", "app", *arguments], check=False, capture_output=True, text=True, cwd=ROOT, **options
    )
    assert done.returncode == code, f"{arguments} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


@pytest.fixture
def points(tmp_path: Path) -> Path:
    path = tmp_path / "points.geojson"
    path.write_bytes(POINTS)
    return path


def written(tmp_path: Path, document: Any) -> str:
    path = tmp_path / "manifest.json"
    path.write_text(json.dumps(document))
    return str(path)


def test_submit_uploads_follows_and_tells_the_outcome(service: Service, tmp_path: Path, points: Path) -> None:
    path = written(tmp_path, manifest("cli-one", ("cli/points.geojson", "GeoJSON")))
    done = cli("submit", path, "--file", str(points), "--watch", "--url", service.url)
    assert "success" in done.stdout
    again = cli("submit", path, "--watch", "--url", service.url)
    assert "accepted before" in again.stdout
    assert service.versions("cli-one") == [1]


def test_the_exit_code_tells_failed_from_refused_from_unreachable(
    service: Service, tmp_path: Path, points: Path
) -> None:
    missing = written(tmp_path, manifest("cli-missing", ("cli/none.geojson", "GeoJSON")))
    failed = cli("submit", missing, "--watch", "--url", service.url, code=1)
    assert "file_missing" in failed.stdout
    refused = cli("submit", written(tmp_path, {"batch_id": "a b"}), "--url", service.url, code=2)
    assert "/batch_id" in refused.stderr
    assert "/metadata" in refused.stderr
    unreachable = cli("submit", missing, "--url", "http://127.0.0.1:9", code=3)
    assert "spatial-etl serve" in unreachable.stderr
    stray = cli("submit", missing, "--file", str(points), "--url", service.url, code=2)
    assert "names no file 'points.geojson'" in stray.stderr
    (tmp_path / "broken.json").write_text("{")
    assert "not JSON" in cli("submit", str(tmp_path / "broken.json"), code=2).stderr


def test_every_command_that_reads_has_json(service: Service, tmp_path: Path, points: Path) -> None:
    path = written(tmp_path, manifest("cli-json", ("cli/points.geojson", "GeoJSON")))
    run = json.loads(
        cli("submit", path, "--file", f"{points}=cli/points.geojson", "--watch", "--json", "--url", service.url).stdout
    )
    assert run["status"] == "success"
    url = ("--url", service.url)
    assert json.loads(cli("runs", "--dataset", "cli-json", "--json", *url).stdout)[0] == run
    assert json.loads(cli("runs", run["run_id"], "--json", *url).stdout)["events"]
    assert json.loads(cli("assets", "cli-json", "--json", *url).stdout)[0]["version"] == 1
    assert json.loads(cli("assets", "cli-json", "1", "--json", *url).stdout)["run_id"] == run["run_id"]
    assert json.loads(cli("lineage", "cli-json", "--json", *url).stdout)["root"] == "asset:cli-json/v1"
    problem = json.loads(cli("runs", "nothing", "--json", *url, code=2).stdout)
    assert problem["code"] == "not_found"


def test_every_command_that_reads_speaks_to_people(service: Service, tmp_path: Path, points: Path) -> None:
    path = written(tmp_path, manifest("cli-text", ("cli/points.geojson", "GeoJSON")))
    cli("submit", path, "--file", str(points), "--watch", "--url", service.url)
    url = ("--url", service.url)
    assert "cli-text" in cli("runs", *url).stdout
    assert "cli-text" in cli("assets", *url).stdout
    shown = cli("assets", "cli-text", "1", *url).stdout
    assert "EPSG:4326" in shown
    assert "struct<xmin: double" in shown.replace("\n", " ")
    assert "points.geojson" in cli("lineage", "cli-text", *url).stdout
    run_id = json.loads(cli("runs", "--dataset", "cli-text", "--json", *url).stdout)[0]["run_id"]
    assert "The run ended in success." in cli("runs", run_id, *url).stdout


def test_doctor_and_migrate_work_without_a_service(tmp_path: Path) -> None:
    data = str(tmp_path / "fresh")
    assert "0001" in cli("migrate", "--data-dir", data).stdout
    assert json.loads(cli("migrate", "--data-dir", data, "--json").stdout) == {"applied": [], "buckets": []}
    checks = json.loads(cli("doctor", "--data-dir", data, "--json").stdout)
    by_name = {check["name"]: check for check in checks}
    assert all(by_name[name]["ok"] for name in ("ledger", "objects", "rights", "gdal", "raster", "proj", "arrow"))
    assert "serve" in by_name["queue"]["fix"]


def test_doctor_says_what_is_wrong_with_an_empty_directory(tmp_path: Path) -> None:
    done = cli("doctor", "--data-dir", str(tmp_path / "nothing"), code=1)
    assert "FAIL" in done.stdout
    assert "migrate" in done.stdout


def test_a_data_directory_or_a_setting_that_cannot_be_used_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for where in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/x")):
        assert "cannot be used" in cli("serve", "--port", "0", "--data-dir", str(where), code=3).stderr
    environment = {**os.environ, "SPATIAL_ETL_WORKER__PROCESSES": "many"}
    assert "'many'" in cli("doctor", code=2, env=environment).stderr


def test_the_demo_twice(tmp_path: Path) -> None:
    """The second time the same batches give the same runs: no new version."""
    data = tmp_path / "demo data"
    first = json.loads(cli("demo", "--data-dir", str(data), "--json").stdout)
    names = ["countries", "parcels", "population", "terrain", "wells", "population-map"]
    assert [result["asset"]["dataset_id"] for result in first] == names
    assert first[0]["run"]["counts"]["rows_out"] == 177
    assert first[1]["run"]["counts"]["repaired"] > 0
    assert first[4]["run"]["counts"]["null_geometries"] == 1
    assert first[5]["run"]["counts"]["tabular_rows_unmatched"] == 2
    assert [check["passed"] for check in first[2]["run"]["checks"]] == [True, True, False]
    for result in first:
        if result["asset"]["kind"] == "tabular":
            assert result["map"] is None
        else:
            assert Path(result["map"]).read_bytes().startswith(b"\x89PNG")
            assert Path(result["map"]).stat().st_size > 10_000
    lake = sorted((data / "objects" / "data-lake").rglob("v1/*"))
    assert {path.relative_to(data / "objects" / "data-lake").parts[0] for path in lake} == set(names)
    second = cli("demo", "--data-dir", str(data)).stdout
    assert second.count("ingested before") == 6
    assert "Afghanistan" in second
    assert "failed, found 1" in second
    assert sorted((data / "objects" / "data-lake").rglob("v*/*")) == lake


def test_migrate_may_run_twice_at_once(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "app", "migrate", "--json", "--data-dir", str(tmp_path / "data")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(2)]
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    known = sorted(path.stem for path in (ROOT / "migrations" / "sql" / "versions").glob("[0-9]*.py"))
    assert sorted(answers[0]["applied"] + answers[1]["applied"]) == known


def test_doctor_waits_for_what_is_required_and_says_so_once(tmp_path: Path) -> None:
    data = str(tmp_path / "data")
    began = time.monotonic()
    done = cli("doctor", "--wait", "3", "--data-dir", data, code=1)
    assert time.monotonic() - began >= 3
    assert done.stderr.count("Waiting up to 3 s for: ledger.") == 1
    waiting = subprocess.Popen(
        [sys.executable, "-m", "app", "doctor", "--wait", "60", "--json", "--data-dir", data],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
    )  # fmt: skip
    assert waiting.stderr is not None
    assert "Waiting" in waiting.stderr.readline()
    cli("migrate", "--data-dir", data)
    out, _ = waiting.communicate(timeout=60)
    assert waiting.returncode == 0, out
    assert all(check["ok"] for check in json.loads(out) if check["required"])


def test_alive_tells_an_old_sign_of_life_from_a_new_one(tmp_path: Path) -> None:
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    assert "never gave" in cli("alive", "worker", code=1, env=environment).stderr
    sign = tmp_path / f"spatial-etl-{os.getuid()}-worker.alive"
    sign.touch()
    cli("alive", "worker", env=environment)
    old = time.time() - 1000
    os.utime(sign, (old, old))
    assert " s ago" in cli("alive", "worker", code=1, env=environment).stderr
    cli("alive", "worker", "--within", "2000", env=environment)
    assert "worker or sweep" in cli("alive", "api", code=2).stderr


def test_the_api_alone_says_a_taken_port_plainly(service: Service, tmp_path: Path) -> None:
    port = service.url.rpartition(":")[2]
    done = cli("api", "--port", port, "--data-dir", str(tmp_path), code=3)
    assert f"Cannot listen on 127.0.0.1:{port}" in done.stderr
