"""Reading GeoJSON (RFC 7946) and newline-delimited or RFC 8142 GeoJSON text sequences, in bounded memory.

GDAL's reader is not used: it takes twice as long, its schema depends on the size of the numbers, and it opens URLs in
a `crs` member. The file is read twice: once for the columns, once for the rows.
"""

from __future__ import annotations

import codecs
import os
import tempfile
from collections import Counter
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.messages.common import CONTENT_MISMATCH, ENCODING_CONTRADICTED
from app.messages.vector import FILE_NOT_IN_ENCODING, MEMBERS_IGNORED, MEMBERS_REPEATED, MIXED_COLUMNS
from app.models.runs.run import RunWarning
from app.pipelines.common.byte_order_mark import find_mark, find_zeros, is_same_encoding
from app.pipelines.common.content import looks_like
from app.pipelines.common.crs import resolve_crs
from app.pipelines.common.findings import Findings
from app.pipelines.common.gc_paused import paused_collector
from app.pipelines.common.ordered_map import in_order
from app.pipelines.common.shapes import Shapes, combine
from app.pipelines.vector.formats.geojson.frame import Frame, Run, open_frame
from app.pipelines.vector.formats.geojson.shapes import BULK_TYPES, bulk_shapes, single_shapes
from app.pipelines.vector.formats.geojson.table import Columns, TypedColumns, read_table
from app.pipelines.vector.formats.geojson.text import Features, JsonLayout, lay_out, parse, repeated_members
from app.pipelines.vector.formats.geojson.values import Column, observe, to_array
from app.pipelines.vector.formats.reader import SourceFile, check_only_layer, only_layer
from app.pipelines.vector.source import Chunk, VectorSource
from app.settings import MiB

list_layers = only_layer
_MEMBERS = {"type", "id", "properties", "geometry", "bbox"}
_TRANSCODE_BLOCK = 1 * MiB


@dataclass(frozen=True, slots=True)
class _Names:
    """Names of columns. properties: as in the file, in order; id: for the `id` of features, None where none has one."""

    properties: tuple[str, ...]
    id: str | None


def check_content(source: SourceFile, head: bytes) -> None:
    """See VectorFormat: the text begins with an object, after a byte order mark or a record separator."""
    mark, encoding, _ = _encoding(head, source.encoding, source.file)
    text = head[len(mark) :].decode(encoding, "replace")
    if not text.lstrip(" \t\r\n\x1e").startswith("{"):
        found = looks_like(text.encode() if encoding.startswith(("utf-16", "utf-32")) else head)
        raise CONTENT_MISMATCH(file=source.file, format=source.format.name, found=found)


def open_sources(source: SourceFile) -> list[VectorSource]:
    """See VectorFormat. Finds features, columns and CRS.

    Coordinates are longitude before latitude in OGC:CRS84 unless a `crs` member of the older standard says otherwise.
    Columns: the features' `id` first, where any has one (`feature_id` where a property is called `id`, in any case),
    then all properties of all features, null where a feature has none; types as in `geojson.values`. Strings that look
    like dates stay strings. Other members of features are left out, with a warning.

    Raises:
        RunRefused: json_invalid, file_truncated, encoding_wrong, content_mismatch, crs_*, layer_unknown.
    """
    declared, limits, file = source.declared, source.limits, source.file
    path, encoding = _as_utf8(source.path, source.encoding, file)
    frame = open_frame(path, source.format.name, file)
    columns: dict[str, Column] = {}
    ids, other = Column(), Counter[str]()
    blocks = []
    rows = repeated = 0

    def read(block: tuple[Run, Columns]) -> tuple[Run, JsonLayout, TypedColumns | None]:
        run, known = block
        layout = lay_out(run.data, run.brackets, commas=not frame.sequence)
        return run, layout, read_table(layout, known)

    with paused_collector():
        runs = ((run, _known(columns, ids)) for run in frame.runs())
        for run, layout, table in in_order(read, runs, source.threads):
            if table is None:
                text = parse(layout, file, rows)
                _observe(text, columns, ids, other, limits.columns)
                repeated += repeated_members(layout, text)
            else:
                _observe_table(table, columns, ids)
            blocks.append(_Block(run.offset, len(run.data), rows))
            rows += len(layout.starts)
            if rows > limits.rows or len(columns) > limits.columns:
                break
    crs = resolve_crs(frame.crs(), declared.crs, file)
    check_only_layer(source, frame.name)
    names = _Names(tuple(columns), _id_name(columns) if ids.kinds else None)
    schema = pa.schema(([_field(names.id, ids)] if names.id else []) + [_field(n, c) for n, c in columns.items()])
    opened = VectorSource(
        file=file,
        path=path,
        format=source.format.name,
        driver=source.format.name,
        layer=frame.name,
        crs=crs,
        schema=schema,
        rows=rows,
        geometry_type="Unknown",
        encoding=encoding,
        warnings=tuple(_warnings(file, columns, other, repeated)),
        counted=Counter(),
        open_chunks=lambda: _chunks(frame, blocks, names, schema, file),
        valueless=frozenset(name for name, column in columns.items() if not column.kinds),
    )
    return [opened]


