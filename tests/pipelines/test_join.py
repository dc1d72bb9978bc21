"""Joins against plain Python: which rows, in which order, with which keys, types, names and geometries."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import geopandas
import jsonschema
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from app.errors import RunCanceled, RunRefused
from app.models.asset import ColumnSchema, ParentInput
from app.pipelines.join import match as join_pairs
from app.pipelines.join.match import JoinResources, KeyColumn, KeyMatches
from app.settings import Limits
from tests.pipelines.conftest import Watch
from tests.pipelines.joins import JoinContext, Lake, key_of, pairs_of, points

HOWS = ("left", "inner", "right", "outer")
D = Decimal
BERLIN = timezone(timedelta(hours=2))
MOMENT = datetime(2026, 7, 1, 12, 30, 5, 250_000)  # noqa: DTZ001 # with a zone or without, as the column has it  # noqa: DTZ001 # with a zone or without, as the column has it

# name: tabular keys, spatial keys (each an Arrow array). Every pair has matches, misses and doubles.
KEYS: dict[str, tuple[pa.Array, pa.Array]] = {
    "text with blanks": (
        pa.array(["a", " b", "b ", "\u00a0c\t", "", "  ", None, "A", "ä", "x\x00y", "z"]),
        pa.array(["b", "a ", "c", None, "", "ä", "d", "b", "x", "a"], pa.large_string()),
    ),
    "int and text": (pa.array([1, 2, 2, None, -7, 10**17]), pa.array(["2", " 1", "007", "7", "-7", None, "1.0"])),
    "text and int": (pa.array(["1", "01", " 2 ", "x", None, "3"]), pa.array([3, 1, 2, 2, 99, None], pa.uint8())),
    "float and text": (
        pa.array([5.0, -0.0, 0.1, 1e17, 1e-10, float("nan"), None, 2.5, float("inf")]),
        pa.array(["5", "5.0", "0", "0.1", "100000000000000000", "0.0000000001", "nan", "inf", "2.50"]),
    ),
    "int and float": (pa.array([5, 0, 2**60, 7, None]), pa.array([5.0, -0.0, 2.0**60, 7.5, float("nan"), 8.0])),
    "float32 and float64": (pa.array([0.1, 2.0, 16777217.0], pa.float32()), pa.array([0.1, 2.0, 16777216.0])),
    "decimals and text": (
        pa.array([D("1.10"), D("5.00"), D("0.25"), None, D("-1.10")], pa.decimal128(18, 2)),
        pa.array(["1.10", "1.1", "5", "5.00", "-1.10", ".25"]),
    ),
    "decimals and numbers": (
        pa.array([D("1.10"), D("5.00"), D("0.0000000001"), D("100.00"), D("0.00"), None], pa.decimal128(30, 10)),
        pa.array([1.1, 5.0, 1e-10, 100.0, -0.0, 7.25, None]),
    ),
    "decimals of two scales": (
        pa.array([D("1.10"), D("7.00"), D("8.25")], pa.decimal128(18, 2)),
        pa.array([D("1.1"), D("7.0"), D("9.5")], pa.decimal256(50, 1)),
    ),
    "dates and text": (
        pa.array([date(2026, 1, 2), date(1, 1, 1), None, date(2026, 1, 3)]),
        pa.array(["2026-01-02", "2026-1-3", "0001-01-01", "2.1.2026", "2026-02-30"]),
    ),
    "booleans and text": (pa.array([True, False, None, True]), pa.array(["true", "TRUE", "false", "1", None])),
    "moments of two units": (
        pa.array([MOMENT, MOMENT.replace(microsecond=0), None], pa.timestamp("ms")),
        pa.array([MOMENT, MOMENT.replace(microsecond=0), MOMENT.replace(microsecond=1)], pa.timestamp("us")),
    ),
    "moments of two zones": (
        pa.array([MOMENT.replace(tzinfo=UTC), MOMENT.replace(tzinfo=BERLIN)], pa.timestamp("us", "Europe/Berlin")),
        pa.array([MOMENT.replace(tzinfo=UTC), datetime(1969, 1, 1, tzinfo=UTC)], pa.timestamp("ns", "UTC")),
    ),
    "moments and text": (
        pa.array([MOMENT.replace(tzinfo=UTC), datetime(2026, 1, 1, tzinfo=UTC)], pa.timestamp("ms", "UTC")),
        pa.array(["2026-07-01T12:30:05.25Z", "2026-01-01T00:00:00Z", "2026-01-01T00:00:00", "now"]),
    ),
    "times and text": (
        pa.array([time(12, 30), time(12, 30, 0, 500_000), None], pa.time64("us")),
        pa.array(["12:30:00", "12:30:00.5", "12:30"]),
    ),
    "dictionaries": (
        pa.array(["a", "b", None, "a", "z"]).dictionary_encode(),
        pa.array(["b", "a", "c", "b"]).cast(pa.dictionary(pa.int8(), pa.large_string())),
    ),
    "nothing but nulls": (pa.nulls(3), pa.array(["a", None])),
}  # fmt: skip
# Doubles on both sides, enough rows for several batches and row groups.
RNG = np.random.default_rng(5)
KEYS["many"] = (
    pa.array([f"{n:03d}" if n % 9 else None for n in RNG.integers(0, 400, 700)]),
    pa.array([f" {n:03d}" for n in RNG.integers(100, 600, 500)]),
)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path)


def both(lake: Lake, left: pa.Array, right: pa.Array) -> None:
    lake.tabular(pa.table({"left_no": pa.array(range(len(left))), "k": left}))
    lake.spatial(pa.table({"k": right, "right_no": pa.array(range(len(right)))}), points(len(right)))


def is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)


def python(values: pa.Array) -> list[Any]:
    """A float32 as the number that its shortest digits say."""
    if values.type == pa.float32():
        return [float(str(np.float32(value))) for value in values.to_pylist()]
    found: list[Any] = values.to_pylist()
    return found


def same(a: Any, b: Any) -> bool:
    return (a != a and b != b) or (a == b and type(a) is type(b))  # noqa: PLR0124 # not a number


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", KEYS)
def test_rows_and_keys(lake: Lake, name: str, how: str) -> None:
    left, right = KEYS[name]
    both(lake, left, right)
    numbers = is_number(left.type) and is_number(right.type)
    ours, theirs = left.to_pylist(), right.to_pylist()
    left_keys = [key_of(value, numbers=numbers) for value in python(left)]
    right_keys = [key_of(value, numbers=numbers) for value in python(right)]
    expected = pairs_of(left_keys, right_keys, how)
    if not expected:
        with pytest.raises(RunRefused) as caught:
            lake.join(how=how, spatial_columns=["right_no"])
        assert caught.value.reason == "no_rows"
        return
    done = lake.join(how=how, spatial_columns=["right_no"])
    rows = done.rows
    assert [(row["left_no"], row["right_no"]) for row in rows] == expected
    assert done.table.schema.field("k").type == left.type
    lost = 0
    for row, (i, j) in zip(rows, expected, strict=True):
        wanted_shape = None if j is None else shapely.Point(j, -j / 4)
        assert (shapely.from_wkb(row["geom"]) if row["geom"] else None) == wanted_shape
        if i is not None:
            assert same(row["k"], ours[i])
        elif left.type == right.type:
            assert same(row["k"], theirs[j])
        else:  # the same key as on the other side, or none
            assert row["k"] is None or key_of(row["k"], numbers=numbers) == right_keys[j]
            lost += row["k"] is None and right_keys[j] is not None
    assert done.watch.warnings.get("keys_not_kept", ("", 0, ()))[1] == lost
    counts = done.made.counts
    assert (counts["rows_in"], counts["rows_spatial"], counts["rows_out"]) == (len(ours), len(theirs), len(expected))
    for role, mine, others in (("tabular", left_keys, right_keys), ("spatial", right_keys, left_keys)):
        known = [key for key in mine if key is not None]
        missing, unmatched = len(mine) - len(known), sorted(key for key in known if key not in others)
        twice = sorted({key for key in known if known.count(key) > 1}, key=lambda key: (-known.count(key), key))
        for what, number, samples in (
            ("keys_missing", missing, ()), ("rows_unmatched", len(unmatched), tuple(dict.fromkeys(unmatched))[:5]),
            ("keys_duplicated", len(twice), tuple(twice[:5])),
        ):  # fmt: skip
            assert counts[f"{role}_{what}"] == number
            told = done.watch.warnings.get(f"{role}_{what}", ("", 0, ()))
            assert (told[1], told[2]) == (number, samples), (role, what)


@pytest.mark.parametrize(
    ("name", "kept", "lost"),
    [
        ("int and text", {"7": 7}, {"007", "1.0"}),
        ("text and int", {"99": "99"}, set()),
        ("decimals and text", {}, {"1.1", "5", ".25"}),
        ("decimals and numbers", {"7.25": D("7.25")}, set()),
        ("dates and text", {}, {"2026-1-3", "2.1.2026", "2026-02-30"}),
        ("booleans and text", {}, {"TRUE", "1"}),
        ("dictionaries", {"c": "c"}, set()),
        ("int and float", {"8": 8}, {"7.5"}),
    ],
)
def test_keys_of_unmatched_spatial_rows_are_kept_where_they_stay_the_same_key(
    lake: Lake, name: str, kept: dict[str, Any], lost: set[str]
) -> None:
    both(lake, *KEYS[name])
    done = lake.join(how="right", spatial_columns=["right_no"])
    numbers = all(is_number(each.type) for each in KEYS[name])
    theirs = [key_of(value, numbers=numbers) for value in KEYS[name][1].to_pylist()]
    found = {theirs[row["right_no"]]: row["k"] for row in done.rows if row["left_no"] is None}
    found.pop(None, None)
    assert found == kept | dict.fromkeys(lost)
    assert ("keys_not_kept" in done.watch.warnings) is bool(lost)


ATTRIBUTES: dict[str, pa.Array] = {
    "decimal": pa.array([D("1.10"), None, D("-3.00")], pa.decimal128(18, 2)),
    "decimal256": pa.array([D("1.10"), None, D(10) ** 50], pa.decimal256(60, 2)),
    "decimal32": pa.array([D("1.10"), None, D("-3.00")], pa.decimal32(5, 2)),
    "ms": pa.array([MOMENT, None, MOMENT], pa.timestamp("ms")),
    "us": pa.array([MOMENT, None, MOMENT], pa.timestamp("us")),
    "ns": pa.array([1, None, 2**62], pa.timestamp("ns")),
    "zone": pa.array([MOMENT.replace(tzinfo=UTC), None, None], pa.timestamp("us", "Europe/Berlin")),
    "time32": pa.array([time(1, 2, 3), None, time(4)], pa.time32("ms")),
    "time64": pa.array([1, None, 2], pa.time64("ns")),
    "date": pa.array([date(1, 1, 1), None, date(9999, 12, 31)]),
    "duration": pa.array([1, None, -2], pa.duration("ms")),
    "binary": pa.array([b"\x00\xff", None, b""]),
    "fixed": pa.array([b"ab", None, b"cd"], pa.binary(2)),
    "large_string": pa.array(["a", None, ""], pa.large_string()),
    "large_binary": pa.array([b"a", None, b""], pa.large_binary()),
    "string_view": pa.array(["a", None, "longer than twelve bytes"], pa.string_view()),
    "binary_view": pa.array([b"a", None, b"longer than twelve bytes"], pa.binary_view()),
    "list": pa.array([[1, None], None, []], pa.list_(pa.int8())),
    "list_of_views": pa.array([["a", None], None, []], pa.list_(pa.string_view())),
    "large_list": pa.array([["a"], None, []], pa.large_list(pa.string())),
    "fixed_list": pa.array([[1, 2], None, [3, 4]], pa.list_(pa.float32(), 2)),
    "struct": pa.array([{"a": 1, "b": ["x"]}, None, {"a": None, "b": None}],
                       pa.struct([("a", pa.int16()), ("b", pa.list_(pa.string()))])),
    "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "dictionary": pa.array(["a", None, "b"]).cast(pa.dictionary(pa.int16(), pa.string())),
    "list_of_dictionary": pa.array([["a"], None, ["b", "a"]], pa.list_(pa.dictionary(pa.int32(), pa.string()))),
    "float16": pa.array(np.array([1.5, 0, -2], np.float16), mask=np.array([False, True, False])),
    "float32": pa.array([0.1, None, float("inf")], pa.float32()),
    "uint64": pa.array([2**64 - 1, None, 0], pa.uint64()),
    "int8": pa.array([-128, None, 127], pa.int8()),
    "bool": pa.array([True, None, False]),
    "null": pa.nulls(3),
}  # fmt: skip


@pytest.mark.parametrize("how", ["left", "outer"])
@pytest.mark.parametrize("name", ATTRIBUTES)
def test_types_and_values_of_attributes_stay(lake: Lake, name: str, how: str) -> None:
    """On both sides, over several row groups with dictionaries of their own, in turned order, with gaps."""
    values = pa.concat_arrays([ATTRIBUTES[name]] * 4)
    keys = [str(n) for n in range(12)]
    lake.tabular(pa.table({"k": keys, "value": values}), row_group_size=3)
    turned = pa.concat_arrays([values.slice(n, 1) for n in range(11, -1, -1)])
    lake.spatial(pa.table({"k": [*keys[:1:-1], "y", "z"], "other": turned}), points(12))
    done = lake.join(how=how, spatial_columns=["other"])
    stored = pq.read_schema(lake.parents["people"].path)
    for column in ("value", "other"):
        assert done.table.schema.field(column).type == stored.field("value").type == values.type
    mine, theirs = values.to_pylist(), turned.to_pylist()
    expected = [(mine[i], theirs[11 - i] if i > 1 else None) for i in range(12)]
    if how == "outer":
        expected += [(None, theirs[10]), (None, theirs[11])]
    assert [(row["value"], row["other"]) for row in done.rows] == expected


def test_names_that_both_sides_have(lake: Lake) -> None:
    one = pa.array(["1"])
    lake.tabular(pa.table({"k": one, "name": pa.array(["t"]), "geom": pa.array(["tg"]), "bbox": pa.array(["tb"]),
                           "name_spatial": pa.array(["ts"])}))  # fmt: skip
    lake.spatial(
        pa.table({"k": one, "Name": pa.array(["s"]), "bbox": pa.array(["sb"]), "free": pa.array(["f"])}), points(1)
    )
    done = lake.join(spatial_columns=["*"], how="inner")
    (row,) = done.rows
    assert list(row) == done.table.schema.names
    assert row.pop("geom") == shapely.Point(0, 0).wkb
    assert row.pop("geom_bbox")["xmin"] == 0
    assert list(row.items()) == list({
        "k": "1", "name": "t", "geom_1": "tg", "bbox": "tb", "name_spatial": "ts",
        "k_spatial": "1", "Name_spatial_2": "s", "bbox_spatial": "sb", "free": "f",
    }.items())  # fmt: skip
    assert done.made.header_mapping == {
        "geom": "geom_1", "k": "k_spatial", "Name": "Name_spatial_2", "bbox": "bbox_spatial",
    }  # fmt: skip
    assert list(done.made.column_schema) == done.table.schema.names
    assert done.made.column_schema["Name_spatial_2"].title == "Name"
    assert {name for name, each in done.made.column_schema.items() if each.logical_type} == {"geom", "geom_bbox"}


def test_spatial_columns_come_in_the_order_asked_for_and_once(lake: Lake) -> None:
    lake.tabular(pa.table({"k": ["1"], "v": [1]}))
    lake.spatial(pa.table({"k": ["1"], "a": [1], "b": [2], "c": [3]}), points(1))
    assert lake.join().table.schema.names == ["k", "v", "geom", "bbox"]
    assert lake.join(spatial_columns=["c", "a", "c"]).table.schema.names == ["k", "v", "c", "a", "geom", "bbox"]
    assert lake.join(spatial_columns=["*", "a"]).table.schema.names == [
        "k", "v", "k_spatial", "a", "b", "c", "geom", "bbox",
    ]  # fmt: skip


def test_another_right_key(lake: Lake) -> None:
    lake.tabular(pa.table({"iso": ["b", "a"]}))
    lake.spatial(pa.table({"code": ["a", "b"], "n": [1, 2]}), points(2))
    assert [row["n"] for row in lake.join("iso", right_key="code", spatial_columns=["n"]).rows] == [2, 1]


@pytest.mark.parametrize("how", HOWS)
def test_nullable_says_where_gaps_may_be(lake: Lake, how: str) -> None:
    full = {name: ColumnSchema(title=name.upper(), type_name="string", nullable=False) for name in ("k", "n")}
    lake.tabular(pa.table({"k": ["a", "b"]}), column_schema=full)
    lake.spatial(pa.table({"k": ["b", "c"], "n": ["1", "2"]}), points(2), column_schema=full)
    schema = lake.join(how=how, spatial_columns=["n"]).made.column_schema
    assert (schema["k"].title, schema["n"].title) == ("K", "N")
    assert (schema["k"].nullable, schema["n"].nullable) == (how in ("right", "outer"), how in ("left", "outer"))


GEOMETRIES = [
    shapely.Point(1, 2, 30), shapely.Point(5, 6, -7), shapely.Polygon([(0, 0), (3, 0), (3, 3)]), None,
    shapely.from_wkt("POLYGON EMPTY"), shapely.from_wkt("MULTIPOINT (7 8, 9 10)"),
    shapely.from_wkt("GEOMETRYCOLLECTION Z (POINT Z (1 1 1))"), shapely.from_wkt("POINT EMPTY"),
]  # fmt: skip


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:25832", "EPSG:2193"])
def test_metadata_say_what_the_chosen_rows_have(lake: Lake, crs: str) -> None:
    keys = [str(n) for n in range(len(GEOMETRIES))]
    lake.spatial(pa.table({"k": keys}), GEOMETRIES, crs=crs)
    schema = json.loads((Path(__file__).parent / "geoparquet-1.1.schema.json").read_text())
    for chosen in (range(8), (0, 3), (2, 5), (0, 2, 4), (1, 0), (6, 7), (3,), (4, 7)):
        lake.tabular(pa.table({"k": [keys[n] for n in chosen]}))
        done = lake.join()
        shapes = [GEOMETRIES[n] for n in chosen]
        geo = json.loads(pq.read_metadata(done.made.path).metadata[b"geo"])
        jsonschema.validate(geo, schema)
        (column,) = geo["columns"].values()
        there = [each for each in shapes if each is not None]
        kinds = {f"{each.geom_type}{' Z' if shapely.to_wkb(each, flavor='iso')[2] == 3 else ''}" for each in there}
        assert column["geometry_types"] == sorted(kinds)
        bounds = shapely.total_bounds([*there, shapely.Point()])
        if np.isnan(bounds[0]):
            assert "bbox" not in column
            assert done.made.bounds is None
        else:
            heights = shapely.get_coordinates(there, include_z=True)[:, 2]
            heights = heights[~np.isnan(heights)]
            low, high = ([*bounds[:2]], [*bounds[2:]])
            if len(heights):
                low.append(heights.min())
                high.append(heights.max())
            assert column["bbox"] == [*low, *high]
            assert done.made.bounds is not None
            assert list(done.made.bounds.model_dump().values()) == list(bounds)
        rows = done.rows
        assert [row["geom"] for row in rows] == [shapely.to_wkb(each, flavor="iso") for each in shapes]
        for row, shape in zip(rows, shapes, strict=True):
            sides = None if shape is None or shape.is_empty else list(shape.bounds)
            assert (row["bbox"] and list(row["bbox"].values())) == sides
        assert done.made.counts["null_geometries"] == shapes.count(None)
        frame = geopandas.read_parquet(done.made.path)
        assert frame.crs == crs
        assert done.made.crs == crs


def test_a_joined_version_can_be_joined_again(lake: Lake) -> None:
    both(lake, pa.array(["a", "b"]), pa.array(["b", "c"]))
    first = lake.join(spatial_columns=["right_no"])
    lake.parents["joined"] = type(lake.parents["people"])(
        lake.parents["people"].asset.model_copy(update={"kind": "joined", "dataset_id": "joined"}), first.made.path
    )
    second = lake.join(spatial_dataset_id="joined", spatial_columns=["right_no"])
    assert [row["right_no"] for row in second.rows] == [None, 0]
    assert second.asset is not None
    assert second.asset.inputs[1] == ParentInput(dataset_id="joined", version=1, role="spatial")


def test_lineage_names_both_parents_with_their_roles(lake: Lake) -> None:
    both(lake, pa.array(["a"]), pa.array(["a"]))
    done = lake.join()
    assert done.asset is not None
    assert done.asset.inputs == (
        ParentInput(dataset_id="people", version=1, role="tabular"),
        ParentInput(dataset_id="places", version=1, role="spatial"),
    )
    assert done.steps == ["load", "transform", "export"]
    assert done.made.engine["engine"] == "duckdb"


def test_large_geometries_are_written_a_few_at_a_time(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    """40 rows of one geometry of 1.6 MB: never more than a few steps of 8 MiB at once."""
    circle = shapely.Point(0, 0).buffer(1, quad_segs=25_000)
    size = len(circle.wkb)
    lake.spatial(pa.table({"k": ["a"]}), [circle])
    lake.tabular(pa.table({"k": ["a"] * 40}))
    steps: list[int] = []
    from app.pipelines.join.assemble import Assembler

    assemble = Assembler._assemble

    def watched(self: Assembler, left: Any, right: Any) -> Any:
        steps.append(len(right))
        return assemble(self, left, right)

    monkeypatch.setattr(Assembler, "_assemble", watched)
    done = lake.join()
    assert sum(steps) == 40
    assert max(steps) == 8 * 2**20 // size
    assert pq.read_metadata(done.made.path).row_group(0).num_rows <= 16 * 2**20 // size
    assert {row["geom"] for row in done.rows} == {circle.wkb}


def test_the_same_bytes_again_whatever_the_threads_and_the_memory(lake: Lake) -> None:
    both(lake, *KEYS["many"])
    first = lake.join(how="outer", spatial_columns=["*"], threads=1).made.path.read_bytes()
    again = lake.join(how="outer", spatial_columns=["*"], threads=4, memory_bytes=2**30).made.path.read_bytes()
    assert first == again


def refused(lake: Lake, **more: Any) -> RunRefused:
    before = list((lake.root / "lake").iterdir())
    with pytest.raises(RunRefused) as caught:
        lake.join(**more)
    assert caught.value.fix
    assert str(lake.root) not in str(caught.value)
    assert list((lake.root / "lake").iterdir()) == before
    return caught.value


def test_refusals_name_what_was_found_and_what_to_do(lake: Lake) -> None:
    lake.tabular(pa.table({"iso_code": ["a"], "v": [1], "blob": [b"a"], "list": [["a"]]}),
                 header_mapping={"ISO-Code": "iso_code"})  # fmt: skip
    lake.spatial(pa.table({"iso_a3": ["b"], "name": ["n"]}), points(1))
    lake.tabular(pa.table({"k": ["a"]}), "other")

    error = refused(lake, left_key="ISO-Code", right_key="iso_a3")
    assert error.reason == "column_unknown"
    assert "Did you mean 'iso_code'?" in error.fix
    error = refused(lake, left_key="iso_code")
    assert (error.reason, "places version 1" in error.detail) == ("column_unknown", True)
    assert "because right_key is not set" in error.detail
    assert "'iso_a3', 'name'" in error.fix
    for key in ("geom", "bbox"):
        assert refused(lake, left_key="iso_code", right_key=key).reason == "column_unknown"
    error = refused(lake, left_key="iso_code", right_key="iso_a3", spatial_columns=["nam"])
    assert (error.reason, "Did you mean 'name'?" in error.fix) == ("column_unknown", True)
    for column, kind in (("blob", "binary"), ("list", "list")):
        error = refused(lake, left_key=column, right_key="iso_a3")
        assert error.reason == "key_type"
        assert kind in error.detail
        assert repr(column) in error.detail
    error = refused(lake, left_key="iso_code", right_key="iso_a3", how="inner")
    assert error.reason == "no_rows"
    assert "tabular: 'a'; spatial: 'b'" in error.detail
    error = refused(lake, left_key="iso_code", spatial_dataset_id="other")
    assert error.reason == "kind_wrong"
    assert "other version 1 is tabular" in error.detail
    assert refused(lake, left_key="iso_code", tabular_dataset_id="places").reason == "kind_wrong"


def test_more_rows_than_the_limit_are_refused_before_they_are_made(lake: Lake) -> None:
    both(lake, pa.array(["a", "x"] * 300), pa.array(["x", "x", "b"] * 200))
    error = refused(lake, limits=Limits(rows=100_000))
    assert error.reason == "rows_too_many"
    assert "120300 rows, the limit is 100000" in error.detail
    assert "'x' alone has 300 rows on the tabular side and 400" in error.detail


def test_nothing_reaches_beyond_the_rows_handed_over(lake: Lake, tmp_path: Path) -> None:
    both(lake, pa.array(["a"]), pa.array(["a"]))
    secret = tmp_path / "secret.csv"
    secret.write_text("a\n1\n")
    sides = [KeyColumn(name, lake.parents[name].path, "k", pa.string()) for name in ("people", "places")]
    with KeyMatches(sides[0], sides[1], "left", JoinResources(tmp_path, 1, 2**28, lambda: None)) as pairs:
        for query in (f"FROM '{secret}'", f"COPY (SELECT 1) TO '{tmp_path}/out.csv'", "LOAD httpfs",
                      "SET enable_external_access = true", "SELECT * FROM sides"):  # fmt: skip
            with pytest.raises(Exception, match=r"(?i)disabled|not exist|permission|cannot|not found"):
                pairs._query(query)


def test_a_look_that_raises_ends_a_query_at_once(lake: Lake, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A product of 4 thousand millions takes minutes; the second look ends it."""
    both(lake, pa.array(["a"]), pa.array(["a"]))
    sides = [KeyColumn(name, lake.parents[name].path, "k", pa.string()) for name in ("people", "places")]
    looks: list[int] = []

    def look() -> None:
        if armed:
            looks.append(1)
            if len(looks) > 2:
                raise RunCanceled("stop")

    armed = False
    with KeyMatches(sides[0], sides[1], "left", JoinResources(tmp_path, 2, 2**28, look)) as pairs:
        armed = True
        with pytest.raises(RunCanceled):
            pairs._query("SELECT count(*) FROM range(65000) a, range(65000) b WHERE sqrt(a.range) * b.range = 0.3")
    assert len(looks) == 3


