"""Reading one layer of a file through GDAL, as a stream of Arrow batches bounded in bytes.

This module is also the reader of formats that need no special care; the modules of other formats build on it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError

from app.messages.common import CONTENT_MISMATCH, LAYERS_TOO_MANY
from app.messages.vector import (
    ENCODING_WRONG,
    FEATURE_TOO_LARGE,
    GDAL_NOTE,
    GEOMETRY_COLUMNS,
    GEOMETRY_MISSING,
    LAYER_AMBIGUOUS,
    OTHER_DRIVER,
    READING_STOPPED,
    ROWS_MISSING,
    TRIANGULATED_SURFACES,
    UNREADABLE,
)
from app.models.formats import find_format
from app.models.run import RunWarning
from app.pipelines.common import gdal
from app.pipelines.common.content import looks_like
from app.pipelines.common.crs import parse_crs, resolve_crs
from app.pipelines.common.unknown_layer import unknown_layer
from app.pipelines.vector.formats.files import neutral_copy, shown
from app.pipelines.vector.formats.reader import SourceFile
from app.pipelines.vector.formats.times import time_types, to_times
from app.pipelines.vector.source import Batch, VectorSource, cut
from app.settings import MiB

_BATCH_ROWS = 16_384
_BATCH_BYTES = 8 * MiB
_MOST_BYTES = 2**31 - 1

RowNumbers = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """How a format's layers are opened; the defaults suit most formats.

    Attributes:
        options: open options of the GDAL driver.
        config: configuration options of GDAL.
        generated_keys: names (lower case) of key columns that the driver or the format fills; they are not data.
        times_in_utc: the format defines its timestamps as UTC, so they need not be read as text to find their zones.
        bound_by_rows: the batches are bounded by a number of rows, where GDAL's bound in bytes does not work.
        check_layer: called with the name of the chosen layer before GDAL reads anything of it.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    generated_keys: tuple[str, ...] = ("", "fid", "ogc_fid")
    times_in_utc: bool = False
    bound_by_rows: bool = False
    check_layer: Callable[[str], None] | None = None


DEFAULTS = OpenOptions()


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer, opened once and described.

    Attributes:
        fid: name of the key column where it is data, read as the first attribute.
        fid_column, geometry_name: the columns' names as GDAL gives them, maybe empty.
        times: types of the timestamp columns that are read as text.
        counted: what reading had to change, filled while reading.
        records: numbers of the rows among the file's records, where some records are deleted.
        correct: makes the real attributes of some rows from those of GDAL; takes (attributes, first row).
        check_nulls: proves that the rows without a geometry, given by number, have none in the file.
    """

    path: Path
    drivers: tuple[str, ...]
    driver: str
    name: str
    how: OpenOptions
    crs: str | None
    geometry_type: str
    rows: int | None
    fields: pa.Schema
    fid: str | None
    fid_column: str
    geometry_name: str
    times: dict[str, pa.DataType]
    warnings: tuple[RunWarning, ...]
    counted: Counter[str] = field(default_factory=Counter)
    records: RowNumbers | None = None
    correct: Callable[[tuple[pa.Array, ...], int], tuple[pa.Array, ...]] | None = None
    check_nulls: Callable[[RowNumbers], None] | None = None


def check_content(source: SourceFile, head: bytes) -> None:
    """See VectorFormat: the file must begin with one of the format's signatures."""
    if not head.startswith(source.format.signatures):
        raise CONTENT_MISMATCH(file=source.file, format=source.format.name, found=looks_like(head))


def open_source(source: SourceFile) -> VectorSource:
    """See VectorFormat."""
    copy = neutral_copy(source.path, source.format.suffixes[0])
    return layer_source(source, open_layer(copy, source, source.declared.layer))


def list_layers(source: VectorSource) -> tuple[str, ...]:
    """See VectorFormat."""
    fmt = find_format(source.format)
    with gdal.only_drivers(fmt.drivers if fmt is not None else ()):
        return tuple(str(name) for name, _ in pyogrio.list_layers(source.path))


def layer_source(
    source: SourceFile, layer: Layer, *, name: str | None = None, encoding: str = "utf-8", crs_fix: str = ""
) -> VectorSource:
    """An opened layer as a source.

    Args:
        source: the file that the manifest declares.
        layer: its layer; attributes are named by `layer.fields`.
        name: of the layer, where the file was opened under a name that is not its own.
        encoding: in which the file's text is written.
        crs_fix: how to give the CRS of a source that has none, in place of the usual advice.

    Raises:
        RunRefused: crs_missing, crs_conflict, crs_unknown.
    """
    file = source.file
    found = parse_crs(layer.crs, file, "in the source") if layer.crs else None
    return VectorSource(
        file=file,
        path=layer.path,
        format=source.format.name,
        driver=layer.driver,
        layer=name or layer.name,
        crs=resolve_crs(found, source.declared.crs, file, crs_fix),
        schema=layer.fields,
        rows=layer.rows,
        geometry_type=layer.geometry_type,
        encoding=encoding,
        warnings=layer.warnings,
        counted=layer.counted,
        open_chunks=lambda: cut(read_layer(layer, file), file),
        carries_crs=found is not None,
    )


