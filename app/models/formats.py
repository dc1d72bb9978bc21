"""THE table of source formats: what a manifest may declare and which driver may open it.

A new format is one more row here, and a reader in `app.pipelines.formats` when OGR does not read it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FileType = Literal["vector", "raster", "tabular"]


@dataclass(frozen=True, slots=True)
class Format:
    """One source format.

    name: canonical name, as kept in the ledger. aliases: other accepted spellings (compared without case).
    drivers: the only GDAL drivers that may open a file declared as this format; empty for formats read by pyarrow.
    suffixes: the file name endings that a file of this format has inside an archive.
    sidecars: further endings that belong to the same dataset; the first group is required, the second is optional.
    options: the files[].options that its reader understands.
    """

    name: str
    type: FileType
    drivers: tuple[str, ...]
    suffixes: tuple[str, ...]
    aliases: tuple[str, ...] = ()
    required_sidecars: tuple[str, ...] = ()
    optional_sidecars: tuple[str, ...] = ()
    zipped: bool = False
    options: tuple[str, ...] = ()
    available: bool = True

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


_RASTER_OPTIONS = ("warp", "resampling")

_TEXT_OPTIONS = ("encoding", "quote", "header", "nulls", "types")

FORMATS: tuple[Format, ...] = (
    Format("GeoJSON", "vector", ("GeoJSON",), (".geojson", ".json"), zipped=True, options=("encoding",)),
    Format(
        "GeoJSONSeq",
        "vector",
        ("GeoJSONSeq",),
        (".geojsonl", ".geojsons", ".ndjson", ".jsonl"),
        ("NDGeoJSON",),
        zipped=True,
        options=("encoding",),
    ),
    Format("GPKG", "vector", ("GPKG",), (".gpkg",), ("GeoPackage",), zipped=True),
    Format(
        "SHP",
        "vector",
        ("ESRI Shapefile",),
        (".shp",),
        ("ESRI Shapefile", "Shapefile"),
        required_sidecars=(".shx", ".dbf"),
        optional_sidecars=(".prj", ".cpg"),
        zipped=True,
        options=("encoding",),
    ),
    Format("FlatGeobuf", "vector", ("FlatGeobuf",), (".fgb",), ("FGB",), zipped=True),
    Format("KML", "vector", ("LIBKML", "KML"), (".kml",), zipped=True),
    Format("GML", "vector", ("GML",), (".gml", ".xml"), optional_sidecars=(".xsd",), zipped=True),
    Format("OpenFileGDB", "vector", ("OpenFileGDB",), (".gdb",), ("FileGDB", "GDB"), zipped=True),
    Format("GeoParquet", "vector", (), (".parquet", ".geoparquet")),
    Format(
        "GTiff",
        "raster",
        ("GTiff",),
        (".tif", ".tiff"),
        ("GeoTIFF",),
        optional_sidecars=(".tfw", ".wld", ".prj"),
        options=_RASTER_OPTIONS,
    ),
    Format("COG", "raster", ("GTiff",), (".tif", ".tiff"), options=_RASTER_OPTIONS),
    Format("JP2", "raster", ("JP2OpenJPEG",), (".jp2",), ("JPEG2000",), options=_RASTER_OPTIONS),
    Format("netCDF", "raster", ("netCDF",), (".nc",), options=_RASTER_OPTIONS),
    Format(
        "PNG",
        "raster",
        ("PNG",),
        (".png",),
        optional_sidecars=(".pgw", ".wld", ".prj"),
        options=_RASTER_OPTIONS,
    ),
    Format(
        "JPEG",
        "raster",
        ("JPEG",),
        (".jpg", ".jpeg"),
        optional_sidecars=(".jgw", ".wld", ".prj"),
        options=_RASTER_OPTIONS,
    ),
    Format("CSV", "tabular", (), (".csv",), zipped=True, options=(*_TEXT_OPTIONS, "delimiter")),
    Format("TSV", "tabular", (), (".tsv", ".tab"), zipped=True, options=_TEXT_OPTIONS),
    Format("XLSX", "tabular", (), (".xlsx",), ("Excel",), options=("sheet", "header", "nulls", "types")),
    Format("JSONL", "tabular", (), (".jsonl", ".ndjson"), ("JSON lines",), zipped=True, options=("encoding", "types")),
    Format("Parquet", "tabular", (), (".parquet",)),
)

_BY_NAME = {alias.lower(): fmt for fmt in FORMATS for alias in (fmt.name, *fmt.aliases)}


def find_format(name: str) -> Format | None:
    """The format of that name or alias, compared without case; None when there is none."""
    return _BY_NAME.get(name.strip().lower())


def format_names(file_type: FileType | None = None) -> tuple[str, ...]:
    """Canonical names, of one file type or of all."""
    return tuple(fmt.name for fmt in FORMATS if file_type in (None, fmt.type))
