"""In which encoding the text of a .dbf is. Nothing is guessed."""

from __future__ import annotations

import string
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from app.messages.vector_formats import (
    CPG_ENCODING,
    DBF_ENCODING,
    DBF_ROWS_TRUNCATED,
    DBF_TEXT,
    ENCODING_MISSING,
)
from app.models.encodings import encoding_name
from app.pipelines.vector.formats.files import shown
from app.pipelines.vector.formats.shapefile.header import DbfField, blocks, read_header, records

# Field types of dBase whose bytes are not text.
_BINARY = b"BGPOI+@TY"
# GDAL and Python convert text with different tables. For these encodings, the results are the same.
SAME_FOR_GDAL = ("utf-8", "ascii", "iso8859-1")
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


def gdal_encoding(encoding: str) -> str:
    """The encoding to give to GDAL: Latin-1, which loses nothing, where GDAL's tables may differ from Python's."""
    return encoding.replace("iso8859", "ISO-8859").upper() if encoding in SAME_FOR_GDAL else "ISO-8859-1"


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


def _non_ascii(dbf: Path, file: str, ascii_too: bool) -> Iterator[tuple[int, DbfField, bytes]]:
    """(row, field, value) of every text value, and every field name, with a byte over 127; row -1 for names.

    ascii_too: of all others too, for encodings that are written in ASCII. Deleted records are no rows.
    """
    head = read_header(dbf, file)
    size = dbf.stat().st_size
    if head.record and size < head.size + head.rows * head.record:
        raise DBF_ROWS_TRUNCATED(file=file, size=size, rows=head.rows, record=head.record)
    for field in head.fields:
        if ascii_too or any(byte > 127 for byte in field.name):
            yield -1, field, field.name
    for first_row, block in blocks(records(dbf, head, head.rows)):
        if int(block.max(initial=0)) < 128 and not ascii_too:
            continue
        for field in head.fields:
            if field.kind in _BINARY:
                continue
            part = field.of(block)
            for row in np.flatnonzero((part > 127).any(axis=1) | ascii_too):
                yield first_row + int(row), field, part[row].tobytes().rstrip(b" \x00")