def open_layer(path: Path, source: SourceFile, wanted: str | None, how: OpenOptions = DEFAULTS) -> Layer:
    """Choose a layer and describe it.

    Args:
        path: the file as GDAL opens it, a neutral copy of `source.path`.
        source: the file that the manifest declares.
        wanted: name of the layer; None for the only layer with geometries.
        how: what is special about the format.

    Raises:
        RunRefused: content_mismatch, layers_too_many, layer_ambiguous, layer_unknown, geometry_missing,
            geometry_damaged, and what `how.check_layer` raises.
    """
    file, fmt = source.file, source.format
    try:
        with gdal.only_drivers(fmt.drivers, how.config) as notes:
            name = _choose(pyogrio.list_layers(path), wanted, file, source.limits.layers)
            if how.check_layer is not None:
                how.check_layer(name)
            info = pyogrio.read_info(path, layer=name, force_feature_count=True, **how.options)
            # A key column that the source names itself is data; a generated one is not.
            fid_column = str(info["fid_column"] or "")
            fid = None if fid_column.lower() in how.generated_keys else fid_column
            with pyogrio.open_arrow(path, layer=name, use_pyarrow=True, return_fids=fid is not None, **how.options) as (
                _,
                reader,
            ):
                schema = reader.schema
            times = {} if how.times_in_utc else _time_types(path, name, schema, how.options)
    except (DataSourceError, DataLayerError, pa.ArrowException) as err:
        if "Geometry type is not supported" in str(err):  # pyogrio has no name for triangulated surfaces
            raise TRIANGULATED_SURFACES(file=file) from None
        raise UNREADABLE(file=file, format=fmt.name, error=_reported(err, path)) from None
    if info["driver"] not in fmt.drivers:
        raise OTHER_DRIVER(file=file, format=fmt.name, driver=info["driver"])
    return Layer(
        path=path,
        drivers=fmt.drivers,
        driver=info["driver"],
        name=name,
        how=how,
        crs=_known_crs(info["crs"]),
        geometry_type=info["geometry_type"] or "Unknown",
        rows=info["features"] if info["features"] >= 0 else None,
        fields=pa.schema([_plain_field(f, times) for f in schema if not _is_geometry(f)]),
        fid=fid,
        fid_column=fid_column,
        geometry_name=info["geometry_name"],
        times=times,
        warnings=tuple(GDAL_NOTE(file=file, note=note) for note in dict.fromkeys(notes) if "Measured (M)" not in note),
    )


def read_layer(layer: Layer, file: str) -> Generator[Batch, None, None]:
    """All rows in source order, in batches of at most 16k rows and about 8 MiB (one row at least).

    Curves come out as lines (GDAL's default step), counted as `curved_linearized`. The number of rows is proven equal
    to what the layer announced.

    Yields:
        (attributes, geometries as WKB with null where a row has none).

    Raises:
        RunRefused: encoding_wrong, file_damaged, geometry_columns, feature_too_large.
    """
    done = 0
    nulls: list[RowNumbers] = []
    try:
        for batch in _batches(layer, file):
            names = batch.schema.names
            geometry = [i for i, f in enumerate(batch.schema) if _is_geometry(f)]
            if len(geometry) != 1:
                raise GEOMETRY_COLUMNS(file=file, layer=layer.name, count=len(geometry))
            attributes = tuple(
                _plain_array(batch.column(i), layer.times.get(names[i])) for i in range(len(names)) if i not in geometry
            )
            if layer.correct is not None:
                attributes = layer.correct(attributes, done)
            _check_text(attributes, layer.fields, done, file)
            wkb = batch.column(geometry[0])
            if wkb.null_count:
                nulls.append(np.flatnonzero(wkb.is_null().to_numpy(zero_copy_only=False)) + done)
            wkb = _without_curves(layer, wkb, done)
            done += batch.num_rows
            yield attributes, wkb
    except MemoryError:
        raise
    except (DataSourceError, DataLayerError, pa.ArrowException, OSError) as err:
        if "allocate memory" in str(err):
            raise MemoryError(str(err)) from err
        rows = "an unknown number" if layer.rows is None else layer.rows
        raise READING_STOPPED(file=file, done=done, rows=rows, error=_reported(err, layer.path)) from None
    if layer.rows is not None and done != layer.rows:
        raise ROWS_MISSING(file=file, announced=layer.rows, read=done)
    if layer.check_nulls is not None:
        layer.check_nulls(np.concatenate([np.empty(0, np.intp), *nulls]))


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
                raise FEATURE_TOO_LARGE(file=file, row=done) from None
            alone = True