def test_memory_that_does_not_suffice_is_said(lake: Lake, tmp_path: Path) -> None:
    lake.tabular(pa.table({"k": [f"{n:0100d}" for n in range(300_000)]}), row_group_size=100_000)
    lake.spatial(pa.table({"k": ["a"]}), points(1))
    error = refused(lake, how="left", memory_bytes=8 * 2**20)
    assert (error.reason, "SPATIAL_ETL_WORKER__MEMORY_BYTES" in error.fix) == ("memory_limit", True)
    assert "more than 8 MiB" in error.detail


def test_keys_that_do_not_fit_in_memory_go_through_scratch(lake: Lake, monkeypatch: pytest.MonkeyPatch) -> None:
    number = 1_000_000
    keys = pa.array([f"{(n * 7919) % number:090d}" for n in range(number)])
    lake.tabular(pa.table({"k": keys, "n": pa.array(range(number))}), row_group_size=200_000)
    lake.spatial(pa.table({"k": [f"{n:090d}" for n in range(50)]}), points(50))
    spilled: list[int] = []
    report = join_pairs.KeyMatches.report

    def watched(self: KeyMatches, side: Any) -> Any:
        spilled.append(sum(path.stat().st_size for path in (self._resources.scratch / "duckdb").glob("*")))
        return report(self, side)

    monkeypatch.setattr(join_pairs.KeyMatches, "report", watched)
    done: JoinContext = lake.join(how="inner", memory_bytes=192 * 2**20, threads=1)
    assert max(spilled) > 0
    assert done.made.counts["rows_out"] == 50
    assert [row["n"] for row in done.rows] == sorted(n for n in range(number) if (n * 7919) % number < 50)
    assert not list(done.scratch.glob("duckdb/*"))


class Impatient(Watch):
    """Cancels at a look of its choice."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self.left = looks

    def advance(self, rows_done: int, rows_total: int | None) -> None:
        super().advance(rows_done, rows_total)
        self.left -= 1
        if self.left == 0:
            raise RunCanceled("stop")


def test_cancel_passes_through_wherever_it_comes(lake: Lake) -> None:
    both(lake, *(each.slice(0, 40) for each in KEYS["many"]))
    patient = Impatient(-1)
    lake.join(how="outer", watch=patient)
    assert patient.progress[-1][1] == len(lake.join(how="outer").rows)
    looks = len(patient.progress)
    assert looks > 15
    (lake.root / "lake" / "v1.parquet").unlink()
    for look in range(1, looks + 1):
        with pytest.raises(RunCanceled):
            lake.join(how="outer", watch=Impatient(look))
    assert not list((lake.root / "lake").iterdir())
