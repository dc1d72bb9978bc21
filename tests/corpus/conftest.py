"""A landing zone and a lake for each case, and the readers that are not the service's own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import duckdb
import duckdb_ext
import pytest

from tests.pipelines.conftest import Bench


@pytest.fixture
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Bench:
    """With the local engine, or the one that a test is parametrized with."""
    return Bench(tmp_path, getattr(request, "param", "local"))


@pytest.fixture(scope="session")
def db() -> Iterator[duckdb.DuckDBPyConnection]:
    """DuckDB with its spatial extension, which it shall not apply by itself."""
    with duckdb_ext.init(duckdb.connect(config={"autoload_known_extensions": False})) as opened:
        opened.execute("LOAD spatial")
        opened.execute("SET enable_geoparquet_conversion = false")
        yield opened
