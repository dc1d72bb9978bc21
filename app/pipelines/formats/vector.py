"""Opening a vector source of any format: unpack, check, choose the layer, settle CRS and encoding."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
from pyproj import CRS

from app.errors import RunRefused
from app.jobs.notes import file_at_hand
from app.models.formats import Format, find_format
from app.models.manifest import ManifestFile
from app.pipelines.context import FetchedFile
from app.pipelines.formats import geojson, geoparquet_read, ogr
from app.pipelines.formats.archives import is_zip, unpack
from app.pipelines.formats.content import check_content
from app.pipelines.formats.crs import check_text, parse_crs, resolve_crs
from app.pipelines.formats.crs_texts import check_crs_texts
from app.pipelines.formats.shapefile import sidecar, text_encoding
from app.pipelines.formats.shapefile_index import check_index
from app.pipelines.formats.source import VectorSource, cut, unknown_layer
from app.pipelines.formats.xml_checks import check_gml, check_kml, is_complete_schema, scan_gml
from app.settings import Limits, MiB


def inspect(fetched: FetchedFile, limits: Limits, threads: int) -> VectorSource:
    """Open and check one manifest file, reading no more of it than its description needs.

    Unpacks an archive beside the file. The file is opened under a name of our own in a directory of its own, by the
    drivers of its declared format only. Null and empty geometries, and the row order, stay as they are.

    Raises RunRefused with a reason of this module or of those it calls: file_*, archive_*, content_mismatch,
    sidecar_missing, layer_*, crs_*, encoding_*, columns_too_many, rows_too_many, no_features, format_not_vector,
    geometry_columns, columns_duplicate, value_invalid.
    """
    declared = fetched.declared
    file = declared.key
    file_at_hand(file)
    fmt = find_format(declared.format)
    if fmt is None or fmt.type != "vector" or not fmt.available:
        raise RunRefused(
            f"{file} is declared as {declared.type} {declared.format}, this pipeline takes vector files.",
            "Use an intent for that type of file.",
            reason="format_not_vector",
            file=file,
        )
    path = _locate(fetched.path, fmt, declared, limits)
    _check_size(path, limits, file)
    check_content(path, fmt.name, file)
    if fmt.name == "GeoParquet":
        source = geoparquet_read.open_source(path, declared)
    elif fmt.name in ("GeoJSON", "GeoJSONSeq"):
        source = geojson.open_source(path, fmt.name, declared, limits, threads)
    elif fmt.name == "SHP":
        source = _open_shapefile(path, fmt, declared, limits)
    elif fmt.name == "GML":
        source = _open_gml(path, fmt, declared, limits)
    else:
        source = _open_ogr(_own_copy(path, fmt), fmt, declared, limits)
    _check_shape(source, limits)
    return source


def _open_ogr(path: Path, fmt: Format, declared: ManifestFile, limits: Limits) -> VectorSource:
    check_crs_texts(path, fmt.name, declared.key)
    layer = ogr.open_layer(path, fmt, declared.layer, declared.key, limits.layers)
    fields = layer.fields
    if fmt.name == "KML":
        names = check_kml(path, layer.name, fields.names, declared.key)
        fields = pa.schema([old.with_name(name) for old, name in zip(fields, names, strict=True)])
    return _source(layer, fmt, declared, fields)


def _source(
    layer: ogr.Layer, fmt: Format, declared: ManifestFile, fields: pa.Schema | None = None, crs_fix: str = ""
) -> VectorSource:
    """fields: where they have other names than the layer's."""
    file = declared.key
    found = _crs_of(layer.crs, file)
    return VectorSource(
        file=file,
        path=layer.path,
        format=fmt.name,
        driver=layer.driver,
        layer=layer.name,
        crs=resolve_crs(found, declared.crs, file, crs_fix),
        schema=layer.fields if fields is None else fields,
        rows=layer.rows,
        geometry_type=layer.geometry_type,
        encoding="utf-8",
        notes=tuple(layer.notes),
        counted=layer.counted,
        open_chunks=lambda: cut(ogr.read_layer(layer, file), file),
        carries_crs=found is not None,
    )


def _open_gml(path: Path, fmt: Format, declared: ManifestFile, limits: Limits) -> VectorSource:
    """A .gml with the schema beside it, unless that one names others: GDAL would fetch them."""
    file, own = declared.key, _own_copy(path, fmt)
    scan = scan_gml(own, file)
    schema = own.with_suffix(".xsd")
    is_left_out = schema.exists() and not is_complete_schema(schema)
    if is_left_out:
        schema.unlink()
    layer = ogr.open_layer(own, fmt, declared.layer, file, limits.layers)
    check_gml(scan, layer.name, layer.crs, file)
    if is_left_out:
        layer.notes.append(
            f"{file}: the .xsd beside it includes others or is damaged. Types are found from the values."
        )
    return _source(layer, fmt, declared)