@dataclass(frozen=True, slots=True)
class _Block:
    offset: int
    size: int
    first_row: int


@dataclass(frozen=True, slots=True)
class _TextChunk:
    """Features as text: reading, parsing and converting all happen where the chunk is decoded."""

    frame: Frame
    block: _Block
    names: _Names
    schema: pa.Schema
    file: str

    @property
    def first_row(self) -> int:
        return self.block.first_row

    def decode(self, findings: Findings) -> tuple[tuple[pa.Array, ...], Shapes]:
        data = self.frame.read(self.block.offset, self.block.size)
        layout = lay_out(data, commas=not self.frame.sequence)
        attributes, kinds = _content(layout, self)
        return attributes, _shapes(layout, kinds, self.file, self.first_row, findings)


def _chunks(
    frame: Frame, blocks: Sequence[_Block], names: _Names, schema: pa.Schema, file: str
) -> Generator[Chunk, None, None]:
    for block in blocks:
        yield _TextChunk(frame, block, names, schema, file)


def _content(layout: JsonLayout, chunk: _TextChunk) -> tuple[tuple[pa.Array, ...], pa.Array]:
    """(attributes, types of the geometries)."""
    names, fields = chunk.names, list(chunk.schema)
    own = fields.pop(0).type if names.id else None
    table = read_table(layout, Columns([(field.name, field.type) for field in fields], own))
    if table is not None:
        return (*([] if table.ids is None else [table.ids]), *table.properties), table.kinds
    text = parse(layout, chunk.file, chunk.first_row)
    return _attributes(text, names, chunk.schema), text.kinds()


def _shapes(layout: JsonLayout, kinds: pa.Array, file: str, first_row: int, findings: Findings) -> Shapes:
    """All geometries: in bulk by type, and one by one where there is no plain `coordinates` array."""
    done = np.zeros(len(kinds), np.bool_)
    parts = []
    for kind in sorted(BULK_TYPES.intersection(pc.unique(kinds).to_pylist())):
        is_kind = pc.fill_null(pc.equal(kinds, kind), False).to_numpy(zero_copy_only=False)
        at = np.flatnonzero(is_kind & (layout.coordinates[0] >= 0))
        made = bulk_shapes(kind, layout.coordinate_texts(at)) if len(at) else None
        if made is not None:
            rows = at[made[0]]
            parts.append((rows, made[1]))
            done[rows] = True
    rest = np.flatnonzero(~done)
    if len(rest):
        there = kinds.is_valid().to_numpy(zero_copy_only=False)
        geometries = [layout.geometry(row, file, first_row) if there[row] else None for row in rest.tolist()]
        parts.append((rest, single_shapes(geometries, rest, file, first_row, findings)))
    return combine(len(kinds), parts)


def _known(columns: Mapping[str, Column], ids: Column) -> Columns:
    """The columns so far."""
    found = [(name, column.arrow_type) for name, column in columns.items()]
    return Columns(found, ids.arrow_type if ids.kinds else None)


