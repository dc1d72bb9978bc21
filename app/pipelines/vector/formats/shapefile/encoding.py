"""In which encoding the text of a .dbf is: as declared, and proven by all of its bytes."""

from __future__ import annotations

import codecs
import re
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from app.messages.message import MOST_SAMPLES, Notice
from app.messages.vector_formats import (
    CPG_ENCODING,
    DBF_ENCODING,
    DBF_ENCODING_ASSUMED,
    DBF_ROWS_TRUNCATED,
    DBF_TEXT,
    ENCODING_MISSING,
    TEXT_CUT,
)
from app.models.manifests.encodings import encoding_name
from app.models.runs.run import RunWarning
from app.pipelines.vector.formats.files import shown
from app.pipelines.vector.formats.shapefile.header import Bytes, DbfField, DbfHeader, blocks, read_header, records
from app.pipelines.vector.formats.shapefile.memo import MemoFile, blocks_of

# Field types of dBase whose bytes are not text.
_BINARY = b"BGPOI+@TYQW0"
# GDAL and Python convert text with different tables. For these encodings, the results are the same.
_SAME_FOR_GDAL = ("utf-8", "ascii", "iso8859-1")
_SHOWN = 40
# A name has eleven bytes, the last of them a NUL.
_LONGEST_NAME = 10
# Why Python's codecs do not decode text that ends within a character.
_CUT = ("unexpected end of data", "incomplete multibyte sequence")
# Control characters and line drawing: none of them is in words.
_ODD = re.compile("[\x80-\x9f\u2500-\u259f]")
_THAI = ("cp874", "tis-620", "iso8859-11")
# Encodings of several bytes have fewer characters of one byte.
_MOST_SINGLE = 80
# The language byte of ArcGIS for the code page of Windows.
_OF_THE_SYSTEM = "language byte 0x57"
# ASCII that stands for something else in the encodings that are written in ASCII: ISO 2022, HZ, UTF-7.
_ESCAPES = "".join(map(chr, range(0x20, 0x7F))) + " ~{AB~} +AGE- \x1b$B0! "
_CODE_PAGES = {
    0x01: "cp437", 0x02: "cp850", 0x03: "cp1252", 0x08: "cp865", 0x09: "cp437", 0x0A: "cp850", 0x0B: "cp437",
    0x0D: "cp437", 0x0E: "cp850", 0x0F: "cp437", 0x10: "cp850", 0x11: "cp437", 0x12: "cp850", 0x13: "cp932",
    0x14: "cp850", 0x15: "cp437", 0x16: "cp850", 0x17: "cp865", 0x18: "cp437", 0x19: "cp437", 0x1A: "cp850",
    0x1B: "cp437", 0x1C: "cp863", 0x1D: "cp850", 0x1F: "cp852", 0x22: "cp852", 0x23: "cp852", 0x24: "cp860",
    0x25: "cp850", 0x26: "cp866", 0x37: "cp850", 0x40: "cp852", 0x4D: "cp936", 0x4E: "cp949", 0x4F: "cp950",
    0x50: "cp874", 0x57: "cp1252", 0x58: "cp1252", 0x59: "cp1252", 0x64: "cp852", 0x65: "cp866", 0x66: "cp865",
    0x67: "cp861", 0x6A: "cp737", 0x6B: "cp857", 0x6C: "cp863", 0x78: "cp950", 0x79: "cp949", 0x7A: "cp936",
    0x7B: "cp932", 0x7C: "cp874", 0x86: "cp737", 0x87: "cp852", 0x88: "cp857", 0xC8: "cp1250", 0xC9: "cp1251",
    0xCA: "cp1254", 0xCB: "cp1253", 0xCC: "cp1257",
}  # fmt: skip


def _keeps(encoding: str, characters: str) -> bool:
    try:
        return characters.encode("ascii").decode(encoding) == characters
    except UnicodeDecodeError:
        return False