def _open_shapefile(path: Path, fmt: Format, declared: ManifestFile, limits: Limits) -> VectorSource:
    """A .shp with its sidecars, linked under our own name; GDAL is told the encoding, so the .cpg stays behind."""
    file = declared.key
    parts: dict[str, Path] = {}
    for suffix in (*fmt.required_sidecars, *fmt.optional_sidecars):
        beside = sidecar(path, suffix)
        if beside is not None:
            parts[suffix] = beside
        elif suffix in fmt.required_sidecars:
            raise RunRefused(
                f"{file}: its {suffix} file is missing.",
                f"Upload {Path(file).stem}{suffix} beside it, or send a zip archive with all files of the shapefile.",
                reason="sidecar_missing",
                file=file,
            )
    if declared.layer not in (None, path.stem):
        raise unknown_layer(declared.layer or "", [path.stem], file)
    wanted = declared.options.encoding if declared.options else None
    encoding = text_encoding(parts[".dbf"], parts.get(".cpg"), wanted, file)
    own = _own_copy(path, fmt)
    if ".prj" in parts:
        check_text(_beginning(parts[".prj"]), file, "in its .prj")
    for suffix in (".shx", ".dbf", ".prj"):
        if suffix in parts:
            _link(parts[suffix], own.with_suffix(suffix))
    most_nulls = check_index(path, parts[".shx"], file)
    fix = f"Upload {Path(file).stem}.prj beside it, or declare the CRS in files[].crs."
    layer = replace(ogr.open_layer(own, fmt, None, file, limits.layers, encoding), most_nulls=most_nulls)
    return replace(_source(layer, fmt, declared, crs_fix=fix), layer=path.stem, encoding=encoding)


def _beginning(path: Path) -> str:
    with path.open("rb") as stream:
        return stream.read(MiB).decode("latin-1")


def _locate(path: Path, fmt: Format, declared: ManifestFile, limits: Limits) -> Path:
    """The data set itself: the file as it came, or the one member of its archive that has a suffix of the format."""
    file = declared.key
    if not path.is_file() or not is_zip(path):
        return path
    if not fmt.zipped:
        raise RunRefused(
            f"{file} is a zip archive; {fmt.name} is taken as a plain file.",
            "Send the file itself.",
            reason="content_mismatch",
            file=file,
        )
    into = Path(tempfile.mkdtemp(prefix="unpacked-", dir=path.parent))
    members = unpack(path, into, limits, file)
    if fmt.name == "OpenFileGDB":
        found = sorted({m.parent for m in members if m.name == "a00000001.gdbtable"})
    else:
        found = sorted(m for m in members if m.suffix.lower() in fmt.suffixes and not _is_clutter(m.relative_to(into)))
    names = [str(m.relative_to(into)) for m in found]
    if fmt.name == "SHP" and declared.layer is not None and len(found) > 1:
        stems = [m.stem for m in found]
        if declared.layer not in stems:
            raise unknown_layer(declared.layer, stems, file)
        found = [m for m in found if m.stem == declared.layer]
    if not found:
        listed = ", ".join(repr(str(m.relative_to(into))) for m in members[:5]) or "nothing"
        raise RunRefused(
            f"The archive {file} holds no {fmt.name} ({', '.join(fmt.suffixes)}); it holds {listed}.",
            "Put the source into the archive, or correct files[].format.",
            reason="archive_no_source",
            file=file,
        )
    if len(found) > 1:
        is_layer = fmt.name == "SHP"
        raise RunRefused(
            f"The archive {file} holds {len(found)} {fmt.name} sources: {', '.join(map(repr, names))}.",
            "Name one of them in files[].layer, without its suffix." if is_layer else "Send one archive for each.",
            reason="layer_ambiguous" if is_layer else "archive_ambiguous",
            file=file,
        )
    return found[0]


def _is_clutter(member: Path) -> bool:
    """What archivers add on their own: resource forks and hidden files."""
    return member.parts[0] == "__MACOSX" or member.name.startswith(".")


def _own_copy(path: Path, fmt: Format) -> Path:
    """A link to the source in a fresh directory: nothing beside it, and a name that means nothing to any driver."""
    own = Path(tempfile.mkdtemp(prefix="source-", dir=path.parent)) / f"source{fmt.suffixes[0]}"
    if path.is_dir():
        own.mkdir()
        for part in path.iterdir():
            if part.is_file():
                _link(part, own / part.name)
        return own
    _link(path, own)
    for suffix in fmt.optional_sidecars if fmt.name == "GML" else ():
        beside = sidecar(path, suffix)
        if beside is not None:
            _link(beside, own.with_suffix(suffix))
    return own


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(source, target)


def _check_size(path: Path, limits: Limits, file: str) -> None:
    if path.is_file() and path.stat().st_size > limits.file_bytes:
        raise RunRefused(
            f"{file} has {path.stat().st_size} bytes, the limit is {limits.file_bytes}.",
            "Split the data, or raise SPATIAL_ETL_LIMITS__FILE_BYTES.",
            reason="file_too_large",
            file=file,
        )


def _check_shape(source: VectorSource, limits: Limits) -> None:
    file = source.file
    if len(source.schema) > limits.columns:
        raise RunRefused(
            f"{file} has {len(source.schema)} columns, the limit is {limits.columns}.",
            "Send fewer columns, or raise SPATIAL_ETL_LIMITS__COLUMNS.",
            reason="columns_too_many",
            file=file,
        )
    if source.rows is not None and source.rows > limits.rows:
        raise RunRefused(
            f"{file} has {source.rows} rows, the limit is {limits.rows}.",
            "Split the data, or raise SPATIAL_ETL_LIMITS__ROWS.",
            reason="rows_too_many",
            file=file,
        )
    if source.rows == 0:
        raise RunRefused(f"{file} has no features.", "Send at least one feature.", reason="no_features", file=file)


def _crs_of(text: str | None, file: str) -> CRS | None:
    return parse_crs(text, file, "in the source") if text else None
