"""Reading one layer of a file through GDAL, as a stream of Arrow batches bounded in bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

from app.errors import RunRefused
from app.models.formats import Format
from app.pipelines.formats import gdal
from app.pipelines.formats.gpkg import Table, check_gpkg, check_nulls, check_table
from app.pipelines.formats.shapefile import Dbf, gdal_encoding, open_dbf
from app.pipelines.formats.source import Batch, unknown_layer
from app.pipelines.formats.times import time_types, to_times
from app.settings import MiB

_BATCH_ROWS = 16_384
_BATCH_BYTES = 8 * MiB
_MOST_BYTES = 2**31 - 1
_OPEN_OPTIONS: dict[str, dict[str, str]] = {
    "GML": {"DOWNLOAD_SCHEMA": "NO", "WRITE_GFS": "NO"},
    "GPKG": {"LIST_ALL_TABLES": "NO"},
}


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer, opened once and described."""

    path: Path
    drivers: tuple[str, ...]
    driver: str
    name: str
    options: dict[str, str]
    config: dict[str, str]
    crs: str | None
    geometry_type: str
    rows: int | None
    fields: pa.Schema
    fid: str | None
    times: dict[str, pa.DataType]
    notes: list[str]
    counted: Counter[str] = field(default_factory=Counter)
    table: Table | None = None
    dbf: Dbf | None = None
    most_nulls: int | None = None


def open_layer(
    path: Path, fmt: Format, wanted: str | None, file: str, most_layers: int, encoding: str | None = None
) -> Layer:
    """Find the layer that the manifest means and describe it. encoding: of the attributes, where GDAL must be told.

    Raises RunRefused: content_mismatch, layers_too_many, layer_ambiguous, layer_unknown, geometry_missing, gpkg_view,
    gpkg_virtual_table, value_invalid, geometry_damaged.
    """
    options = _OPEN_OPTIONS.get(fmt.name, {})
    config = {} if encoding is None else {"SHAPE_ENCODING": gdal_encoding(encoding)}
    try:
        with gdal.only(fmt.drivers, config) as notes:
            name = _choose(pyogrio.list_layers(path), wanted, file, most_layers)
            if fmt.name == "GPKG":
                check_gpkg(path, name, file)
            info = pyogrio.read_info(path, layer=name, force_feature_count=True, **options)
            fid = _fid_attribute(info)
            with pyogrio.open_arrow(path, layer=name, use_pyarrow=True, return_fids=fid is not None, **options) as (
                _,
                reader,
            ):
                schema = reader.schema
            times = _time_types(path, name, info["driver"], schema, options)
    except (DataSourceError, DataLayerError, pa.ArrowException) as err:
        if "Geometry type is not supported" in str(err):  # pyogrio has no name for triangulated surfaces
            raise RunRefused(
                f"{file} has triangulated surfaces, which are not supported.",
                "Convert them to polygons.",
                reason="geometry_damaged",
                file=file,
            ) from None
        raise RunRefused(
            f"{file} cannot be read as {fmt.name}: {_plain(err, path)}",
            "Correct files[].format, or send an undamaged file.",
            reason="content_mismatch",
            file=file,
        ) from None
    if info["driver"] not in fmt.drivers:
        raise RunRefused(
            f"{file} is declared as {fmt.name}, GDAL reads it as {info['driver']}.",
            "Correct files[].format.",
            reason="content_mismatch",
            file=file,
        )
    fields = pa.schema([_plain_field(f, times) for f in schema if not _is_geometry(f)])
    rows, table = info["features"] if info["features"] >= 0 else None, None
    if fmt.name == "GPKG":
        table = check_table(path, name, info["fid_column"], info["geometry_name"], fields, file)
        rows = table.rows
    dbf = None
    if fmt.name == "SHP" and rows is not None:
        dbf = open_dbf(path.with_suffix(".dbf"), rows, encoding or "utf-8", len(fields), file)
        rows, fields = dbf.rows, dbf.schema(fields)
        if dbf.deleted:
            notes.append(f"{dbf.deleted} records are marked as deleted in the .dbf: they are no rows.")
    return Layer(
        path=path,
        drivers=fmt.drivers,
        driver=info["driver"],
        name=name,
        options=options,
        config=config,
        crs=_known_crs(info["crs"]),
        geometry_type=info["geometry_type"] or "Unknown",
        rows=rows,
        fields=fields,
        times=times,
        fid=fid,
        notes=[note for note in dict.fromkeys(notes) if "Measured (M)" not in note],
        table=table,
        dbf=dbf,
    )


