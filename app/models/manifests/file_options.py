"""The options of a file in a manifest: how to read what the file itself does not define."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from app.messages.manifest import (
    DATE_FORMAT_INVALID,
    DELIMITER_INVALID,
    ENCODING_UNKNOWN,
    GEOMETRY_CRS_UNKNOWN,
    TYPE_UNKNOWN,
)
from app.models.base import Frozen
from app.models.bounded import MAX_COLUMNS, MAX_TERMS, AtMost, Column
from app.models.crs_text import MOST_CHARACTERS, has_form_of_crs, may_be_known
from app.models.json_values import shown
from app.models.manifests.date_formats import DIRECTIVES, date_pattern
from app.models.manifests.encodings import encoding_name
from app.models.manifests.rules import column_type
from app.models.problem_text import wrong


def _encoding_name(value: str) -> str:
    name = encoding_name(value)
    if name is None:
        raise wrong(ENCODING_UNKNOWN, name=shown(value))
    return name


def _column_type_name(value: str) -> str:
    if column_type(value) is None:
        raise wrong(TYPE_UNKNOWN, name=shown(value))
    return value


def _delimiter_character(value: str) -> str:
    if not value.isascii() or value.isalnum() or value in "\r\n\x00\"'":
        raise wrong(DELIMITER_INVALID, value=value)
    return value


def _date_format(value: str) -> str:
    try:
        date_pattern(value)
    except ValueError as err:
        known = ", ".join(f"%{each}" for each in DIRECTIVES)
        raise wrong(DATE_FORMAT_INVALID, value=shown(value), problem=err, known=known) from None
    return value


def _known_crs(value: str) -> str:
    value = value.strip()
    if not has_form_of_crs(value) or not may_be_known(value):
        raise wrong(GEOMETRY_CRS_UNKNOWN, value=shown(value))
    return value


MAX_SKIPPED = 1_000_000
Encoding = Annotated[str, AtMost(64), AfterValidator(_encoding_name)]

GeometryColumn = Annotated[str, Field(min_length=1), AtMost(1_000)]
DateFormat = Annotated[str, AtMost(100), AfterValidator(_date_format)]


class GeometryColumns(Frozen):
    """Which columns of a table say where its rows lie: x and y, or wkt, or wkb."""

    x: GeometryColumn | None = Field(
        None, description="Column of the eastings or longitudes, named as in the header.", examples=["lon"]
    )
    y: GeometryColumn | None = Field(None, description="Column of the northings or latitudes.", examples=["lat"])
    wkt: GeometryColumn | None = Field(None, description="Column of geometries as WKT or EWKT, instead of x and y.")
    wkb: GeometryColumn | None = Field(
        None, description="Column of geometries as WKB or EWKB, in hexadecimal digits where the format has only text."
    )
    crs: Annotated[str, AfterValidator(_known_crs), Field(max_length=MOST_CHARACTERS)] = Field(
        description="CRS of the coordinates, x before y.", examples=["EPSG:4326"]
    )

    @property
    def columns(self) -> tuple[str, ...]:
        """The names of the columns: x and y, or one."""
        return tuple(name for name in (self.x, self.y, self.wkt, self.wkb) if name is not None)


class FileOptions(Frozen):
    """How to read one file, for what the file itself does not define."""

    encoding: Encoding | None = Field(
        None, description="Character encoding of the attributes, e.g. CP1252.", examples=["CP1252"]
    )
    delimiter: Annotated[str, Field(min_length=1, max_length=1), AfterValidator(_delimiter_character)] | None = Field(
        None, description="Column delimiter (tabular)."
    )
    quote: Literal['"', "'", "none"] | None = Field(None, description='Quotation mark, default `"` (tabular).')
    escape: Literal["\\"] | None = Field(
        None,
        description="Character that makes a quotation mark, delimiter, line end, or itself text: the backslash. "
        "Without the option, a backslash is text (CSV, TSV).",
    )
    header: bool | None = Field(None, description="Whether the first row is the header; default true (tabular).")
    skip_rows: Annotated[int, Field(ge=0, le=MAX_SKIPPED, strict=True)] | None = Field(
        None,
        description="How many lines of the file, or rows of the sheet, come before the table (CSV, TSV, XLSX).",
        examples=[3],
    )
    header_row: Annotated[int, Field(ge=1, le=MAX_SKIPPED, strict=True)] | None = Field(
        None,
        description="Line of the file, or row of the sheet, with the names of the columns, counted from 1. The data "
        "begin after it, and after `skip_rows` (CSV, TSV, XLSX).",
        examples=[4],
    )
    sheet: Column | None = Field(None, description="Sheet of a workbook (tabular).")
    nulls: Annotated[tuple[Column, ...], AtMost(MAX_TERMS)] | None = Field(
        None, description="Texts that are read as null, e.g. `NA` (tabular)."
    )
    types: (
        Annotated[
            Mapping[Column, Annotated[str, AtMost(100), AfterValidator(_column_type_name)]],
            AtMost(MAX_COLUMNS),
        ]
        | None
    ) = Field(
        None,
        description="Column types by column name, e.g. `text`, `decimal(12,2)` (tabular, vector). A value of a vector "
        "file that its type cannot hold exactly ends the run.",
    )
    union: Literal["strict", "by_name"] | None = Field(
        None,
        description="How several files become one: `strict` (default), all have the same columns, or `by_name`: "
        "columns that a file lacks are null in its rows, and types are widened (vector). Files that state it agree.",
    )
    trim: bool | None = Field(
        None,
        description="Leave out blanks around values; a value of blanks alone becomes null (tabular).",
    )
    decimal: Literal[".", ","] | None = Field(
        None, description="The decimal mark, default `.` (tabular).", examples=[","]
    )
    thousands: Literal[".", ",", "'", " ", "_"] | None = Field(
        None,
        description="What stands between groups of three digits; a blank stands for no-break blanks too (tabular).",
        examples=["."],
    )
    date_format: DateFormat | None = Field(
        None,
        description="How dates are written, besides ISO 8601: `dmy`, `mdy`, `ymd`, or a format of Python's strptime "
        "such as `%d.%m.%Y %H:%M` (tabular).",
        examples=["dmy"],
    )
    short_rows: Literal["quarantine", "null_fill"] | None = Field(
        None,
        description="What becomes of a row with fewer fields than the header: `quarantine` (default), or `null_fill`, "
        "which gives it nulls for the missing ones (CSV, TSV).",
    )
    quarantine_share: Annotated[float, Field(ge=0, le=1, strict=True)] | None = Field(
        None,
        description="Share of unreadable lines, 0 to 1, that may go to quarantine before the run is refused; default: "
        "the limit of the service (tabular).",
        examples=[0.05],
    )
    geometry: GeometryColumns | None = Field(
        None,
        description="Makes features of the rows of a table: its columns `x` and `y`, or `wkt`, or `wkb`, and their "
        "`crs` (tabular, in intents for vector files).",
        examples=[{"x": "lon", "y": "lat", "crs": "EPSG:4326"}],
    )
    area_of_use: Literal["ignore"] | None = Field(
        None,
        description="`ignore`: the data are meant to lie outside the area of use of their CRS, such as a whole country "
        "in one UTM zone; without it a run warns of them (vector, raster, tables with `geometry`).",
    )
    warp: Literal["EPSG:4326"] | None = Field(
        None, description="Warp to this CRS (raster); without it pixels stay on their own grid."
    )
    resampling: Literal["nearest", "average", "bilinear", "cubic", "mode"] | None = Field(
        None, description="Of overviews and warp (raster); default: nearest for classes, else average and bilinear."
    )