@dataclass(frozen=True, slots=True)
class TextEncoding:
    """name: of Python's codec. is_cut: some text ends within a character. warnings: what is doubtful about it."""

    name: str
    is_cut: bool
    warnings: tuple[RunWarning, ...]

    @property
    def gdal(self) -> str:
        """The encoding to give to GDAL: Latin-1, which loses nothing, where Python converts the text."""
        return "ISO-8859-1" if self.codec else self.name.replace("iso8859", "ISO-8859").upper()

    @property
    def codec(self) -> str | None:
        """The codec by which Python converts what GDAL read as Latin-1; None where GDAL converts it alike."""
        return self.name if self.is_cut or self.name not in _SAME_FOR_GDAL else None

    def decode(self, raw: bytes) -> str:
        """The text, without an incomplete last character if some are cut. Raises UnicodeDecodeError."""
        if not self.is_cut:
            return raw.decode(self.name)
        return codecs.getincrementaldecoder(self.name)().decode(raw, final=False)


@dataclass(slots=True)
class _Reading:
    """What comes of reading all text in one encoding.

    Attributes:
        wrong: where the first text is that is not in the encoding.
        has_proof: some character outside ASCII is complete.
        cut, odd, samples: texts that end within a character; with characters that no text has; the first few of all.
    """

    name: str
    wrong: str | None = None
    has_proof: bool = False
    cut: list[dict[str, Any]] = field(default_factory=list)
    cut_count: int = 0
    odd: list[dict[str, Any]] = field(default_factory=list)
    samples: list[dict[str, Any]] = field(default_factory=list)

    def see(self, text: _Text) -> None:
        if self.wrong is not None:
            return
        try:
            found = text.value.decode(self.name)
        except UnicodeDecodeError as err:
            if not (text.fills_field and err.end == len(text.value) and err.reason in _CUT):
                self.wrong = text.place
                return
            found = text.value[: err.start].decode(self.name)
            self.cut_count += 1
            self._keep(self.cut, text, found)
        self.has_proof |= not found.isascii()
        self._keep(self.samples, text, found)
        if len(self.odd) < MOST_SAMPLES and _ODD.search(found):
            self._keep(self.odd, text, found)

    def _keep(self, kept: list[dict[str, Any]], text: _Text, found: str) -> None:
        if len(kept) < MOST_SAMPLES:
            place = {} if text.row is None else {"row": text.row, "column": text.field.name.decode(self.name, "ignore")}
            kept.append({**place, "value" if place else "column": found[:_SHOWN]})


def text_encoding(
    dbf: Path, cpg: Path | None, wanted: str | None, file: str, memo: MemoFile | None = None
) -> TextEncoding:
    """The encoding of the attributes.

    The manifest's options.encoding comes first, then the .cpg, then the language byte of the .dbf. Where none of them
    names one, ASCII and UTF-8 are recognised and anything else is refused. All text is then proven to be in that
    encoding. In most encodings of one byte any bytes are text: if they are UTF-8 throughout, the .cpg or the language
    byte is wrong. An incomplete last character of a text that fills its field was cut there.

    Raises:
        RunRefused: encoding_unknown, encoding_wrong (field, row, bytes), encoding_missing, file_truncated.
    """
    declared, origin = _declared(dbf, cpg, wanted, file)
    encoding = declared or "utf-8"
    if not _keeps(encoding, string.ascii_letters + string.digits + " "):
        raise DBF_ENCODING(file=file, encoding=encoding, origin=origin)
    asked = _Reading(encoding)
    alternative = _Reading("utf-8") if not wanted and _is_of_single_bytes(encoding) else None
    windows = _Reading("cp1252") if not wanted and encoding == "iso8859-1" else None
    readings = [reading for reading in (asked, alternative, windows) if reading is not None]
    for text in _texts(dbf, file, not _keeps(encoding, _ESCAPES), memo):
        for reading in readings:
            reading.see(text)
    if alternative is not None and alternative.wrong is None and alternative.has_proof:
        why = f"its bytes are UTF-8 throughout, which those of another encoding never are, in spite of {origin}"
        return _settled(alternative, file, DBF_ENCODING_ASSUMED, alternative.samples, why)
    if asked.wrong or (asked.cut_count and not declared and not asked.has_proof):
        if declared:
            raise DBF_TEXT(file=file, place=asked.wrong, encoding=encoding, origin=origin)
        place = asked.wrong or f"a text ends with an incomplete character: {asked.cut[0]['value']!r}"
        raise ENCODING_MISSING(file=file, place=place)
    if origin.startswith(_OF_THE_SYSTEM):
        why = f"{origin} says only that it is in the code page of the system that wrote it"
        return _settled(asked, file, DBF_ENCODING_ASSUMED, asked.samples, why)
    if asked.odd and not wanted:
        if windows is not None and windows.wrong is None and not windows.odd:
            why = f"the text has bytes from 0x80 to 0x9f, which are no characters of the encoding in {origin}"
            return _settled(windows, file, DBF_ENCODING_ASSUMED, windows.samples, why)
        why = f"{origin} says so, although the text then has characters that are rare in words"
        return _settled(asked, file, DBF_ENCODING_ASSUMED, asked.odd, why)
    return _settled(asked, file)


