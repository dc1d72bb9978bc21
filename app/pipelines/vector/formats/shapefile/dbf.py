"""The .dbf of a shapefile: in which encoding its text is, and the values that GDAL would change. Nothing is guessed."""

from __future__ import annotations

import re
import string
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from app.messages.vector_formats import (
    CPG_ENCODING,
    DBF_CUT_TEXT,
    DBF_ENCODING,
    DBF_FIELDS,
    DBF_ROWS_TRUNCATED,
    DBF_TEXT,
    DBF_TRUNCATED,
    DBF_WIDE_INTEGERS,
    ENCODING_MISSING,
)
from app.models.encodings import encoding_name
from app.pipelines.vector.formats.files import shown

_BLOCK_ROWS = 65_536
# Field types of dBase whose bytes are not text.
_BINARY = b"BGPOI+@TY"
_DELETED = ord("*")
# GDAL and Python convert text with different tables. For these encodings, the results are the same.
_SAME_FOR_GDAL = ("utf-8", "ascii", "iso8859-1")
_INTEGER = re.compile(r"[+-]?[0-9]+")
_MAYBE_INTEGER = np.isin(np.arange(256), list(b"0123456789 +-*\0"))
_WIDEST_INTEGER = 18
# ASCII that stands for something else in the encodings that are written in ASCII: ISO 2022, HZ, UTF-7.
_ESCAPES = "".join(map(chr, range(0x20, 0x7F))) + " ~{AB~} +AGE- \x1b$B0! "
_CODE_PAGES = {
    0x01: "cp437", 0x02: "cp850", 0x03: "cp1252", 0x08: "cp865", 0x09: "cp437", 0x0A: "cp850", 0x0B: "cp437",
    0x0D: "cp437", 0x0E: "cp850", 0x0F: "cp437", 0x10: "cp850", 0x11: "cp437", 0x12: "cp850", 0x13: "cp932",
    0x14: "cp850", 0x15: "cp437", 0x16: "cp850", 0x17: "cp865", 0x18: "cp437", 0x19: "cp437", 0x1A: "cp850",
    0x1B: "cp437", 0x1C: "cp863", 0x1D: "cp850", 0x1F: "cp852", 0x22: "cp852", 0x23: "cp852", 0x24: "cp860",
    0x25: "cp850", 0x26: "cp866", 0x37: "cp850", 0x40: "cp852", 0x4D: "cp936", 0x4E: "cp949", 0x4F: "cp950",
    0x50: "cp874", 0x57: "iso8859-1", 0x58: "cp1252", 0x59: "cp1252", 0x64: "cp852", 0x65: "cp866", 0x66: "cp865",
    0x67: "cp861", 0x6A: "cp737", 0x6B: "cp857", 0x6C: "cp863", 0x78: "cp950", 0x79: "cp949", 0x7A: "cp936",
    0x7B: "cp932", 0x7C: "cp874", 0x86: "cp737", 0x87: "cp852", 0x88: "cp857", 0xC8: "cp1250", 0xC9: "cp1251",
    0xCA: "cp1254", 0xCB: "cp1253", 0xCC: "cp1257",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Field:
    name: bytes
    kind: int
    start: int
    width: int
    decimals: int


@dataclass(frozen=True, slots=True)
class Dbf:
    """What must be corrected after GDAL has read the attributes of a shapefile.

    Attributes:
        codec: how text that GDAL read as Latin-1 becomes the real text; None where GDAL knows the encoding.
        rows: number of records without the deleted ones.
        deleted: number of deleted records.
        records: the numbers of the records that are not deleted; None where none is deleted.
        integers: columns of whole numbers that GDAL would round or cut off, with the type they get instead.
        table: the records as bytes.
    """

    codec: str | None
    rows: int
    deleted: int
    records: np.ndarray[Any, Any] | None
    integers: dict[int, tuple[_Field, pa.DataType]]
    table: np.ndarray[Any, Any]

    def schema(self, fields: pa.Schema) -> pa.Schema:
        """The real names and types for those that GDAL gave."""
        real = []
        for i, field in enumerate(fields):
            name = field.name.encode("latin-1").decode(self.codec) if self.codec else field.name
            kind = self.integers[i][1] if i in self.integers else field.type
            real.append(pa.field(name, kind, True, field.metadata))
        return pa.schema(real)

    def correct(self, attributes: tuple[pa.Array, ...], first_row: int, file: str) -> tuple[pa.Array, ...]:
        """The real values of some rows for those that GDAL gave. Raises RunRefused: encoding_wrong."""
        real = list(attributes)
        for i, array in enumerate(attributes):
            if i in self.integers:
                field, kind = self.integers[i]
                rows: Any = slice(first_row, first_row + len(array))
                if self.records is not None:
                    rows = self.records[rows]
                    rows = rows[rows < len(self.table)]
                values: list[Any] = _texts(self.table[rows], field)
                values += [None] * (len(array) - len(values))
                if not pa.types.is_string(kind):
                    number = int if pa.types.is_integer(kind) else float
                    values = [value and number(value) for value in values]
                real[i] = pa.array(values, kind)
            elif self.codec and pa.types.is_string(array.type):
                try:
                    real[i] = _decoded(array, self.codec)
                except UnicodeDecodeError as err:  # GDAL ends text at a NUL, maybe within a character
                    last = first_row + len(array) - 1
                    raise DBF_CUT_TEXT(
                        file=file, first=first_row, last=last, found=shown(err.object), encoding=self.codec
                    ) from None
        return tuple(real)


def gdal_encoding(encoding: str) -> str:
    """The encoding to give to GDAL: Latin-1, which loses nothing, where GDAL's tables may differ from Python's."""
    return encoding.replace("iso8859", "ISO-8859").upper() if encoding in _SAME_FOR_GDAL else "ISO-8859-1"


def open_dbf(path: Path, shapes: int, encoding: str, fields: int, file: str) -> Dbf:
    """Describe the .dbf of a shapefile.

    Args:
        path: the .dbf, whose text `text_encoding` has proven.
        shapes: number of records of the .shp.
        encoding: as `text_encoding` found it.
        fields: number of fields that GDAL reads.
        file: the landing key, for messages.

    Raises:
        RunRefused: value_invalid where GDAL skips fields, so that columns cannot be assigned to fields; file_truncated,
            file_damaged.
    """
    with path.open("rb") as stream:
        rows, header, record, known = _fields(stream.read(65_535), file)
    rows = min(rows, shapes)
    table = np.zeros((0, 1), np.uint8)
    if rows and record:
        table = np.memmap(path, np.uint8, "r", header, (rows, record))
    is_deleted = np.zeros(shapes, bool)
    is_deleted[: len(table)] = table[:, 0] == _DELETED
    deleted = int(is_deleted.sum())
    integers = {}
    for i, field in enumerate(known):
        if field.kind in b"NF" and not field.decimals and (kind := _integer_type(table, field)) is not None:
            integers[i] = field, kind
    if integers and len(known) != fields:
        raise DBF_WIDE_INTEGERS(file=file, readable=fields, fields=len(known), digits=_WIDEST_INTEGER)
    return Dbf(
        codec=None if encoding in _SAME_FOR_GDAL else encoding,
        rows=shapes - deleted,
        deleted=deleted,
        records=np.flatnonzero(~is_deleted) if deleted else None,
        integers=integers,
        table=table,
    )


def _integer_type(table: np.ndarray[Any, Any], field: _Field) -> pa.DataType | None:
    """The type of a column of whole numbers by its values; None where GDAL reads it right."""
    wide = field.width > _WIDEST_INTEGER
    if wide and field.kind == ord("F"):
        return None
    ranks = {_rank(value, field.kind) for value in _suspects(table, field, wide) if value is not None}
    worst = max(ranks, default=0)
    if worst == 0 and not wide:
        return None
    return (pa.int64(), pa.float64(), pa.string())[worst]


def _suspects(table: np.ndarray[Any, Any], field: _Field, wide: bool) -> Iterator[str | None]:
    """The values of a column, without blocks in which GDAL reads all of them right."""
    for first in range(0, len(table), _BLOCK_ROWS):
        block = table[first : first + _BLOCK_ROWS]
        block = block[block[:, 0] != _DELETED]
        if wide or not _MAYBE_INTEGER[block[:, field.start : field.start + field.width]].all():
            yield from _texts(block, field)


def _rank(value: str, kind: int) -> int:
    """The least type that a column with this value must have: 0 an integer, 1 a float (type F only), 2 text."""
    if _INTEGER.fullmatch(value):
        return 0 if -(2**63) <= int(value) < 2**63 else 2
    try:
        float(value)
    except ValueError:
        return 2
    return 1 if kind == ord("F") else 2


def _texts(block: np.ndarray[Any, Any], field: _Field) -> list[str | None]:
    """The numbers of some records as they are written; null where there is none."""
    part = np.ascontiguousarray(block[:, field.start : field.start + field.width])
    values = [raw.decode("latin-1").strip(" \0") for raw in part.view(f"S{field.width}").ravel().tolist()]
    return [None if not value or value.startswith("*") else value for value in values]


def _decoded(array: pa.Array, codec: str) -> pa.Array:
    """Text that was read as Latin-1, by the encoding it is in."""
    values = array.dictionary_encode()
    real = [value.encode("latin-1").decode(codec) for value in values.dictionary.to_pylist()]
    return pa.array(real, pa.string()).take(values.indices)


def _keeps(encoding: str, characters: str) -> bool:
    try:
        return characters.encode("ascii").decode(encoding) == characters
    except UnicodeDecodeError:
        return False


def text_encoding(dbf: Path, cpg: Path | None, wanted: str | None, file: str) -> str:
    """The encoding of the attributes, as a Python codec name.

    The manifest's options.encoding comes first, then the .cpg, then the language byte of the .dbf. Where none of them
    names one, ASCII and UTF-8 are recognised and anything else is refused. All text is then proven to be in that
    encoding.

    Raises:
        RunRefused: encoding_unknown, encoding_wrong (field, row, bytes), encoding_missing, file_truncated.
    """
    declared, origin = _declared(dbf, cpg, wanted, file)
    encoding = declared or "utf-8"
    if not _keeps(encoding, string.ascii_letters + string.digits + " "):
        raise DBF_ENCODING(file=file, encoding=encoding, origin=origin)
    for row, field, value in _non_ascii(dbf, file, not _keeps(encoding, _ESCAPES)):
        try:
            value.decode(encoding)
        except UnicodeDecodeError:
            name = field.name.decode("latin-1")
            place = f"field {name!r} of row {row} has the bytes {shown(value)}"
            if declared:
                raise DBF_TEXT(file=file, place=place, encoding=encoding, origin=origin) from None
            raise ENCODING_MISSING(file=file, place=place) from None
    return encoding


def _declared(dbf: Path, cpg: Path | None, wanted: str | None, file: str) -> tuple[str | None, str]:
    if wanted:
        return wanted, "options.encoding"
    if cpg is not None and (text := cpg.read_bytes()[:64].decode("latin-1").strip("\x00\ufeff \r\n\t")):
        name = _codec(text)
        if name is None:
            raise CPG_ENCODING(file=file, text=text)
        return name, "its .cpg"
    with dbf.open("rb") as stream:
        head = stream.read(32)
    page = _CODE_PAGES.get(head[29]) if len(head) == 32 else None
    return page, f"language byte {head[29]:#04x} of its .dbf" if page else ""


def _codec(text: str) -> str | None:
    """Python's codec for the spellings that .cpg files use: UTF-8, 1252, ISO 88591, ISO-8859-1, ANSI 1252, 88591."""
    word = text.upper().replace("ANSI ", "").replace("OEM ", "").strip()
    names = [word, f"cp{word}"]
    compact = word.replace(" ", "").replace("-", "").replace("_", "").removeprefix("ISO")
    if compact.startswith("8859") and len(compact) > 4:
        names.insert(0, f"iso8859-{compact[4:]}")
    for name in names:
        if (found := encoding_name(name)) is not None:
            return found
    return None


def _fields(head: bytes, file: str) -> tuple[int, int, int, list[_Field]]:
    """(rows, header bytes, record bytes, fields) of a .dbf."""
    if len(head) < 32:
        raise DBF_TRUNCATED(file=file)
    rows, header, record = struct.unpack("<LHH", head[4:12])
    fields, start, at = [], 1, 32
    while at + 32 <= min(header, len(head)) and head[at] != 0x0D:
        kind, width, decimals = head[at + 11], head[at + 16], head[at + 17]
        if kind == ord("C"):
            width, decimals = width + (decimals << 8), 0
        fields.append(_Field(head[at : at + 11].split(b"\x00")[0], kind, start, width, decimals))
        start += width
        at += 32
    if start > record:
        raise DBF_FIELDS(file=file, record=record, fields=start)
    return rows, header, record, fields


def _non_ascii(dbf: Path, file: str, ascii_too: bool) -> Iterator[tuple[int, _Field, bytes]]:
    """(row, field, value) of every text value, and every field name, with a byte over 127; row -1 for names.

    ascii_too: of all others too, for encodings that are written in ASCII. Deleted records are no rows.
    """
    with dbf.open("rb") as stream:
        head = stream.read(65_535)
        rows, header, record, fields = _fields(head, file)
        size = dbf.stat().st_size
        if record and size < header + rows * record:
            raise DBF_ROWS_TRUNCATED(file=file, size=size, rows=rows, record=record)
        for field in fields:
            if ascii_too or any(byte > 127 for byte in field.name):
                yield -1, field, field.name
        stream.seek(header)
        done = 0
        for first in range(0, rows, _BLOCK_ROWS):
            block = stream.read(min(_BLOCK_ROWS, rows - first) * record)
            table = np.frombuffer(block, np.uint8).reshape(-1, record)
            table = table[table[:, 0] != _DELETED] if record else table
            first_row, done = done, done + len(table)
            if int(table.max(initial=0)) < 128 and not ascii_too:
                continue
            for field in fields:
                if field.kind in _BINARY:
                    continue
                part = table[:, field.start : field.start + field.width]
                for row in np.flatnonzero((part > 127).any(axis=1) | ascii_too):
                    yield first_row + int(row), field, part[row].tobytes().rstrip(b" \x00")