def read_layer(layer: Layer, file: str) -> Generator[Batch, None, None]:
    """Batches of (attributes, WKB) in source order, of at most 16k rows and about 8 MiB (one row at least).

    Curves come out linearised (GDAL's default step), counted as `curved_linearized`. The row count is proven equal to
    what the layer announced. Raises RunRefused: encoding_wrong, file_damaged, geometry_columns, feature_too_large.
    """
    done = absent = 0
    nulls: list[int] = []
    try:
        for batch in _batches(layer, file):
            names = batch.schema.names
            geometry = [i for i, f in enumerate(batch.schema) if _is_geometry(f)]
            if len(geometry) != 1:
                raise RunRefused(
                    f"{file}: layer {layer.name!r} has {len(geometry)} geometry columns.",
                    "Send a layer with exactly one.",
                    reason="geometry_columns",
                    file=file,
                )
            attributes = tuple(
                _plain_array(batch.column(i), layer.times.get(names[i])) for i in range(len(names)) if i not in geometry
            )
            if layer.dbf is not None:
                attributes = layer.dbf.correct(attributes, done, file)
            _check_text(attributes, layer.fields, done, file)
            wkb = batch.column(geometry[0])
            if layer.table is not None and wkb.null_count:
                nulls += (np.flatnonzero(wkb.is_null().to_numpy(zero_copy_only=False)) + done).tolist()
            absent += wkb.null_count
            wkb = _linear(layer, wkb, done)
            done += batch.num_rows
            yield attributes, wkb
    except MemoryError:
        raise
    except (DataSourceError, DataLayerError, pa.ArrowException, OSError) as err:
        if "allocate memory" in str(err):
            raise MemoryError(str(err)) from err
        raise RunRefused(
            f"{file} is damaged: reading stopped after row {done} of {layer.rows}: {_plain(err, layer.path)}",
            "Send an undamaged file.",
            reason="file_damaged",
            file=file,
        ) from None
    _check_complete(layer, done, absent, nulls, file)


def _check_complete(layer: Layer, done: int, absent: int, nulls: list[int], file: str) -> None:
    """What was read against what the layer announced. absent: rows without geometry; nulls: their numbers, for a
    GeoPackage."""
    if layer.rows is not None and done != layer.rows:
        raise RunRefused(
            f"{file} announces {layer.rows} rows, {done} could be read.",
            "The file is truncated or damaged: send it again.",
            reason="file_damaged",
            file=file,
        )
    if layer.most_nulls is not None and absent > layer.most_nulls:
        raise RunRefused(
            f"{file} is damaged: {absent} rows came without geometry, and {layer.most_nulls} have none.",
            "Send an undamaged file.",
            reason="file_damaged",
            file=file,
        )
    if layer.table is not None:
        check_nulls(layer.table, nulls, file)


def _batches(layer: Layer, file: str) -> Iterator[pa.RecordBatch]:
    """Record batches within the byte bound; a single feature over it comes alone."""
    done, alone = 0, False
    while layer.rows is None or done < layer.rows:
        try:
            for batch in _open_batches(layer, done, alone):
                done += batch.num_rows
                yield batch
            if not alone:
                return
            alone = False
        except (pa.ArrowMemoryError, MemoryError):
            if alone:
                raise RunRefused(
                    f"{file}: row {done} is larger than 2 GiB.",
                    "Split the feature.",
                    reason="feature_too_large",
                    file=file,
                ) from None
            alone = True