def _settled(
    reading: _Reading, file: str, notice: Notice | None = None, samples: Sequence[Any] = (), why: str = ""
) -> TextEncoding:
    warnings = []
    if notice is not None and samples:
        warnings.append(notice(file=file, encoding=reading.name, why=why, samples=samples))
    if reading.cut_count:
        warnings.append(TEXT_CUT(file=file, count=reading.cut_count, samples=reading.cut))
    return TextEncoding(reading.name, bool(reading.cut_count), tuple(warnings))


def _is_of_single_bytes(encoding: str) -> bool:
    """Whether each byte over 127 is a character; not Thai, where words can be valid UTF-8."""
    if encoding in _THAI:
        return False
    characters = [bytes([byte]).decode(encoding, "ignore") for byte in range(128, 256)]
    return len("".join(characters)) > _MOST_SINGLE


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


@dataclass(frozen=True, slots=True)
class _Text:
    """A text as it is stored: row None is the name of a field. fills_field: there is no room behind it."""

    row: int | None
    field: DbfField
    value: bytes
    fills_field: bool

    @property
    def place(self) -> str:
        if self.row is None:
            return f"the name of a field has the bytes {shown(self.value)}"
        return f"field {self.field.name.decode('latin-1')!r} of row {self.row} has the bytes {shown(self.value)}"


def _texts(dbf: Path, file: str, ascii_too: bool, memo: MemoFile | None) -> Iterator[_Text]:
    """Every field name, and every text value, with a byte over 127; it ends at a NUL.

    ascii_too: of all others too, for encodings that are written in ASCII. Deleted records are no rows.
    """
    head = read_header(dbf, file)
    size = dbf.stat().st_size
    if head.record and size < head.size + head.rows * head.record:
        raise DBF_ROWS_TRUNCATED(file=file, size=size, rows=head.rows, record=head.record)
    for each in head.fields:
        if ascii_too or any(byte > 127 for byte in each.name):
            yield _Text(None, each, each.name, len(each.name) >= _LONGEST_NAME)
    for first_row, block in blocks(records(dbf, head, head.rows)):
        for place in range(len(head.fields)):
            yield from _values(head, place, block, first_row, ascii_too, memo)


def _values(
    head: DbfHeader, place: int, block: Bytes, first_row: int, ascii_too: bool, memo: MemoFile | None
) -> Iterator[_Text]:
    field = head.fields[place]
    if head.is_memo(field):
        if field.kind == ord("M") and memo is not None:
            yield from _memos(field, memo, block, first_row, ascii_too)
    elif field.kind == ord("V"):
        for row, value in enumerate(head.values(place, block), first_row):
            if ascii_too or not value.isascii():
                yield _Text(row, field, value.rstrip(b" \0"), len(value) == field.width)
    elif field.kind not in _BINARY:
        yield from _plain(field, block, first_row, ascii_too)


def _plain(field: DbfField, block: Bytes, first_row: int, ascii_too: bool) -> Iterator[_Text]:
    part = field.of(block)
    if int(part.max(initial=0)) < 128 and not ascii_too:
        return
    for row in np.flatnonzero((part > 127).any(axis=1) | ascii_too):
        raw, nul, _ = part[row].tobytes().partition(b"\0")
        if ascii_too or not raw.isascii():
            fills_field = len(raw) + len(nul) == field.width and not raw.endswith(b" ")
            yield _Text(first_row + int(row), field, raw.rstrip(b" "), fills_field)


def _memos(field: DbfField, memo: MemoFile, block: Bytes, first_row: int, ascii_too: bool) -> Iterator[_Text]:
    """Reading them proves that all of them are there."""
    for row, number in enumerate(blocks_of(field.of(block)), first_row):
        if number:
            value = memo.prove(number, f"field {field.name.decode('latin-1')!r} of row {row}").rstrip(b"\0")
            if ascii_too or not value.isascii():
                yield _Text(row, field, value, False)
