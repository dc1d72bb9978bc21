"""Differences that are known and right, or another reader's: each with the reason, all others fail."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

from differential.case import Moment, Written
from differential.compare import Difference, reads_as
from differential.values import microseconds

SERVICE = "service"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why readings of a format differ.

    Attributes:
        reader: whose.
        formats: of the files.
        holds: whether it explains a difference.
        text: for people.
    """

    reader: str
    formats: tuple[str, ...]
    holds: Callable[[Difference, Written], bool]
    text: str


def _is_midnight(difference: Difference, _: Written) -> bool:
    wanted, found = difference.wanted, difference.found
    return (
        type(wanted) is date
        and isinstance(found, datetime)
        and found == datetime(wanted.year, wanted.month, wanted.day)
    )


def _is_its_day(difference: Difference, _: Written) -> bool:
    wanted, found = difference.wanted, difference.found
    return isinstance(wanted, datetime) and type(found) is date and wanted.date() == found


def _is_its_time(difference: Difference, _: Written) -> bool:
    return isinstance(difference.found, time) and str(difference.found).startswith(str(difference.wanted))


def _is_a_day_late(difference: Difference, _: Written) -> bool:
    wanted, found = difference.wanted, difference.found
    return type(found) is date and str(wanted) == str(found - timedelta(days=1)) and found <= date(1970, 1, 1)


def _is_letter(difference: Difference, _: Written) -> bool:
    return isinstance(difference.wanted, bool) and difference.found == {True: "T", False: "F"}.get(difference.wanted)


def _is_its_number(difference: Difference, _: Written) -> bool:
    return isinstance(difference.wanted, str) and reads_as(difference.wanted, difference.found)


def _lacks_blanks(difference: Difference, _: Written) -> bool:
    return isinstance(difference.wanted, str) and difference.found == (difference.wanted.lstrip(" ") or None)


def _is_false(difference: Difference, _: Written) -> bool:
    return difference.wanted is None and difference.found is False


def _is_cut_to_milliseconds(difference: Difference, _: Written) -> bool:
    wanted, found = difference.wanted, difference.found
    if not isinstance(found, Moment) or not isinstance(wanted, str):
        return False
    exact = microseconds(datetime.fromisoformat(wanted))
    return found.nanoseconds == exact // 1000 * 1_000_000


REASONS: tuple[Reason, ...] = (
    Reason("openpyxl", ("XLSX",), _is_midnight, "a date is given as the moment at which it begins"),
    Reason("gdal", ("GeoJSON", "GeoJSONSeq"), _is_cut_to_milliseconds, "GDAL keeps moments to the millisecond"),
    Reason("gdal", ("GeoJSON", "GeoJSONSeq"), _is_its_time, "GDAL takes text of hours and minutes for a time of day"),
    Reason("duckdb", ("GeoJSON",), _is_its_time, "GDAL takes text of hours and minutes for a time of day"),
    Reason("duckdb", ("GeoJSON",), _is_cut_to_milliseconds, "GDAL keeps moments to the millisecond"),
    Reason("duckdb", ("SHP",), _is_letter, "DuckDB's extension gives logicals as their letters"),
    Reason(
        "duckdb",
        ("GeoJSON", "GPKG", "SHP", "GML"),
        _is_a_day_late,
        "dates before 1970 are a day late in DuckDB's extension",
    ),
    Reason(SERVICE, ("GML",), _is_its_number, "without a schema the types are found in the values"),
    Reason(SERVICE, ("SHP",), _lacks_blanks, "blanks before a text of a .dbf are not kept, as docs/formats.md says"),
    Reason("gdal", ("SHP",), _lacks_blanks, "GDAL leaves out blanks before a text"),
    Reason("duckdb", ("SHP",), _lacks_blanks, "GDAL leaves out blanks before a text"),
    Reason("gdal", ("SHP",), _is_false, "GDAL gives a logical without a value as false"),
    Reason("gdal", ("XLSX",), _is_its_day, "GDAL takes openpyxl's number format of moments for one of dates"),
)


def reason_for(reader: str, fmt: str, difference: Difference, written: Written) -> str | None:
    """The first reason that explains the difference; None if there is none."""
    for reason in REASONS:
        if reason.reader == reader and fmt in reason.formats and reason.holds(difference, written):
            return reason.text
    return None
