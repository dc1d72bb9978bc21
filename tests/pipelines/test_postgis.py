"""The PostGIS engine beside the local one, feature by feature; and what it does to its server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely
from pydantic import SecretStr

from app.errors import EngineUnavailable, RunCanceled, RunRefused, TimeLimitExceeded
from app.models.base import new_id
from app.models.recipes.steps import MakeValid, Recipe, Reproject, Simplify
from app.pipelines.vector.engines.local import LocalEngine
from app.pipelines.vector.engines.postgis import PostgisEngine
from app.pipelines.vector.engines.postgis_access import DirectPostgis
from app.pipelines.vector.engines.postgis_copy import decode, encode
from app.pipelines.vector.formats.open import inspect
from app.settings import Limits
from app.storage.postgis.server import Postgis, RunSchema
from tests.pipelines.conftest import Bench, Result, Watch
from tests.pipelines.engines import SAME_DEGREES, assert_agree, assert_made_of
from tests.pipelines.test_engine import frame_of
from tests.pipelines.test_formats import many_types, put
from tests.servers.postgres import execute, fresh_database, start_server

# Counts that depend on which vertices GEOS keeps.
OF_THE_VERSION = {"simplified", "simplify_kept", "vertices_out"}
SIMPLIFYING = {"simplify": {"tolerance": 1e-4, "unit": "crs"}}


@pytest.fixture(scope="module")
def database() -> Iterator[str]:
    with fresh_database() as url:
        yield url


def engine_at(url: str, seconds: int = 60, patience: float = 0.0) -> PostgisEngine:
    return PostgisEngine(DirectPostgis(Postgis(SecretStr(url), seconds, patience), RunSchema(new_id(), 1)))


def both(bench: Bench, url: str, name: str, fmt: str, **more: Any) -> tuple[Result, Result]:
    recipe = more.pop("recipe", None)
    file = {"path": name, "format": fmt, **more}
    here = bench.run(file, recipe=recipe)
    here.path.rename(here.path.with_stem("local"))
    here.path = here.path.with_stem("local")
    return here, bench.run(file, engine=engine_at(url), recipe=recipe)


def assert_same_run(here: Result, there: Result, tolerance: float = 1e-4) -> None:
    """Everything but the geometries is the same; they agree."""
    mine, other = pq.read_table(here.path), pq.read_table(there.path)
    assert mine.schema.equals(other.schema, check_metadata=False)
    attributes = [name for name in mine.column_names if name not in ("geom", "bbox")]
    for name in attributes:
        assert mine.column(name).equals(other.column(name)), name
    a, b = (shapely.from_wkb(table.column("geom").to_numpy()) for table in (mine, other))
    assert_agree(b, a, there.product.engine, tolerance)
    counts = [{k: v for k, v in run.counts.items() if k not in OF_THE_VERSION} for run in (here, there)]
    assert counts[0] == counts[1]
    kept = [{k: told(*v) for k, v in run.watch.warnings.items() if k not in OF_THE_VERSION} for run in (here, there)]
    assert kept[0] == kept[1]
    for name in ("geometry_types", "rows_by_file"):
        assert here.product.statistics[name] == there.product.statistics[name]
    assert here.product.column_schema == there.product.column_schema
    assert here.product.geometry_type == there.product.geometry_type
    assert here.product.header_mapping == there.product.header_mapping


def told(message: str, count: int, samples: tuple[Any, ...]) -> tuple[str, int, list[Any]]:
    """A warning; reasons with the x and y that they name rounded, because versions of GEOS tell z or do not."""
    return message, count, [{**sample, **place(sample.get("reason", ""))} for sample in samples]


def place(reason: str) -> dict[str, Any]:
    what, _, numbers = reason.rstrip("]").partition("[")
    return {"reason": what, "at": [round(float(number), 6) for number in numbers.split()[:2]]}


def where(run: Result) -> dict[str, int]:
    found: dict[str, int] = run.product.statistics["rows_reprojected_in"]
    return found


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:3395", "EPSG:4258"])
def test_countries(bench: Bench, database: str, countries: geopandas.GeoDataFrame, crs: str) -> None:
    some = {"EPSG:4326": countries, "EPSG:4258": countries.cx[5:20, 45:55]}.get(
        crs, countries[countries["name"] != "Antarctica"]
    )
    moved = some.to_crs(crs)
    here, there = both(bench, database, put(bench, moved, "GeoParquet"), "GeoParquet")
    assert_same_run(here, there)
    found, before = there.frame.geometry.to_numpy(), moved.to_crs(4326).geometry.to_numpy()
    if crs != "EPSG:4258":
        assert_made_of(found, before)
    assert shapely.is_valid(found).all()
    assert shapely.area(found) == pytest.approx(shapely.area(here.frame.geometry.to_numpy()), rel=1e-3)


def test_a_projected_geopackage_goes_through_one_statement(
    bench: Bench, database: str, parcels: geopandas.GeoDataFrame
) -> None:
    here, there = both(bench, database, put(bench, parcels, "GPKG"), "GPKG")
    assert_same_run(here, there)
    assert where(there) == {"postgis": 600}
    assert there.counts["repaired"] == 2
    assert "Self-intersection" in there.watch.warnings["repaired"][2][0]["reason"]
    valid = shapely.is_valid(parcels.geometry.to_numpy())
    assert_made_of(there.frame.geometry[valid], parcels.to_crs(4326).geometry[valid])
    engine = there.product.engine
    assert engine["engine"] == "postgis"
    assert {"postgis", "geos", "proj", "gdal", "postgresql", "geos_in_process"} <= set(engine)
    assert engine["postgis"][0] == "3"


@pytest.mark.parametrize(
    "crs", ["EPSG:25832", "EPSG:32632", "EPSG:3035", "EPSG:2056", "EPSG:27700", "EPSG:31467", "EPSG:3857"]
)
def test_coordinates_are_those_of_proj_here(bench: Bench, database: str, crs: str) -> None:
    """Wherever the transformation runs; with points all over the area of use of the CRS."""
    from pyproj import CRS

    area = CRS(crs).area_of_use
    assert area is not None
    rng = np.random.default_rng(5)
    degrees = rng.uniform((area.west, max(area.south, -80)), (area.east, min(area.north, 80)), (2000, 2))
    frame = geopandas.GeoDataFrame({"i": range(2000)}, geometry=shapely.points(degrees), crs=4326).to_crs(crs)
    here, there = both(bench, database, put(bench, frame, "GeoParquet"), "GeoParquet")
    if there.watch.warnings.pop("reprojected_in_process", None):
        assert where(there) == {"process": 2000}
    assert_same_run(here, there)
    a, b = (shapely.get_coordinates(run.frame.geometry.to_numpy()) for run in (here, there))
    assert np.abs(a - b).max() <= SAME_DEGREES


def test_postgis_reprojects_where_it_agrees(bench: Bench, database: str) -> None:
    frame = frame_of("POINT (2600000 1200000)", "LINESTRING (2600000 1200000, 2600500 1200500)", crs=2056)
    _, there = both(bench, database, put(bench, frame, "GeoParquet"), "GeoParquet")
    assert where(there) == {"postgis": 2}


def test_a_server_that_places_points_elsewhere_is_found_out(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    """spatial_ref_sys is anybody's to edit: a false easting that is a metre off must not end up in the lake."""
    with fresh_database() as url:
        wrong = "+proj=utm +zone=32 +ellps=GRS80 +x_0=500001 +units=m +no_defs"
        tmerc = wrong.replace("+proj=utm +zone=32", "+proj=tmerc +lat_0=0 +lon_0=9 +k=0.9996")
        execute(url, f"UPDATE spatial_ref_sys SET auth_name='x', srtext='', proj4text='{tmerc}' WHERE srid=25832")  # noqa: S608 # constant
        here, there = both(bench, url, put(bench, parcels, "GPKG"), "GPKG")
    message, _, _ = there.watch.warnings.pop("reprojected_in_process")
    assert "EPSG:25832" in message
    assert where(there) == {"process": 600}
    assert_same_run(here, there)


