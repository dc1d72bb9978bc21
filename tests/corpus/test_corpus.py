"""The corpus: every case through the real pipelines, its outcome read back by other readers than the service's own."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import duckdb
import geopandas
import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio
import shapely

from app.errors import RunRefused
from app.pipelines.raster import pipeline as raster
from app.pipelines.tabular import pipeline as tabular
from app.pipelines.vector import pipeline as vector
from tests.corpus.attributes import ATTRIBUTES
from tests.corpus.case import Case, Features, Grid, Refused, Table
from tests.corpus.delimited import CSV
from tests.corpus.grids import GRIDS, LOSSY
from tests.corpus.names import TABLES
from tests.corpus.sheets import SHEETS
from tests.corpus.traps import TRAPS
from tests.pipelines.conftest import Bench, Context
from tests.pipelines.engines import ENGINES

CASES = [*CSV, *SHEETS, *ATTRIBUTES, *TRAPS, *TABLES, *GRIDS]
PIPELINES = {"tabular": tabular.run, "vector": vector.run, "raster": raster.run}


def _ids(cases: Iterable[Case]) -> list[str]:
    return [case.id for case in cases]


def of(kind: str) -> Any:
    chosen = [case for case in CASES if case.type == kind]
    return pytest.mark.parametrize("case", chosen, ids=_ids(chosen))


def test_the_table_is_large_and_its_names_are_different() -> None:
    assert len(set(_ids(CASES))) == len(CASES) >= 120


def run(bench: Bench, case: Case) -> Context | None:
    """The run, or None where it was refused as the case wants it."""
    entry = {"path": case.put(bench.landing), "format": case.format, "type": case.type, **case.more}
    ctx = bench.context(entry, intent=f"ingest_{case.type}")
    if not isinstance(case.wanted, Refused):
        PIPELINES[case.type](ctx)
        assert set(ctx.watch.warnings) == case.wanted.warns
        return ctx
    with pytest.raises(RunRefused) as caught:
        PIPELINES[case.type](ctx)
    assert caught.value.reason == case.wanted.code, caught.value
    assert entry["path"] in caught.value.detail
    assert caught.value.fix
    assert not list(bench.lake.iterdir())
    return None


def path_of(ctx: Context) -> Path:
    assert ctx.product is not None
    return ctx.product.path


@of("tabular")
def test_tables(bench: Bench, db: duckdb.DuckDBPyConnection, case: Case) -> None:
    ctx = run(bench, case)
    if ctx is None or ctx.product is None:
        return
    assert isinstance(case.wanted, Table)
    check_columns(ctx.product.path, db, case.wanted)
    aside = ctx.product.companions.get("quarantine.parquet")
    found = [(each["line"], each["reason"]) for each in pq.read_table(aside).to_pylist()] if aside else []
    assert found == list(case.wanted.aside)


@of("vector")
def test_layers(bench: Bench, db: duckdb.DuckDBPyConnection, case: Case) -> None:
    ctx = run(bench, case)
    if ctx is not None:
        check_layer(ctx, db, case.wanted)


# Attributes never reach PostGIS, nor do files that are refused before their first row is read.
OTHER_ENGINES = [engine for engine in ENGINES if engine != "local"]
# PostGIS reads no ring of fewer than four positions; it says so, and that the local engine does.
LOCAL_ONLY = ("ring of two positions",)
SHAPED = [case for case in (*TRAPS, *TABLES) if isinstance(case.wanted, Features) and case.name not in LOCAL_ONLY]


@pytest.mark.parametrize("bench", OTHER_ENGINES, indirect=True)
@pytest.mark.parametrize("case", SHAPED, ids=_ids(SHAPED))
def test_layers_with_other_engines(bench: Bench, db: duckdb.DuckDBPyConnection, case: Case) -> None:
    ctx = run(bench, case)
    assert ctx is not None
    check_layer(ctx, db, case.wanted)


@of("raster")
def test_grids(bench: Bench, case: Case) -> None:
    ctx = run(bench, case)
    if ctx is None or ctx.product is None:
        return
    wanted = case.wanted
    assert isinstance(wanted, Grid)
    with rasterio.open(ctx.product.path) as dataset:
        found = dataset.read()
        assert (found.shape, found.dtype) == (wanted.pixels.shape, wanted.pixels.dtype)
        assert found.tobytes() == np.ascontiguousarray(wanted.pixels).tobytes()
        np.testing.assert_equal(None if dataset.nodata is None else float(dataset.nodata), wanted.nodata)
        for name, value in wanted.says.items():
            said = getattr(dataset, name)
            assert said.almost_equals(value, 1e-9) if name == "transform" else said == value, (name, said)
    bands = ctx.product.statistics["bands"]
    valid = np.broadcast_to(wanted.valid, found.shape)
    for band, values, counted in zip(bands, found, valid, strict=True):
        if band["interpretation"] == "alpha":
            continue
        # Statistics leave out what is beyond what is ever measured, and the run warns of it.
        numbers = values[counted & ~(np.isfinite(values) & (np.abs(values.astype(float)) > 1e38))]
        assert (band["valid"], band["min"], band["max"]) == (numbers.size, numbers.min(), numbers.max())


@pytest.mark.parametrize(("put", "fmt", "more"), [each[1:] for each in LOSSY], ids=[each[0] for each in LOSSY])
def test_what_a_lossy_raster_decodes_to_is_kept(bench: Bench, put: Any, fmt: str, more: dict[str, Any]) -> None:
    key = put(bench.landing)
    with rasterio.open(bench.landing / key) as source:
        wanted = source.read()
    ctx = bench.context({"path": key, "format": fmt, "type": "raster", **more}, intent="ingest_raster")
    raster.run(ctx)
    with rasterio.open(path_of(ctx)) as made:
        assert made.read().tobytes() == wanted.tobytes()


def check_columns(path: Path, db: duckdb.DuckDBPyConnection, wanted: Table) -> None:
    """Types as pyarrow, values as DuckDB reads them."""
    types = {column.name: str(column.type).replace(" not null", "") for column in pq.read_schema(path)}
    if isinstance(wanted, Features):
        types = {name: kind for name, kind in types.items() if name in wanted.columns or not wanted.is_partial}
        types = {name: kind for name, kind in types.items() if name not in _added(path)}
    assert types == {name: kind for name, (kind, _) in wanted.columns.items()}
    found = db.execute("FROM read_parquet(?)", [str(path)]).fetch_arrow_table().to_pydict()
    assert {name: found[name] for name in types} == {name: list(values) for name, (_, values) in wanted.columns.items()}


def _added(path: Path) -> tuple[str, str]:
    """The geometry and its boxes, which stand behind the attributes."""
    *_, geometry, box = pq.read_schema(path).names
    return geometry, box


def check_layer(ctx: Context, db: duckdb.DuckDBPyConnection, wanted: Any) -> None:
    assert isinstance(wanted, Features)
    assert ctx.product is not None
    path, counts = ctx.product.path, ctx.product.counts
    check_columns(path, db, wanted)
    frame = geopandas.read_parquet(path)
    assert frame.crs == "EPSG:4326"
    assert counts["rows_in"] == counts["rows_out"] == len(frame)
    assert {name: counts.get(name, 0) for name in wanted.counts} == wanted.counts
    found = frame.geometry.to_numpy()
    query = "SELECT ST_AsWKB(ST_GeomFromWKB(geom)) FROM read_parquet(?)"
    other = [row[0] and bytes(row[0]) for row in db.execute(query, [str(path)]).fetchall()]
    assert shapely.equals_identical(shapely.from_wkb(other), found)[~shapely.is_missing(found)].all()
    if wanted.geometry is not None:
        check_geometry(found, wanted)


def check_geometry(found: Any, wanted: Features) -> None:
    meant = np.array([None if text is None else shapely.from_wkt(text) for text in wanted.geometry or ()], object)
    assert len(found) == len(meant)
    for mine, theirs in zip(shapely.normalize(found), shapely.normalize(meant), strict=True):
        if theirs is None:
            assert mine is None
            continue
        assert (mine.geom_type, mine.has_z, mine.is_empty) == (theirs.geom_type, theirs.has_z, theirs.is_empty)
        assert mine.equals_exact(theirs, wanted.slack), f"{mine} is not {theirs}"
        if mine.has_z:
            heights = [shapely.get_coordinates(each, include_z=True)[:, 2] for each in (mine, theirs)]
            np.testing.assert_allclose(*heights, atol=1e-6)
