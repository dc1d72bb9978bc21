"""Shapefiles: which sidecars there are, and which encoding the attributes are in. Nothing is guessed."""

from __future__ import annotations

import codecs
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from app.errors import RunRefused

_BLOCK_ROWS = 65_536
# Field types of dBase whose bytes are text: character and memo; numbers, dates and logicals are ASCII.
_TEXT = b"CM"
_BINARY = b"BGPOI+@TY"
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


def sidecar(path: Path, suffix: str) -> Path | None:
    """The file beside `path` with the same stem and that suffix, in either case; else None."""
    for candidate in (path.with_suffix(suffix), path.with_suffix(suffix.upper())):
        if candidate.is_file():
            return candidate
    wanted = (path.stem + suffix).lower()
    return next((p for p in sorted(path.parent.iterdir()) if p.name.lower() == wanted and p.is_file()), None)


def text_encoding(dbf: Path, cpg: Path | None, wanted: str | None, file: str) -> str:
    """The encoding of the attributes, as a Python codec name.

    The manifest's options.encoding comes first, then the .cpg, then the .dbf's language byte. Where none of them says,
    ASCII and UTF-8 are recognised and anything else is refused. All text is then proven to be in that encoding.

    Raises RunRefused: encoding_unknown (.cpg), encoding_wrong (field, row, bytes), encoding_missing, file_truncated.
    """
    declared, origin = _declared(dbf, cpg, wanted, file)
    encoding = declared or "utf-8"
    for row, field, value in _non_ascii(dbf, file):
        try:
            value.decode(encoding)
        except UnicodeDecodeError:
            name = field.name.decode("latin-1")
            where = f"field {name!r} of row {row} holds {value[:40]!r}"
            if declared:
                raise RunRefused(
                    f"{file}: {where}, which is not {encoding} ({origin}; rows count from 0).",
                    "Give the real encoding in options.encoding, for example CP1252.",
                    reason="encoding_wrong",
                    file=file,
                ) from None
            raise RunRefused(
                f"{file} does not say its encoding (no .cpg, no language in the .dbf), and {where}, "
                "which is not UTF-8 (rows count from 0).",
                "Give options.encoding, for example CP1252 or ISO-8859-1, or send the .cpg file too.",
                reason="encoding_missing",
                file=file,
            ) from None
    return encoding


def _declared(dbf: Path, cpg: Path | None, wanted: str | None, file: str) -> tuple[str | None, str]:
    if wanted:
        return wanted, "options.encoding"
    if cpg is not None and (text := cpg.read_bytes()[:64].decode("latin-1").strip("\x00\ufeff \r\n\t")):
        name = _codec(text)
        if name is None:
            raise RunRefused(
                f"{file}: its .cpg names the encoding {text!r}, which is unknown.",
                "Give options.encoding, for example CP1252.",
                reason="encoding_unknown",
                file=file,
            )
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
        try:
            found = codecs.lookup(name)
        except LookupError:
            continue
        return found.name
    return None


def _fields(head: bytes, file: str) -> tuple[int, int, int, list[_Field]]:
    """(rows, header bytes, record bytes, fields) of a .dbf."""
    if len(head) < 32:
        raise RunRefused(f"{file}: its .dbf is truncated.", "Upload it again.", reason="file_truncated", file=file)
    rows, header, record = struct.unpack("<LHH", head[4:12])
    fields, start, at = [], 1, 32
    while at + 32 <= min(header, len(head)) and head[at] != 0x0D:
        kind, width = head[at + 11], head[at + 16]
        if kind == ord("C"):
            width += head[at + 17] << 8
        fields.append(_Field(head[at : at + 11].split(b"\x00")[0], kind, start, width))
        start += width
        at += 32
    return rows, header, record, fields


def _non_ascii(dbf: Path, file: str) -> Iterator[tuple[int, _Field, bytes]]:
    """(row, field, value) of every text value, and every field name, with a byte over 127; row -1 for names."""
    with dbf.open("rb") as stream:
        head = stream.read(65_535)
        rows, header, record, fields = _fields(head, file)
        size = dbf.stat().st_size
        if record and size < header + rows * record:
            raise RunRefused(
                f"{file}: its .dbf is truncated, {size} bytes for {rows} rows of {record} bytes.",
                "Upload it again.",
                reason="file_truncated",
                file=file,
            )
        for field in fields:
            if any(byte > 127 for byte in field.name):
                yield -1, field, field.name
        stream.seek(header)
        for first in range(0, rows, _BLOCK_ROWS):
            block = stream.read(min(_BLOCK_ROWS, rows - first) * record)
            table = np.frombuffer(block, np.uint8).reshape(-1, record)
            if int(table.max(initial=0)) < 128:
                continue
            for field in fields:
                if field.kind in _BINARY:
                    continue
                part = table[:, field.start : field.start + field.width]
                for row in np.flatnonzero((part > 127).any(axis=1)):
                    yield first + int(row), field, part[row].tobytes().rstrip(b" \x00")
