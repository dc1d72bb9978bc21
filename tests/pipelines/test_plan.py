"""What an engine says of its work before it reads a row, over every engine; and why columns are text."""

from __future__ import annotations

from pathlib import Path

import geopandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.errors import RunRefused
from app.pipelines.contract.engine import EngineDescription
from app.pipelines.tabular.inferred_types import ALL_KINDS, TEXT_ONLY
from app.pipelines.tabular.notation import PLAIN
from app.pipelines.tabular.plan import _why_text
from app.pipelines.vector.formats.open import inspect
from tests.pipelines.conftest import Bench
from tests.pipelines.engines import ENGINES


@pytest.fixture(params=ENGINES)
def engine_bench(tmp_path: Path, request: pytest.FixtureRequest) -> Bench:
    return Bench(tmp_path, request.param)


def describe(bench: Bench, *files: str) -> EngineDescription:
    context = bench.context(*({"path": file, "format": "GPKG"} for file in files))
    sources = [source for file in context.manifest.files for source in inspect(context.fetch(file), context.limits, 2)]
    assert context.manifest.recipe is not None
    return context.engine.describe(sources, context.manifest.recipe.steps("r"))


def test_an_engine_foresees_what_it_then_says(engine_bench: Bench, parcels: geopandas.GeoDataFrame) -> None:
    frame = parcels.rename(columns={"area": "geom"})
    frame.to_file(engine_bench.landing / "p.gpkg", driver="GPKG", engine="pyogrio", GEOMETRY_NAME="shape")
    found = describe(engine_bench, "p.gpkg")
    result = engine_bench.run({"path": "p.gpkg", "format": "GPKG"})
    assert found.crs == result.product.crs == "EPSG:4326"
    assert found.column_schema == result.product.column_schema
    assert found.header_mapping == result.product.header_mapping
    assert [code for code, _ in found.warnings[0]] == [
        code for code in result.watch.warnings if code in ("datum_grid_missing", "reprojected_in_process")
    ]
    text = "".join(found.statements)
    if engine_bench.engine == "postgis":
        for word in (
            "ST_Transform(ST_SetSRID(g, 25832), 4326)",
            "ST_MakeValid",
        ):
            assert word in text
        assert result.product.statistics["rows_reprojected_in"] == {"postgis": 600}
    else:
        assert text == ""


def test_files_that_differ_are_refused_before_a_row_is_read(
    engine_bench: Bench, parcels: geopandas.GeoDataFrame
) -> None:
    parcels.to_file(engine_bench.landing / "p.gpkg", driver="GPKG", engine="pyogrio")
    parcels.drop(columns="count").to_file(engine_bench.landing / "q.gpkg", driver="GPKG", engine="pyogrio")
    with pytest.raises(RunRefused) as caught:
        describe(engine_bench, "p.gpkg", "q.gpkg")
    assert caught.value.reason == "schema_mismatch"


@pytest.mark.parametrize("rows", [1, 65_535, 65_536, 70_000, 131_073])
def test_the_value_that_made_a_column_text_is_found_wherever_it_is(tmp_path: Path, rows: int) -> None:
    values = {
        "late": ["1"] * (rows - 1) + ["x"],
        "zero": [None] * (rows - 1) + ["012"],
        "mixed": ["1"] * (rows - 1) + ["2026-01-01"] if rows > 1 else ["?"],
        "none": [None] * rows,
        "stored as text": ["1"] * rows,
    }
    table = pa.table({name: pa.array(column, pa.string()) for name, column in values.items()})
    pq.write_table(table, tmp_path / "t.parquet")
    kinds = dict.fromkeys(values, (ALL_KINDS, PLAIN)) | {"stored as text": (TEXT_ONLY, PLAIN)}
    mixed = "'2026-01-01' is date, values before it are int64"
    assert _why_text(tmp_path / "t.parquet", kinds) == {
        "late": "'x' is not a number, date, time or boolean in a recognized form",
        "zero": "'012' would lose its leading zeros as a number",
        "mixed": mixed if rows > 1 else "'?' is not a number, date, time or boolean in a recognized form",
        "none": "the column has no values",
        "stored as text": "the source stores it as text",
    }