def test_a_crs_without_a_code(bench: Bench, database: str, parcels: geopandas.GeoDataFrame) -> None:
    site = "+proj=laea +lat_0=51 +lon_0=9.5 +x_0=1000 +y_0=2000 +ellps=GRS80 +units=m +no_defs"
    here, there = both(bench, database, put(bench, parcels.to_crs(site), "GeoParquet"), "GeoParquet")
    assert_same_run(here, there)
    assert where(there) == {"process": 600}


def test_what_sql_has_no_word_for_is_done_here(bench: Bench, database: str) -> None:
    """A chunk that leaves the area of use, or reaches the antimeridian, comes out as from the local engine."""
    outside = frame_of("POINT (500000 5500000)", "POINT (800000 5800000)", crs=25832)
    pacific = geopandas.GeoDataFrame({"i": [0]}, geometry=[shapely.box(3e6, 0, 4e6, 2e5)], crs=3832)
    for frame in (outside, pacific):
        here, there = both(bench, database, put(bench, frame, "GeoParquet"), "GeoParquet")
        assert_same_run(here, there)
        assert where(there) == {"process": len(frame)}


ODD = (
    None,
    "POINT (9 50)",
    "POINT EMPTY",
    "POLYGON EMPTY",
    "LINESTRING (9 50, 9.00001 50, 9.1 50.1)",
    "MULTIPOINT ((9 50), (9.00001 50))",
    "MULTIPOLYGON (((9 50, 10 50, 10 51, 9 50)))",
    "MULTILINESTRING ((9 50, 10 50))",
    "GEOMETRYCOLLECTION (POINT (9 50), LINESTRING (9 50, 9.5 50.00001, 10 50))",
    "POLYGON ((9 50, 11 52, 11 50, 9 52, 9 50))",
    "POLYGON ((9 50, 10 50, 9 50, 9 50))",
    None,
)


