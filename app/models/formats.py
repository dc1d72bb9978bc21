"""The table of source formats: what a manifest may declare, and which module reads it.

To add a format, add one row here, and the module that the row names as its `reader` unless an existing one will do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FileType = Literal["vector", "raster", "tabular"]


@dataclass(frozen=True, slots=True)
class Format:
    """One source format.

    Attributes:
        name: canonical name, as stored in the ledger.
        type: the kind of data; it selects the pipeline.
        drivers: the only GDAL drivers that may open a file declared as this format; empty for formats read by pyarrow.
        suffixes: the file name endings that a file of this format has inside an archive.
        aliases: other accepted spellings (compared without case).
        required_sidecars: endings of further files that must be there beside the first.
        optional_sidecars: endings of further files that may be there.
        empty_sidecars: those of them that may have 0 bytes, and are then as if they were not there.
        zipped: whether a zip archive with one such file in it is accepted.
        options: the files[].options that its reader understands.
        available: False for a format that the installed libraries cannot read.
        reader: dotted path of the module that checks and opens such files. A string, so that this table can be read
            without importing GDAL or pyarrow. For the functions that a vector reader has, see
            `app.pipelines.vector.formats.reader.VectorFormat`.
        signatures: what the bytes of a file begin with, one of them; for readers that check no more than that.
        directory_marker: the file by which a directory of this format is known; empty where it is not a directory.
        files_are_layers: several such files in one archive are layers, and files[].layer names one by its stem.
        detects_encoding: the text encoding is found in the file, and a plan returns it for the user to correct.
    """

    name: str
    type: FileType
    drivers: tuple[str, ...]
    suffixes: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    required_sidecars: tuple[str, ...] = ()
    optional_sidecars: tuple[str, ...] = ()
    empty_sidecars: tuple[str, ...] = ()
    zipped: bool = False
    options: tuple[str, ...] = ()
    available: bool = True
    reader: str = ""
    signatures: tuple[bytes, ...] = ()
    directory_marker: str = ""
    files_are_layers: bool = False
    detects_encoding: bool = False

    def row(self) -> dict[str, str]:
        """For people: everywhere that formats are listed."""
        suffixes = [*self.required_sidecars, *(f"{suffix}?" for suffix in self.optional_sidecars)]
        return {
            "format": self.name,
            "also": ", ".join(self.aliases),
            "type": self.type,
            "beside it": ", ".join(suffixes),
            "zip": "yes" if self.zipped else "",
            "options": ", ".join(self.options),
        }


_RASTER_OPTIONS = ("area_of_use", "warp", "resampling")

_VECTOR = "app.pipelines.vector.formats"
_COLUMN_OPTIONS = ("types", "union", "area_of_use")

_VALUE_OPTIONS = ("types", "trim", "decimal", "thousands", "date_format", "quarantine_share")
_GEOMETRY_OPTIONS = ("geometry", "area_of_use")
_ROW_OPTIONS = ("skip_rows", "header", "header_row", "nulls", *_VALUE_OPTIONS)
_TEXT_OPTIONS = ("encoding", "quote", "escape", *_ROW_OPTIONS, "short_rows")

FORMATS: tuple[Format, ...] = (
    Format(
        "GeoJSON",
        "vector",
        ("GeoJSON",),
        (".geojson", ".json"),
        zipped=True,
        options=("encoding", *_COLUMN_OPTIONS),
        reader=f"{_VECTOR}.geojson.reader",
    ),
    Format(
        "GeoJSONSeq",
        "vector",
        ("GeoJSONSeq",),
        (".geojsonl", ".geojsons", ".ndjson", ".jsonl"),
        ("NDGeoJSON",),
        zipped=True,
        options=("encoding", *_COLUMN_OPTIONS),
        reader=f"{_VECTOR}.geojson.reader",
    ),
    Format(
        "GPKG",
        "vector",
        ("GPKG",),
        (".gpkg",),
        ("GeoPackage",),
        optional_sidecars=(".gpkg-wal", ".gpkg-journal"),
        empty_sidecars=(".gpkg-wal", ".gpkg-journal"),
        zipped=True,
        options=_COLUMN_OPTIONS,
        reader=f"{_VECTOR}.gpkg",
    ),
    Format(
        "SHP",
        "vector",
        ("ESRI Shapefile",),
        (".shp",),
        ("ESRI Shapefile", "Shapefile"),
        required_sidecars=(".shx", ".dbf"),
        optional_sidecars=(".prj", ".cpg", ".dbt", ".fpt"),
        zipped=True,
        options=("encoding", *_COLUMN_OPTIONS),
        reader=f"{_VECTOR}.shapefile.reader",
        files_are_layers=True,
        detects_encoding=True,
    ),
    Format(
        "FlatGeobuf",
        "vector",
        ("FlatGeobuf",),
        (".fgb",),
        ("FGB",),
        zipped=True,
        options=_COLUMN_OPTIONS,
        reader=f"{_VECTOR}.flatgeobuf",
    ),
    Format(
        "KML",
        "vector",
        ("LIBKML", "KML"),
        (".kml",),
        zipped=True,
        options=_COLUMN_OPTIONS,
        reader=f"{_VECTOR}.kml",
    ),
    Format(
        "GML",
        "vector",
        ("GML",),
        (".gml", ".xml"),
        optional_sidecars=(".xsd",),
        zipped=True,
        options=_COLUMN_OPTIONS,
        reader=f"{_VECTOR}.gml",
    ),
    Format(
        "OpenFileGDB",
        "vector",
        ("OpenFileGDB",),
        (".gdb",),
        ("FileGDB", "GDB"),
        zipped=True,
        options=_COLUMN_OPTIONS,
        reader=f"{_VECTOR}.filegdb",
        directory_marker="a00000001.gdbtable",
    ),
    Format(
        "GeoParquet",
        "vector",
        (),
        (".parquet", ".geoparquet"),
        options=_COLUMN_OPTIONS,
        reader=f"{_VECTOR}.geoparquet",
    ),
    Format(
        "GTiff",
        "raster",
        ("GTiff",),
        (".tif", ".tiff"),
        ("GeoTIFF",),
        optional_sidecars=(".tfw", ".wld", ".prj"),
        options=_RASTER_OPTIONS,
        reader="app.pipelines.raster.formats.geotiff",
    ),
    Format(
        "COG",
        "raster",
        ("GTiff",),
        (".tif", ".tiff"),
        optional_sidecars=(".tfw", ".wld", ".prj"),
        options=_RASTER_OPTIONS,
        reader="app.pipelines.raster.formats.cog",
    ),
    Format(
        "JP2",
        "raster",
        ("JP2OpenJPEG",),
        (".jp2",),
        ("JPEG2000",),
        optional_sidecars=(".j2w", ".wld", ".prj"),
        options=_RASTER_OPTIONS,
        reader="app.pipelines.raster.formats.jpeg2000",
    ),
    Format(
        "netCDF",
        "raster",
        ("netCDF",),
        (".nc",),
        optional_sidecars=(".prj",),
        options=_RASTER_OPTIONS,
        reader="app.pipelines.raster.formats.netcdf",
    ),
    Format(
        "PNG",
        "raster",
        ("PNG",),
        (".png",),
        optional_sidecars=(".pgw", ".wld", ".prj"),
        options=_RASTER_OPTIONS,
        reader="app.pipelines.raster.formats.png",
    ),
    Format(
        "JPEG",
        "raster",
        ("JPEG",),
        (".jpg", ".jpeg"),
        optional_sidecars=(".jgw", ".wld", ".prj"),
        options=_RASTER_OPTIONS,
        reader="app.pipelines.raster.formats.jpeg",
    ),
    Format(
        "CSV",
        "tabular",
        (),
        (".csv",),
        zipped=True,
        options=(*_TEXT_OPTIONS, "delimiter", *_GEOMETRY_OPTIONS),
        reader="app.pipelines.tabular.csv.reader",
    ),
    Format(
        "TSV",
        "tabular",
        (),
        (".tsv", ".tab"),
        zipped=True,
        options=(*_TEXT_OPTIONS, *_GEOMETRY_OPTIONS),
        reader="app.pipelines.tabular.csv.tsv",
    ),
    Format(
        "XLSX",
        "tabular",
        (),
        (".xlsx",),
        ("Excel",),
        options=("sheet", *_ROW_OPTIONS, *_GEOMETRY_OPTIONS),
        reader="app.pipelines.tabular.xlsx.reader",
    ),
    Format(
        "JSONL",
        "tabular",
        (),
        (".jsonl", ".ndjson"),
        ("JSON lines",),
        zipped=True,
        options=("encoding", *_VALUE_OPTIONS, *_GEOMETRY_OPTIONS),
        reader="app.pipelines.tabular.jsonl",
    ),
    Format(
        "Parquet",
        "tabular",
        (),
        (".parquet",),
        options=_GEOMETRY_OPTIONS,
        reader="app.pipelines.tabular.parquet",
    ),
)

# Every option that some format understands.
OPTION_NAMES = tuple(dict.fromkeys(name for fmt in FORMATS for name in fmt.options))

_BY_NAME = {alias.lower(): fmt for fmt in FORMATS for alias in (fmt.name, *fmt.aliases)}


def find_format(name: str) -> Format | None:
    """The format of that name or alias, compared without case; None when there is none."""
    return _BY_NAME.get(name.strip().lower())


def format_names(file_type: FileType | None = None) -> tuple[str, ...]:
    """Canonical names, of one file type or of all."""
    return tuple(fmt.name for fmt in FORMATS if file_type in (None, fmt.type))
