"""Positions and times of KML against the document: LIBKML moves, invents or leaves out some of them."""

from __future__ import annotations

from datetime import datetime, timedelta

import pyarrow.parquet
import pytest
import shapely

from tests.pipelines.conftest import Bench, Result

POINT = "<Point><coordinates>9,48</coordinates></Point>"


def kml(*placemarks: str, around: str = "{}") -> str:
    marks = "".join(f"<Placemark>{each}</Placemark>" for each in placemarks)
    return (
        '<kml xmlns="http://www.opengis.net/kml/2.2" xmlns:gx="http://www.google.com/kml/ext/2.2">'
        f"<Document><name>d</name>{around.format(marks)}</Document></kml>"
    )


day = datetime.fromisoformat


def line(coordinates: str) -> str:
    return f"<LineString><coordinates>{coordinates}</coordinates></LineString>"


def track(*coords: str, times: tuple[str, ...] = (), more: str = "") -> str:
    whens = "".join(f"<when>{each}</when>" for each in times)
    return f"<gx:Track>{whens}{''.join(f'<gx:coord>{each}</gx:coord>' for each in coords)}{more}</gx:Track>"


@pytest.mark.parametrize(
    "coordinates",
    [
        "9.0,48.0, 9.1,48.1, 9.2,48.2, 9.3,48.1,",
        "9.0,48.0,\n\t9.1,48.1,\n\t9.2,48.2",
        "9.0,48.0 ,9.1,48.1",
        "9,48 10,49,",
        "9,,48 10,49",
        "9,48,,10,49",
        "9,48,1,2 10,49,1,2",
        "9,48 10",
        "9,48;10,49",
        "9,48 x,49",
        "9\u00b0,48 10,49",
        "0x10,4 3,4",
    ],
)
@pytest.mark.parametrize(
    "shape", ["{}", "<Polygon><outerBoundaryIs><LinearRing>{}</LinearRing></outerBoundaryIs></Polygon>"]
)
def test_commas_that_shift_coordinates_are_refused(bench: Bench, coordinates: str, shape: str) -> None:
    text = f"<coordinates>{coordinates}</coordinates>"
    wrong = shape.format(text) if "Polygon" in shape else f"<LineString>{text}</LineString>"
    bench.write("x.kml", kml(line("9,48 10,49"), wrong))
    error = bench.refused("x.kml", "KML")
    assert error.reason == "geometry_damaged"
    assert "row 1" in error.detail


@pytest.mark.parametrize(
    ("coordinates", "wkt"),
    [
        ("9,48 10,49", "LINESTRING (9 48, 10 49)"),
        ("\n 9.5,-48.25,1e3\n\t1.0E1,+49.,.5\n", "LINESTRING Z (9.5 -48.25 1000, 10 49 0.5)"),
        ("9, 48 10, 49", "LINESTRING (9 48, 10 49)"),
        ("9 ,48 10 ,49", "LINESTRING (9 48, 10 49)"),
        ("9, 48, 1 10, 49, 2", "LINESTRING Z (9 48 1, 10 49 2)"),
        ("9,48,1,10,49,2", "LINESTRING Z (9 48 1, 10 49 2)"),
        ("9,48,1,\n10,49,2,\n11,50,3", "LINESTRING Z (9 48 1, 10 49 2, 11 50 3)"),
    ],
)
def test_coordinates_that_are_plain(bench: Bench, coordinates: str, wkt: str) -> None:
    bench.write("x.kml", kml(line(coordinates)))
    assert bench.one("x.kml", "KML").frame.geometry.iloc[0].equals_exact(shapely.from_wkt(wkt), 0)


@pytest.mark.parametrize("coord", ["", "9", "9,48,1", "9 48 1 7", "x 48 1"])
def test_a_position_of_a_track_that_is_none_is_refused(bench: Bench, coord: str) -> None:
    bench.write("x.kml", kml(track("9 48 1", coord, "9 49 1")))
    error = bench.refused("x.kml", "KML")
    assert error.reason == "geometry_damaged"
    assert "gx:coord of row 0" in error.detail