@pytest.mark.parametrize("crs", [4326, 3857, 25832])
def test_nulls_empties_and_mixtures(bench: Bench, database: str, crs: int) -> None:
    frame = frame_of(*ODD).to_crs(crs)
    here, there = both(bench, database, put(bench, frame, "GeoParquet"), "GeoParquet")
    assert_same_run(here, there)
    assert there.counts["rows_out"] == len(ODD)
    assert (there.counts["null_geometries"], there.counts["empty_geometries"]) == (2, 2)


@pytest.mark.parametrize("crs", [4326, 25832])
def test_heights(bench: Bench, database: str, crs: int) -> None:
    frame = frame_of(
        "POINT Z (9 50 7.5)",
        "LINESTRING Z (9 50 1, 9.00001 50 2, 9.2 50 3)",
        "POLYGON Z ((9 50 1, 10 50 2, 10 51 3, 9 51 4, 9 50 1))",
        "POLYGON Z ((9 50 1, 11 52 2, 11 50 3, 9 52 4, 9 50 1))",
        "POINT (9 50)",
    ).to_crs(crs)
    here, there = both(bench, database, put(bench, frame, "GeoParquet"), "GeoParquet")
    assert_same_run(here, there)
    for row in (0, 1, 2):
        z = [shapely.get_coordinates(run.frame.geometry.iloc[row], include_z=True)[:, 2] for run in (here, there)]
        assert z[0].tolist() == z[1].tolist()


def test_attributes_do_not_travel(bench: Bench, database: str) -> None:
    """Wide integers, bytes, times with zone, NaN beside null, and NUL characters, which PostgreSQL has no room for."""
    frame = many_types()
    frame["text"] = ["a\0b", None, "\\N"]
    assert_same_run(*both(bench, database, put(bench, frame, "GeoParquet"), "GeoParquet"))


def test_simplification_that_breaks_a_polygon_is_taken_back(bench: Bench) -> None:
    """No input is known that GEOS simplifies so: the function is replaced by one that always gives a bow tie."""
    ring = "POLYGON ((9 50, 9.5 50.2, 10 50, 10 51, 9.5 51.2, 9 50))"
    with fresh_database() as url:
        execute(
            url,
            "CREATE OR REPLACE FUNCTION ST_SimplifyPreserveTopology(geometry, double precision) RETURNS geometry "
            "LANGUAGE sql IMMUTABLE AS $$ SELECT 'POLYGON ((0 0, 1 1, 1 0, 0 1, 0 0))'::geometry $$",
        )
        name = put(bench, frame_of(ring), "GeoParquet")
        found = bench.run({"path": name, "format": "GeoParquet"}, engine=engine_at(url), recipe=SIMPLIFYING)
    assert (found.counts["simplify_kept"], found.counts["simplified"]) == (1, 0)
    assert found.frame.geometry.iloc[0].equals_exact(shapely.from_wkt(ring))
    assert found.watch.warnings["simplify_kept"][2] == ({"file": name, "row": 0},)