def _observe_table(table: TypedColumns, columns: Mapping[str, Column], ids: Column) -> None:
    """Add values that are of the columns and types that some earlier features had."""
    # Columns that were seen since then are behind them.
    for column, values in zip(columns.values(), table.properties, strict=False):
        column.observe_array(values)
    if table.ids is not None:
        ids.observe_array(table.ids)


def _observe(text: Features, columns: dict[str, Column], ids: Column, other: Counter[str], most: int) -> None:
    observe(columns, text.properties, most)
    found = text.ids()
    if found is not None:
        ids.observe(found)
    for name in set().union(*set(map(tuple, text.features))) - _MEMBERS:
        other[name] += sum(name in feature for feature in text.features)


def _attributes(text: Features, names: _Names, schema: pa.Schema) -> tuple[pa.Array, ...]:
    arrays = []
    if names.id:
        arrays.append(to_array(text.ids() or [None] * len(text.features), schema.field(0).type))
    kinds = [field.type for field in schema][len(arrays) :]
    if set(map(tuple, text.properties)) == {names.properties}:
        columns = zip(*(record.values() for record in text.properties), strict=True)
        return (*arrays, *(to_array(values, kind) for values, kind in zip(columns, kinds, strict=True)))
    for name, kind in zip(names.properties, kinds, strict=True):
        arrays.append(to_array([record.get(name) for record in text.properties], kind))
    return tuple(arrays)


def _id_name(columns: dict[str, Column]) -> str:
    taken = {name.casefold() for name in columns}
    name, number = "id", 0
    while name in taken:
        name = "feature_id" if number == 0 else f"feature_id_{number}"
        number += 1
    return name


def _field(name: str | None, column: Column) -> pa.Field:
    return pa.field(name, column.arrow_type, True, {"logical_type": "json"} if column.is_json else None)


def _warnings(file: str, columns: dict[str, Column], other: Counter[str], repeated: int) -> Iterator[RunWarning]:
    if repeated:
        yield MEMBERS_REPEATED(file=file, count=repeated)
    mixed = [name for name, column in columns.items() if column.is_mixed]
    if mixed:
        yield MIXED_COLUMNS(file=file, names=", ".join(map(repr, mixed)))
    if other:
        listed = ", ".join(f"{name!r} ({count})" for name, count in other.most_common(10))
        yield MEMBERS_IGNORED(file=file, members=listed)


def _encoding(head: bytes, declared: str | None, file: str) -> tuple[bytes, str, str]:
    """(byte order mark, encoding, what says so): a mark decides, then the manifest, then zeros between the characters.

    Raises RunRefused encoding_wrong.
    """
    if (marked := find_mark(head)) is not None:
        if declared is not None and not is_same_encoding(declared, marked[1]):
            raise ENCODING_CONTRADICTED(file=file, encoding=declared, found=marked[1])
        return *marked, "by its byte order mark"
    if declared is not None:
        return b"", declared, "`options.encoding`"
    return b"", find_zeros(head) or "utf-8", "by its first bytes"


def _as_utf8(path: Path, declared: str | None, file: str) -> tuple[Path, str]:
    """(the file, converted to UTF-8 beside it where it has another encoding; its encoding)."""
    with path.open("rb") as stream:
        mark, encoding, origin = _encoding(stream.read(4), declared, file)
    if encoding in ("utf-8", "utf-8-sig", "ascii"):
        return path, encoding
    decoder = codecs.getincrementaldecoder(encoding)()
    handle, name = tempfile.mkstemp(prefix="utf8-", dir=path.parent)
    done = len(mark)
    with os.fdopen(handle, "wb") as out, path.open("rb") as stream:
        stream.seek(done)
        try:
            for block in iter(partial(stream.read, _TRANSCODE_BLOCK), b""):
                out.write(decoder.decode(block).encode())
                done += len(block)
            out.write(decoder.decode(b"", True).encode())
        except UnicodeError:
            raise FILE_NOT_IN_ENCODING(file=file, encoding=encoding, origin=origin, at=done) from None
    return Path(name), encoding