def _open_batches(layer: Layer, skip: int, alone: bool) -> Iterator[pa.RecordBatch]:
    rows, most = _BATCH_ROWS, _MOST_BYTES if alone else _BATCH_BYTES
    if layer.how.bound_by_rows:
        mean = layer.path.stat().st_size // max(layer.rows or 1, 1)
        rows, most = max(1, min(rows, _BATCH_BYTES // max(mean, 1))), _MOST_BYTES
    if layer.records is not None:
        skip = int(layer.records[skip])  # the driver counts deleted records when it skips
    with ExitStack() as stack:
        with gdal.only_drivers(layer.drivers, {**layer.how.config, "OGR_ARROW_MEM_LIMIT": str(most)}):
            _, reader = stack.enter_context(
                pyogrio.open_arrow(
                    layer.path,
                    layer=layer.name,
                    use_pyarrow=True,
                    batch_size=1 if alone else rows,
                    skip_features=skip,
                    return_fids=layer.fid is not None,
                    datetime_as_string=bool(layer.times),
                    **layer.how.options,
                )
            )
        yield from islice(reader, 1) if alone else reader


def _choose(layers: Any, wanted: str | None, file: str, most: int) -> str:
    """The only layer with geometries, or the one that files[].layer names."""
    names = [str(name) for name, _ in layers]
    if len(names) > most:
        raise LAYERS_TOO_MANY(file=file, layers=len(names), limit=most)
    if wanted is not None and wanted not in names:
        raise unknown_layer(wanted, names, file)
    spatial = [str(name) for name, geometry in layers if geometry is not None]
    if not spatial or (wanted is not None and wanted not in spatial):
        raise GEOMETRY_MISSING(file=file, subject=f"Layer {wanted!r} of {file}" if wanted else file)
    if wanted is None and len(spatial) > 1:
        raise LAYER_AMBIGUOUS(file=file, count=len(spatial), names=", ".join(map(repr, spatial)))
    return wanted or spatial[0]


def _time_types(path: Path, layer: str, schema: pa.Schema, options: Mapping[str, str]) -> dict[str, pa.DataType]:
    """Types of the timestamp columns, by their values."""
    names = [column.name for column in schema if pa.types.is_timestamp(column.type)]
    if not names:
        return {}
    with pyogrio.open_arrow(
        path, layer=layer, columns=names, read_geometry=False, use_pyarrow=True, datetime_as_string=True, **options
    ) as (_, reader):
        return time_types(names, reader)


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
                    raise ENCODING_WRONG(
                        file=file, field=column.name, row=first_row + row, found=shown(value), encoding="UTF-8"
                    ) from None
            raise


def _without_curves(layer: Layer, wkb: pa.Array, first_row: int) -> pa.Array:
    """The geometries, curves replaced by lines: GDAL linearises on its feature route, not on its Arrow route."""
    if _is_torn(wkb):
        wkb = _by_feature(layer, first_row, len(wkb))
    heads = pc.binary_slice(wkb, 0, 5)
    kinds = {head: _base_type(head) for head in pc.unique(heads).to_pylist() if head is not None}
    if all(kind < 7 for kind in kinds.values()):
        return wkb
    curved = np.array([head is not None and 7 < kinds[head] < 15 for head in heads.to_pylist()])
    for row in np.flatnonzero([head is not None and kinds[head] == 7 for head in heads.to_pylist()]):
        curved[row] = shapely.from_wkb(wkb[int(row)].as_py(), on_invalid="ignore") is None
    if not curved.any():
        return wkb
    layer.counted["curved_linearized"] += int(curved.sum())
    return _by_feature(layer, first_row, len(wkb))


def _by_feature(layer: Layer, first_row: int, count: int) -> pa.Array:
    """The geometries of these rows, through GDAL's feature route."""
    with gdal.only_drivers(layer.drivers, layer.how.config):
        found = pyogrio.raw.read(
            layer.path, layer=layer.name, columns=[], skip_features=first_row, max_features=count, **layer.how.options
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


def _reported(err: BaseException, path: Path) -> str:
    """GDAL's message without paths of this host."""
    text = " ".join(str(err).split()).replace(str(path), path.name).partition("; It might help")[0]
    return text if text.endswith(".") else text + "."