def test_ragged_rings_stay_valid(bench: Bench, database: str) -> None:
    rng = np.random.default_rng(11)
    made = [spiral(rng) for _ in range(400)]
    frame = geopandas.GeoDataFrame({"i": range(400)}, geometry=made, crs=4326)
    here, there = both(bench, database, put(bench, frame, "GeoParquet"), "GeoParquet", recipe=SIMPLIFYING)
    assert here.counts["vertices_out"] < here.counts["vertices_in"]
    for name, size in here.product.statistics["geometry"].items():
        wanted = size if name == "unit" else pytest.approx(size, rel=1e-9 if name.endswith("before") else 0.02)
        assert there.product.statistics["geometry"][name] == wanted
    assert shapely.is_valid(there.frame.geometry.to_numpy()).all()


def spiral(rng: np.random.Generator) -> shapely.Polygon:
    angles = np.sort(rng.uniform(0, 2 * np.pi, 60))
    radius = rng.uniform(2e-5, 3e-4, 60)
    return shapely.Polygon(np.column_stack([9 + radius * np.cos(angles), 50 + radius * np.sin(angles)]))


RECIPES = [
    Recipe("move", (Reproject(),)),
    Recipe("mend", (MakeValid(),)),
    Recipe("nothing", ()),
    Recipe("there and back", (Reproject("EPSG:3857"), Simplify(5.0), Reproject("EPSG:4326"), MakeValid())),
]


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_other_recipes(
    bench: Bench, database: str, parcels: geopandas.GeoDataFrame, recipe: Recipe, tmp_path: Path
) -> None:
    declared = bench.context({"path": put(bench, parcels, "GPKG"), "format": "GPKG"})
    fetched = declared.fetch(declared.manifest.files[0])
    found = []
    for name, engine in (("local", LocalEngine()), ("postgis", engine_at(database))):
        target = tmp_path / f"{name}.parquet"
        found.append(engine.run(inspect(fetched, Limits(), 2), recipe, target, Watch(), 2))
        assert shapely.from_wkb(pq.read_table(target).column("geom").to_numpy()).shape == (600,)
    a, b = (
        shapely.from_wkb(pq.read_table(tmp_path / f"{n}.parquet").column("geom").to_numpy())
        for n in ("local", "postgis")
    )
    assert found[0].crs == found[1].crs
    if not any(isinstance(step, Simplify) for step in recipe.steps):
        same = shapely.equals_exact(a, b, SAME_DEGREES)
        broken = ~shapely.is_valid(parcels.geometry.to_numpy())
        assert (same | broken).all()
        repaired = shapely.normalize(a[broken]), shapely.normalize(b[broken])
        assert shapely.equals_exact(*repaired, 1e-6).all()
    else:
        assert (shapely.hausdorff_distance(a, b) < 2e-4).all()


def test_bytes_depend_on_the_input_only(bench: Bench, database: str, parcels: geopandas.GeoDataFrame) -> None:
    name = put(bench, parcels, "GPKG")
    hashes = {
        bench.run({"path": name, "format": "GPKG"}, threads=n, engine=engine_at(database)).asset.content_hash
        for n in (1, 2, 4)
    }
    assert len(hashes) == 1


def test_copy_format() -> None:
    wkb = pa.array([b"abc", None, b""], pa.binary())
    rows = encode(np.array([0, 1, 2], np.int32), wkb)
    assert rows[:11] == b"PGCOPY\n\xff\r\n\0"
    assert rows[19:36] == b"\0\2\0\0\0\4\0\0\0\0\0\0\0\3abc"
    assert rows[36:50] == b"\0\2\0\0\0\4\0\0\0\1\xff\xff\xff\xff"
    assert rows.endswith(b"\0\0\0\0\xff\xff")
    sliced = encode(np.array([7], np.int32), wkb.slice(0, 1))
    assert sliced[19 + 6 : 19 + 10] == b"\0\0\0\7"
    for broken in (b"", rows, rows[:-1]):
        with pytest.raises(ValueError, match="COPY"):
            decode(broken)