def _open_batches(layer: Layer, skip: int, alone: bool) -> Iterator[pa.RecordBatch]:
    rows, most = _BATCH_ROWS, _MOST_BYTES if alone else _BATCH_BYTES
    if layer.driver == "FlatGeobuf":
        # GDAL 3.12 drops the rows after a batch that its byte bound cut short, so here the bound is in rows.
        mean = layer.path.stat().st_size // max(layer.rows or 1, 1)
        rows, most = max(1, min(rows, _BATCH_BYTES // max(mean, 1))), _MOST_BYTES
    if layer.dbf is not None and layer.dbf.records is not None:
        skip = int(layer.dbf.records[skip])  # this driver counts deleted records when it skips
    with ExitStack() as stack:
        with gdal.only(layer.drivers, {**layer.config, "OGR_ARROW_MEM_LIMIT": str(most)}):
            _, reader = stack.enter_context(
                pyogrio.open_arrow(
                    layer.path,
                    layer=layer.name,
                    use_pyarrow=True,
                    batch_size=1 if alone else rows,
                    skip_features=skip,
                    return_fids=layer.fid is not None,
                    datetime_as_string=bool(layer.times),
                    **layer.options,
                )
            )
        yield from islice(reader, 1) if alone else reader


def _choose(layers: Any, wanted: str | None, file: str, most: int) -> str:
    """The one layer with geometries, or the one that files[].layer names."""
    names = [str(name) for name, _ in layers]
    if len(names) > most:
        raise RunRefused(
            f"{file} has {len(names)} layers, the limit is {most}.",
            "Split the file.",
            reason="layers_too_many",
            file=file,
        )
    if wanted is not None and wanted not in names:
        raise unknown_layer(wanted, names, file)
    spatial = [str(name) for name, geometry in layers if geometry is not None]
    if not spatial or (wanted is not None and wanted not in spatial):
        found = f"layer {wanted!r} of {file}" if wanted else file
        raise RunRefused(
            f"{found} has no geometry column.", "Send a layer with geometries.", reason="geometry_missing", file=file
        )
    if wanted is None and len(spatial) > 1:
        raise RunRefused(
            f"{file} has {len(spatial)} layers: {', '.join(map(repr, spatial))}.",
            "Name one of them in files[].layer.",
            reason="layer_ambiguous",
            file=file,
        )
    return wanted or spatial[0]


def _time_types(
    path: Path, layer: str, driver: str, schema: pa.Schema, options: dict[str, str]
) -> dict[str, pa.DataType]:
    """Types of the timestamp columns, by their values. GeoPackage has UTC by definition: none of its are in here."""
    names = [column.name for column in schema if pa.types.is_timestamp(column.type)]
    if driver == "GPKG" or not names:
        return {}
    with pyogrio.open_arrow(
        path, layer=layer, columns=names, read_geometry=False, use_pyarrow=True, datetime_as_string=True, **options
    ) as (_, reader):
        return time_types(names, reader)


def _fid_attribute(info: dict[str, Any]) -> str | None:
    """The primary key's name where somebody chose one: such a column is data. GDAL's own row numbers are not, nor are
    those of a geodatabase."""
    name = str(info["fid_column"] or "")
    own = name.lower() in ("", "fid", "ogc_fid") or (info["driver"] == "OpenFileGDB" and name.lower() == "objectid")
    return None if own else name


def _known_crs(text: str | None) -> str | None:
    """None also for the `undefined` CRS with which GeoPackage says that it does not know."""
    if text is None or "Undefined geographic SRS" in text[:60] or "Undefined Cartesian SRS" in text[:60]:
        return None
    return text


def _is_geometry(column: pa.Field) -> bool:
    return (column.metadata or {}).get(b"ARROW:extension:name") == b"geoarrow.wkb"


def _plain_field(column: pa.Field, times: dict[str, pa.DataType]) -> pa.Field:
    """The field without GDAL's annotations; a JSON text keeps the mark that it is one."""
    metadata = column.metadata or {}
    is_json = metadata.get(b"ARROW:extension:name") in (b"ogc.json", b"arrow.json") or isinstance(
        column.type, pa.JsonType
    )
    return pa.field(
        column.name,
        times.get(column.name) or _plain_type(column.type),
        True,
        {"logical_type": "json"} if is_json else None,
    )


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if isinstance(kind, pa.BaseExtensionType):
        return kind.storage_type
    # GDAL gives fields with a coded domain as a dictionary; the code is the value, its label is not.
    return kind.index_type if pa.types.is_dictionary(kind) else kind


def _plain_array(array: pa.Array, time: pa.DataType | None) -> pa.Array:
    if time is not None:
        return to_times(array, time)
    if isinstance(array, pa.ExtensionArray):
        return array.storage
    return array.indices if isinstance(array, pa.DictionaryArray) else array


def _check_text(attributes: Sequence[pa.Array], fields: pa.Schema, first_row: int, file: str) -> None:
    """All text must be UTF-8 by now: GDAL passes through what it could not convert."""
    for array, column in zip(attributes, fields, strict=True):
        if not (pa.types.is_string(array.type) or pa.types.is_large_string(array.type)):
            continue
        try:
            array.validate(full=True)
        except pa.ArrowInvalid:
            raw = array.cast(pa.large_binary() if pa.types.is_large_string(array.type) else pa.binary())
            for row, value in enumerate(raw.to_pylist()):
                try:
                    (value or b"").decode()
                except UnicodeDecodeError:
                    raise RunRefused(
                        f"{file}: field {column.name!r} of row {first_row + row} holds {value[:40]!r}, "
                        "which is not UTF-8 (rows count from 0).",
                        "Give the real encoding in options.encoding, or correct the file.",
                        reason="encoding_wrong",
                        file=file,
                    ) from None
            raise


def _linear(layer: Layer, wkb: pa.Array, first_row: int) -> pa.Array:
    """The geometries, curves replaced by lines: GDAL linearises on its feature route, not on its Arrow route."""
    if _is_torn(wkb):
        wkb = _by_feature(layer, first_row, len(wkb))
    heads = pc.binary_slice(wkb, 0, 5)
    kinds = {head: _base_type(head) for head in pc.unique(heads).to_pylist() if head is not None}
    if all(kind < 7 for kind in kinds.values()):
        return wkb
    curved = np.array([head is not None and 7 < kinds[head] < 15 for head in heads.to_pylist()])
    for row in np.flatnonzero([head is not None and kinds[head] == 7 for head in heads.to_pylist()]):
        curved[row] = not _shapely_reads(wkb[int(row)].as_py())
    if not curved.any():
        return wkb
    layer.counted["curved_linearized"] += int(curved.sum())
    return _by_feature(layer, first_row, len(wkb))


def _by_feature(layer: Layer, first_row: int, count: int) -> pa.Array:
    """The geometries of these rows, through GDAL's feature route."""
    with gdal.only(layer.drivers, layer.config):
        found = pyogrio.raw.read(
            layer.path, layer=layer.name, columns=[], skip_features=first_row, max_features=count, **layer.options
        )[2]
    return pa.array(found, pa.binary())


def _is_torn(wkb: pa.Array) -> bool:
    """Whether a geometry that is not null has no bytes, or less than none.

    GDAL 3.12 gives no bytes to FlatGeobuf features without geometry and writes those behind over those before them.
    """
    width = np.int64 if pa.types.is_large_binary(wkb.type) else np.int32
    lengths = np.diff(np.frombuffer(wkb.buffers()[1], width)[wkb.offset : wkb.offset + len(wkb) + 1])
    return bool((lengths <= 0).any() and (lengths[wkb.is_valid().to_numpy(zero_copy_only=False)] <= 0).any())


def _base_type(head: bytes) -> int:
    """The WKB type code without its Z, M and SRID parts."""
    code = int.from_bytes(head[1:5], "little" if head[0] == 1 else "big")
    return (code & 0x0FFFFFFF) % 1000


def _shapely_reads(wkb: bytes) -> bool:
    return shapely.from_wkb(wkb, on_invalid="ignore") is not None


def _plain(err: BaseException, path: Path) -> str:
    """The reader's message without paths of this host."""
    text = " ".join(str(err).split()).replace(str(path), path.name).partition("; It might help")[0]
    return text if text.endswith(".") else text + "."
