"""Reading a layer through GDAL, as a stream of Arrow batches bounded in bytes."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyogrio
from pyogrio.errors import DataLayerError, DataSourceError

from app.messages.vector import ENCODING_WRONG, FEATURE_TOO_LARGE, GEOMETRY_COLUMNS, READING_STOPPED, ROWS_MISSING
from app.pipelines.common import gdal
from app.pipelines.common.curves import without_curves
from app.pipelines.vector.formats.files import shown
from app.pipelines.vector.formats.layer import Layer, RowNumbers, is_geometry, reported
from app.pipelines.vector.formats.times import to_times
from app.pipelines.vector.source import Batch
from app.settings import MiB
from app.system.memory import says_no_memory

_BATCH_ROWS = 16_384
_BATCH_BYTES = 8 * MiB
_MOST_BYTES = 2**31 - 1


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
            geometry = [i for i, f in enumerate(batch.schema) if is_geometry(f)]
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
        if says_no_memory(str(err)):
            raise MemoryError(str(err)) from err
        rows = "an unknown number" if layer.rows is None else layer.rows
        raise READING_STOPPED(file=file, done=done, rows=rows, error=reported(err, layer.path)) from None
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
        mean = (layer.path.stat().st_size + layer.how.bytes_beside) // max(layer.rows or 1, 1)
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
    """The geometries, curves replaced by lines, also within collections: on its Arrow route GDAL keeps them."""
    if _is_torn(wkb):
        wkb = _by_feature(layer, first_row, len(wkb))
    heads = pc.binary_slice(wkb, 0, 5)
    kinds = {head: _base_type(head) for head in pc.unique(heads).to_pylist() if head is not None}
    if all(kind < 7 for kind in kinds.values()):
        return wkb
    lines = {
        row: made
        for row, head in enumerate(heads.to_pylist())
        if head is not None and 7 <= kinds[head] < 15 and (made := without_curves(wkb[row].as_py())) is not None
    }
    if not lines:
        return wkb
    layer.counted["curved_linearized"] += len(lines)
    return pa.array([lines.get(row, value) for row, value in enumerate(wkb.to_pylist())], wkb.type)


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
