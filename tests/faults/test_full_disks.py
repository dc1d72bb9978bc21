"""Disks that are really full: small file systems of their own under scratch, lake and ledger, in real processes."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.service import POINTS, Service, manifest, running_service, wait_for

SMALL = 2 * 2**20
BIG = POINTS + b" " * (3 * 2**20)


@contextmanager
def small_disk(place: Path) -> Iterator[Path]:
    place.mkdir(parents=True)
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs", place], check=False, capture_output=True, text=True
    )
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def fill(disk: Path) -> Path:
    """A file that takes all that is left."""
    filler = disk / ".filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(b"x" * 4096):
                pass
        except OSError:
            return filler
    raise AssertionError("the disk has no end")


def failed_for_room(service: Service, batch: str, place: Path, code: str) -> None:
    run = service.ingest(manifest(batch, ("p.geojson" if code == "store_full" else "big.geojson", "GeoJSON")))
    error = run["error"]
    assert (run["status"], error["code"], run["attempt"]) == ("failure", code, 3), run
    assert [each["outcome"] for each in run["attempts"]] == ["disk_full"] * 3
    assert str(place) in error["detail"]
    assert "bytes are free" in error["detail"]
    assert str(place) in error["fix"]
    assert service.versions(batch) == []


def test_full_disks_of_scratch_and_lake_are_named_and_room_helps(data_dir: Path) -> None:
    lake, scratch = data_dir / "objects" / "data-lake", data_dir / "scratch"
    with ExitStack() as stack:
        stack.enter_context(small_disk(scratch))
        service = stack.enter_context(running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="1"))
        service.put("p.geojson", POINTS)
        service.put("big.geojson", BIG)
        failed_for_room(service, "no-scratch", scratch, "scratch_full")
        wait_for(lambda: service.scratch() == [], "scratch to be empty")
        assert service.ingest(manifest("small", ("p.geojson", "GeoJSON")))["status"] == "success"
        before = service.lake()

        objects = data_dir / "objects"
        stack.enter_context(_covered(objects, data_dir / "kept"))
        service.put("p.geojson", POINTS)
        filler = fill(objects)
        failed_for_room(service, "no-lake", objects, "store_full")
        refused = service.http.put("/landing/more.geojson", content=BIG)
        assert (refused.status_code, refused.json()["code"]) == (503, "store_full"), refused.text
        assert str(objects) in refused.json()["fix"]
        filler.unlink()
        assert service.http.post("/manifests/no-lake/rerun").status_code == 202
        newest = service.http.get("/manifests/no-lake").json()["runs"][0]["run_id"]
        assert service.finished(newest)["status"] == "success"
        assert service.versions("no-lake") == [2], "the number of the run that failed is not given twice"
        assert len(service.lake()) == 1
    assert before
    assert lake.exists()


@contextmanager
def _covered(place: Path, aside: Path) -> Iterator[None]:
    """A small disk over a directory that is in use."""
    place.rename(aside)
    with small_disk(place):
        yield
    place.rmdir()
    aside.rename(place)


def test_a_ledger_without_room_refuses_and_goes_on_when_there_is_some(data_dir: Path) -> None:
    with ExitStack() as stack:
        disk = stack.enter_context(small_disk(data_dir / "ledger"))
        url = f"sqlite:///{disk / 'ledger.sqlite'}"
        service = stack.enter_context(running_service(data_dir, SPATIAL_ETL_LEDGER__URL=url))
        service.put("p.geojson", POINTS)
        filler = fill(disk)
        codes = []
        # What is in the write-ahead log already may take a few.
        for number in range(200):
            answer = service.post(manifest(f"full-{number}", ("p.geojson", "GeoJSON")))
            if answer.status_code != 202:
                break
            codes.append(answer.json()["run_id"])
        problem = answer.json()
        assert (answer.status_code, problem["code"]) == (503, "ledger_full"), problem
        assert str(disk) in problem["fix"]
        assert "bytes are free" in problem["fix"]
        assert "retry-after" in answer.headers
        filler.unlink()
        again = service.post(manifest(f"full-{number}", ("p.geojson", "GeoJSON")))
        assert again.status_code in (200, 202), again.text
        for run_id in (*codes, again.json()["run_id"]):
            run = service.finished(run_id)
            assert run["status"] == "success", run
        assert service.versions(f"full-{number}") == [1]