def stars() -> geopandas.GeoDataFrame:
    """Rings that cross themselves so often that PostGIS needs half a minute or more to repair them all."""
    rng = np.random.default_rng(1)
    made = [shapely.Polygon(rng.uniform((9, 50), (10, 51), (70, 2))) for _ in range(400)]
    return geopandas.GeoDataFrame({"i": range(400)}, geometry=made, crs=4326)


def left(url: str, schema: RunSchema) -> tuple[int, int]:
    """(connections, schemas) of this attempt."""
    sessions = [name for (name,) in execute(url, "SELECT application_name FROM pg_stat_activity")]
    schemas = [name for (name,) in execute(url, "SELECT nspname FROM pg_namespace")]
    return sessions.count(schema.application), schemas.count(schema.name)


def gone(url: str, schema: RunSchema) -> bool:
    """Nothing of the attempt is left; a session that was told to end takes a moment."""
    deadline = time.monotonic() + 3
    while left(url, schema) != (0, 0) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left(url, schema) == (0, 0)


def busy(url: str, schema: RunSchema) -> bool:
    query = "SELECT application_name FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%ST_MakeValid%'"
    return (schema.application,) in execute(url, query)


@dataclass
class Stopping(Watch):
    """Raises once `when` is true."""

    when: Callable[[], bool] = lambda: False
    stopped_at: float = 0.0

    def advance(self, rows_done: int, rows_total: int | None) -> None:  # noqa: ARG002 # the protocol's
        if self.when():
            self.stopped_at = time.monotonic()
            raise RunCanceled("stop")


def test_cancel_in_the_midst_of_a_statement(bench: Bench, database: str) -> None:
    engine = engine_at(database)
    watch = Stopping(when=lambda: busy(database, engine.access.schema))
    with pytest.raises(RunCanceled):
        bench.run({"path": put(bench, stars(), "GeoParquet"), "format": "GeoParquet"}, engine=engine, watch=watch)
    assert watch.stopped_at, "the statement was never seen at work"
    assert time.monotonic() - watch.stopped_at < 5
    assert gone(database, engine.access.schema)
    assert not [t for t in threading.enumerate() if t.name.startswith("transform")]


def test_statement_time_out(bench: Bench, database: str) -> None:
    engine = engine_at(database, seconds=1)
    name = put(bench, stars(), "GeoParquet")
    with pytest.raises(TimeLimitExceeded) as caught:
        bench.run({"path": name, "format": "GeoParquet"}, engine=engine)
    assert name in caught.value.detail
    assert "rows 0 to 399" in caught.value.detail
    assert "STATEMENT_SECONDS" in caught.value.detail
    assert gone(database, engine.access.schema)


def test_success_and_refusal_leave_nothing(bench: Bench, database: str, parcels: geopandas.GeoDataFrame) -> None:
    engine = engine_at(database)
    seen: list[tuple[int, int]] = []
    watch = Stopping(when=lambda: bool(seen.append(left(database, engine.access.schema))))
    bench.run({"path": put(bench, parcels, "GPKG"), "format": "GPKG"}, engine=engine, watch=watch)
    assert (3, 1) in seen, "control and two threads"
    assert gone(database, engine.access.schema)
    far = frame_of("POINT (1e300 1e300)", crs=25832)
    with pytest.raises(RunRefused) as caught:
        bench.run({"path": put(bench, far, "GeoParquet"), "format": "GeoParquet"}, engine=engine)
    assert caught.value.reason == "coordinates_not_transformable"
    assert gone(database, engine.access.schema)