def test_what_a_track_has_for_each_position_is_warned_of(bench: Bench) -> None:
    array = (
        '<ExtendedData><SchemaData><gx:SimpleArrayData name="heart rate"><gx:value>1</gx:value></gx:SimpleArrayData>'
    )
    more = f"{array}</SchemaData></ExtendedData>"
    days = ("2024-01-01", "2024-01-02", "2024-01-03")
    coords = ("9 48 1", "9 49 1", "9 50 1")
    bench.write("x.kml", kml(POINT, track(*coords, times=days, more=more), track(*coords[:2], times=days[:2])))
    result = bench.one("x.kml", "KML")
    message, count, samples = result.watch.warnings["track_values_dropped"]
    assert "`when`" in message
    assert "'heart rate'" in message
    assert (count, [sample["row"] for sample in samples]) == (1, [1])
    assert column(result, "begin") == [None, day("2024-01-01"), day("2024-01-01")]
    assert column(result, "end") == [None, day("2024-01-03"), day("2024-01-02")]


def column(result: Result, name: str) -> list[object]:
    return pyarrow.parquet.read_table(result.path)[name].to_pylist()


def stamp(when: str) -> str:
    return f"<TimeStamp><when>{when}</when></TimeStamp>{POINT}" if when else POINT


NO_TIMES = (
    "2011",
    "1997-07",
    "-0044-03-15",
    "12345-01-01",
    "1997-02-30",
    "1997-13",
    "19970716",
    "about 1900",
    "0000-01-01",
)


@pytest.mark.parametrize("odd", NO_TIMES)
def test_times_that_are_no_full_date_are_kept_as_text(bench: Bench, odd: str) -> None:
    bench.write("x.kml", kml(stamp("2011-05-07T10:11:12Z"), stamp(""), stamp(f" {odd}\n"), stamp("2011-05-07")))
    result = bench.one("x.kml", "KML")
    assert column(result, "timestamp") == ["2011-05-07T10:11:12Z", None, odd, "2011-05-07"]
    message, count, samples = result.watch.warnings["times_as_text"]
    assert "'timestamp'" in message
    assert (count, samples) == (1, ({"column": "timestamp", "row": 2, "value": odd},))


def test_spans_and_moments_of_tracks(bench: Bench) -> None:
    span = f"<TimeSpan><begin>1871</begin><end>1876-06</end></TimeSpan>{POINT}"
    bench.write("x.kml", kml(span, track("9 48 1", "9 49 1", times=("2010", "2011-01-01"))))
    result = bench.one("x.kml", "KML")
    assert column(result, "begin") == ["1871", "2010"]
    assert column(result, "end") == ["1876-06", "2011-01-01"]
    assert result.watch.warnings["times_as_text"][1] == 3


def test_full_times_stay_times(bench: Bench) -> None:
    whens = [f"2011-05-07T10:11:{second:02}Z" for second in range(60)]
    bench.write("x.kml", kml(*map(stamp, whens)))
    result = bench.one("x.kml", "KML")
    first = datetime.fromisoformat("2011-05-07T10:11:00+00:00")
    assert column(result, "timestamp") == [first + timedelta(seconds=each) for each in range(60)]
    assert not result.watch.warnings


def test_rows_of_each_folder(bench: Bench) -> None:
    folders = (
        "<Folder><name>a</name>{}</Folder><Folder><name> b </name><Placemark>" + stamp("1876") + "</Placemark>"
        "<Folder><Placemark>" + stamp("2011-05-07") + "</Placemark></Folder></Folder>"
    )
    bench.write("x.kml", kml(stamp("2011-05-07"), stamp("2012-05-07"), around=folders))
    assert column(bench.one("x.kml", "KML", layer="a"), "timestamp") == [day("2011-05-07"), day("2012-05-07")]
    (bench.lake / "v1.parquet").unlink()
    assert column(bench.one("x.kml", "KML", layer="b"), "timestamp") == ["1876"]


def test_times_of_folders_of_one_name(bench: Bench) -> None:
    folders = "<Folder><name>a</name>{0}</Folder><Folder><name>a</name>{0}{0}</Folder>"
    bench.write("x.kml", kml(stamp("1876"), around=folders))
    error = bench.refused("x.kml", "KML", layer="a")
    assert error.reason == "value_invalid"
    assert "'1876'" in error.detail
