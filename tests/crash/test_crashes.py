"""The process dies before every write to the ledger and the store; what is left is what is left where nobody died."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy
import pytest
import rasterio

from tests.crash.stories import STORIES
from tests.servers import mongo, postgres, s3

ROOT = Path(__file__).parents[2]
Environment = dict[str, str]


@contextlib.contextmanager
def _embedded() -> Iterator[Environment]:
    yield {}


@contextlib.contextmanager
def _postgresql() -> Iterator[Environment]:
    with postgres.fresh_database(postgis=False) as url:
        yield {"SPATIAL_ETL_LEDGER__URL": url.replace("postgresql://", "postgresql+asyncpg://")}


@contextlib.contextmanager
def _mongodb() -> Iterator[Environment]:
    with mongo.fresh_database() as url:
        yield {"SPATIAL_ETL_LEDGER__URL": url}


@contextlib.contextmanager
def _s3() -> Iterator[Environment]:
    server = s3.server("moto")
    yield {
        "SPATIAL_ETL_OBJECTS__BACKEND": "s3",
        "SPATIAL_ETL_OBJECTS__ENDPOINT": server.endpoint,
        "SPATIAL_ETL_OBJECTS__ACCESS_KEY": server.access_key,
        "SPATIAL_ETL_OBJECTS__SECRET_KEY": server.secret_key,
        "SPATIAL_ETL_OBJECTS__BUCKET_PREFIX": f"t{uuid4().hex[:10]}-",
    }


@contextlib.contextmanager
def _postgis() -> Iterator[Environment]:
    with postgres.fresh_database() as url:
        yield {"SPATIAL_ETL_ENGINE__NAME": "postgis", "SPATIAL_ETL_ENGINE__POSTGIS_URL": url}


Profile = Callable[[], contextlib.AbstractContextManager[Environment]]
PROFILES: dict[str, Profile] = {
    "embedded": _embedded, "postgresql": _postgresql, "mongodb": _mongodb, "s3": _s3, "postgis": _postgis,
}  # fmt: skip


def deaths(story: str, data_dir: Path, every: int = 1, **environment: str) -> dict[str, Any]:
    """What `tests.crash.campaign` finds in a service of its own."""
    data_dir.mkdir(parents=True)
    _write_grid(data_dir / "grid.tif")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("SPATIAL_ETL_", "MANIFEST_"))}
    settings = {"SPATIAL_ETL_DATA_DIR": str(data_dir), "SPATIAL_ETL_WORKER__THREADS": "1"}

    def run(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", *words],
            check=False, capture_output=True, text=True, cwd=ROOT, env={**clean, **settings, **environment},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-8000:]
        return done.stdout

    run("app", "migrate")
    return dict(json.loads(run("tests.crash.campaign", story, str(every))))


def _write_grid(path: Path) -> None:
    profile = {"driver": "GTiff", "width": 64, "height": 64, "count": 1, "dtype": "uint8", "crs": "EPSG:4326"}
    place = rasterio.transform.from_origin(5, 50, 0.1, 0.1)
    with rasterio.open(path, "w", transform=place, **profile) as grid:
        grid.write(numpy.arange(64 * 64, dtype="uint8").reshape(1, 64, 64))


def differences(found: dict[str, Any]) -> dict[str, Any]:
    """By the number and the name of the write that was not lived to see: what is left, and what should be."""
    right = found["undisturbed"]
    return {
        f"{name} ({found['writes'][int(name.rpartition('-')[2])]})": {
            what: {"left": left[what], "undisturbed": right[what]} for what in right if left[what] != right[what]
        }
        for name, left in found["died"].items()
        if left != right
    }


def check(found: dict[str, Any]) -> None:
    assert found["died"], "nobody died"
    assert found["undisturbed"]["manifests"] != [None]
    assert differences(found) == {}
    assert found["litter"] == []


def test_a_death_before_some_writes_of_a_run_changes_nothing(data_dir: Path) -> None:
    """The short form: every third write, from the first to the end of the run."""
    found = deaths("vector", data_dir, every=3)
    check(found)
    assert len(found["died"]) > 7


@pytest.mark.slow
@pytest.mark.parametrize("story", STORIES)
def test_a_death_before_any_write_changes_nothing(story: str, data_dir: Path) -> None:
    found = deaths(story, data_dir)
    check(found)
    assert len(found["died"]) == len(found["writes"])


@pytest.mark.slow
@pytest.mark.parametrize("profile", [name for name in PROFILES if name != "embedded"])
def test_nor_with_other_ledgers_stores_and_engines(profile: str, data_dir: Path) -> None:
    with PROFILES[profile]() as environment:
        found = deaths("vector", data_dir, **environment)
        check(found)
        assert len(found["died"]) == len(found["writes"])


def test_what_is_lost_is_found() -> None:
    """The comparison itself."""
    right = {"runs": [["success"]], "audit": [["accepted", 1]]}
    found = {"writes": ["commit"], "undisturbed": right, "died": {"story-0": {**right, "audit": []}}, "litter": []}
    assert differences(found) == {"story-0 (commit)": {"audit": {"left": [], "undisturbed": [["accepted", 1]]}}}