def test_the_next_attempt_ends_the_one_before(bench: Bench, database: str) -> None:
    """A job that was taken for dead still computes: its schema is its own, and goes when the next attempt starts."""
    zombie = engine_at(database)
    name = put(bench, stars(), "GeoParquet")
    errors: list[Exception] = []

    def run() -> None:
        try:
            bench.run({"path": name, "format": "GeoParquet"}, engine=zombie)
        except EngineUnavailable as err:
            errors.append(err)

    thread = threading.Thread(target=run)
    thread.start()
    deadline = time.monotonic() + 20
    while not busy(database, zombie.access.schema) and time.monotonic() < deadline:
        time.sleep(0.05)
    other = Bench(bench.landing.parent / "other") if (bench.landing.parent / "other").mkdir() is None else bench
    point = put(other, frame_of("POINT (9 50)"), "GeoParquet")
    again = replace(zombie, access=replace(zombie.access, schema=RunSchema(zombie.access.schema.run_id, 2)))
    assert other.run({"path": point, "format": "GeoParquet"}, engine=again).counts["rows_out"] == 1
    thread.join(20)
    assert len(errors) == 1
    assert gone(database, zombie.access.schema)


SECRET = "s3cret%23word"  # noqa: S105 # nobody's


@pytest.mark.parametrize(
    "url",
    [
        f"postgresql://postgres:{SECRET}@127.0.0.1:1/postgres",
        f"postgresql://postgres:{SECRET}@127.0.0.1:{SECRET}/postgres",
        f"mysql://postgres:{SECRET}@127.0.0.1/postgres",
        f"postgresql+asyncpg://postgres:{SECRET}@127.0.0.1/postgres",
        f"postgresql://postgres:{SECRET}@[::1/postgres",
    ],
)
def test_a_server_that_is_not_there(bench: Bench, url: str, caplog: pytest.LogCaptureFixture) -> None:
    name = put(bench, frame_of("POINT (9 50)"), "GeoParquet")
    with pytest.raises(EngineUnavailable) as caught:
        bench.run({"path": name, "format": "GeoParquet"}, engine=engine_at(url))
    assert caught.value.fix
    for text in (str(caught.value), caplog.text, repr(engine_at(url)), repr(caught.value)):
        assert "s3cret" not in text


def test_databases_that_cannot_be_used(bench: Bench) -> None:
    name = put(bench, frame_of("POINT (9 50)"), "GeoParquet")
    file = {"path": name, "format": "GeoParquet"}
    with fresh_database(postgis=False) as url, pytest.raises(EngineUnavailable, match="CREATE EXTENSION"):
        bench.run(file, engine=engine_at(url))
    with pytest.raises(EngineUnavailable, match="InvalidCatalogName"):
        bench.run(file, engine=engine_at(url))
    role = f"reader_{new_id()[:8]}"
    with fresh_database() as url:
        execute(url, f"CREATE ROLE {role} LOGIN PASSWORD 's3cret'")
        try:
            limited = url.replace("postgres@", f"{role}:s3cret@").replace("postgres:s", f"{role}:s")
            with pytest.raises(EngineUnavailable, match="CREATE on its database"):
                bench.run(file, engine=engine_at(limited))
            execute(url, f'GRANT CREATE ON DATABASE "{url.rsplit("/", 1)[1]}" TO {role}')
            assert bench.run(file, engine=engine_at(limited)).counts["rows_out"] == 1
        finally:
            execute(url, f"DROP OWNED BY {role}")
            execute(url, f"DROP ROLE {role}")


def test_a_server_that_dies_in_mid_run(bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    """The attempt fails as one that may be tried again, and the next one waits for the server to come back."""
    server = start_server()
    execute(server.url, "CREATE EXTENSION postgis")
    engine = engine_at(server.url, patience=20)
    name = put(bench, parcels, "GPKG")

    def die() -> bool:
        server.stop()
        return False

    with pytest.raises(EngineUnavailable) as caught:
        bench.run(
            {"path": put(bench, stars(), "GeoParquet", "star"), "format": "GeoParquet"},
            engine=engine,
            watch=Stopping(
                when=lambda: server.process is not None and busy(server.url, engine.access.schema) and die()
            ),
        )
    assert "PostGIS" in caught.value.detail
    again = replace(engine, access=replace(engine.access, schema=RunSchema(engine.access.schema.run_id, 2)))
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(bench.run, {"path": name, "format": "GPKG"}, engine=again)
        time.sleep(1.5)
        assert not run.done()
        server.start()
        assert run.result(60).counts["rows_out"] == 600
    ((schemas,),) = execute(server.url, r"SELECT count(*) FROM pg_namespace WHERE nspname LIKE 'proc\_%'")
    assert schemas == 0
    server.stop()
