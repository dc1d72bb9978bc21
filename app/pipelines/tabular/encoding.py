"""Finds the encoding of a text file by reading all of it, and writes the file as UTF-8.

An invalid byte is written as 0xFF and two hex digits. 0xFF occurs in no UTF-8 text, so the reader of the rows sees
which rows are affected, and `TextFile.readable` can still show them.
"""

from __future__ import annotations

import codecs
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from pathlib import Path
from typing import IO

from app.messages.common import ENCODING_CONTRADICTED
from app.messages.tabular import (
    ENCODING_MISSING,
    ENCODING_MIXED,
    ENCODING_UNKNOWN,
    ENCODING_WRONG,
    TEXT_NUL_BYTES,
)
from app.models.manifests.encodings import encoding_name
from app.pipelines.common.byte_order_mark import find_mark, is_same_encoding
from app.pipelines.common.utf8 import is_utf8, open_end
from app.settings import MiB

_BLOCK = 4 * MiB
_INVALID = re.compile(rb"\xff([0-9a-f]{2})")
_NOT_ASCII = re.compile("[^\x00-\x7f\udcff]")
# A file with both kinds of bytes is read as one kind only if there are this many times more of it.
_CLEAR_MAJORITY = 10
_SAMPLES = 5
_SINGLE_BYTE = ("cp", "iso8859", "koi8", "mac", "latin")
_WIDE = ("cp932", "cp949", "cp950")


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file as UTF-8 bytes without a byte order mark.

    Attributes:
        start: where the text begins in `path`.
        bom_length: bytes before the text in the source.
        assumed: the encoding is neither declared nor proven by the bytes.
        samples: words with which a person can judge an assumed encoding.
        is_valid: all of `path` is known to be UTF-8.
    """

    path: Path
    encoding: str
    start: int
    bom_length: int = 0
    assumed: bool = False
    samples: tuple[str, ...] = ()
    is_valid: bool = False

    @property
    def is_utf8(self) -> bool:
        return self.encoding == "utf-8"

    def source_bytes(self, raw: bytes) -> int | None:
        """How many bytes of the source these bytes of `path` were; None for encodings of varying width."""
        if self.is_utf8:
            return len(raw)
        text = _INVALID.sub(b"?", raw).decode("utf-8", "replace")
        if self.encoding.startswith("utf-16"):
            return 2 * len(text) + 2 * sum(1 for _ in re.finditer("[\U00010000-\U0010ffff]", text))
        return len(text) if self.encoding.startswith(_SINGLE_BYTE) and not self.encoding.startswith(_WIDE) else None

    def readable(self, raw: bytes) -> str:
        r"""Bytes of `path` as text for a person; invalid bytes are shown as \x and two hex digits."""
        shown = raw if self.is_utf8 else _INVALID.sub(rb"\\x\1", raw)
        return shown.decode("utf-8", "backslashreplace")


class SourceOffsets:
    """Converts positions in a piece of text, given in ascending order, to byte offsets in the source."""

    def __init__(self, text: TextFile, raw: bytes) -> None:
        self.raw = raw
        self._text, self._position, self._source_bytes = text, 0, 0

    def at(self, place: int) -> int | None:
        if self._text.is_utf8:
            return place
        if place < self._position:
            self._position = self._source_bytes = 0
        more = self._text.source_bytes(self.raw[self._position : place])
        if more is None:
            return None
        self._position, self._source_bytes = place, self._source_bytes + more
        return self._source_bytes


def open_text(path: Path, declared: str | None, file: str) -> TextFile:
    """Find the encoding of the whole file and, unless it is UTF-8, write it as UTF-8 beside `path`.

    A byte order mark decides, then `declared`, then UTF-8 if all bytes are valid, otherwise CP1252 is assumed.

    Raises:
        RunRefused: encoding_wrong (a byte order mark or most of the bytes contradict `declared`), encoding_unknown,
            encoding_missing (neither UTF-8 nor CP1252), nul_bytes.
    """
    with path.open("rb") as stream:
        head = stream.read(4)
    marked = find_mark(head)
    if marked is not None:
        mark, name = marked
        if declared is not None and not is_same_encoding(declared, name):
            raise ENCODING_CONTRADICTED(file=file, encoding=declared, found=name)
        text = TextFile(path, name, len(mark), len(mark))
    elif declared is not None:
        text = TextFile(path, _codec_name(declared, file), 0)
    else:
        text = _detect(path, file)
    if not text.is_utf8:
        text = _transcode(text, file)
    if marked is not None or declared is not None or not text.is_utf8:
        _check_no_nul(text, file)  # otherwise _detect has checked it
    return text


def _codec_name(name: str, file: str) -> str:
    found = encoding_name(name)
    if found is None:
        raise ENCODING_UNKNOWN(file=file, encoding=name)
    known = {"utf_8": "utf-8", "utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le", "ascii": "utf-8"}
    return known.get(found, found)


def _detect(path: Path, file: str) -> TextFile:
    """UTF-8, or CP1252 as assumed. Of a file with both kinds of bytes, a clear majority decides."""
    found = TextFile(path, "utf-8", 0)
    if _has_only_utf8(found, file):
        return replace(found, is_valid=True)
    _check_no_nul(found, file)
    bad = _InvalidByteHandler()
    good = sum(len(_NOT_ASCII.findall(text)) for text in _decoded(path, 0, "utf-8", bad) if not text.isascii())
    if good >= _CLEAR_MAJORITY * bad.count:
        return found
    if bad.count < _CLEAR_MAJORITY * good:
        raise ENCODING_MIXED(file=file, good=good, bad=bad.count, byte=bad.first, position=bad.first_at)
    return _assume_cp1252(path, file)


def _has_only_utf8(text: TextFile, file: str) -> bool:
    """Whether all bytes are UTF-8. Raises RunRefused nul_bytes."""
    position, begun = 0, b""
    with text.path.open("rb") as stream:
        for block in _blocks(stream):
            _check_block(block, position, text, file)
            position += len(block)
            data = begun + block
            whole = len(data) - open_end(data)
            if not is_utf8(data[:whole]):
                return False
            begun = data[whole:]
    return not begun


def _decoded(path: Path, start: int, encoding: str, bad: _InvalidByteHandler) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)(bad.handler)
    position = start
    with path.open("rb") as stream:
        stream.seek(start)
        for block in chain(_blocks(stream), (b"",)):
            bad.base = position - len(decoder.getstate()[0])
            yield decoder.decode(block, final=not block)
            position += len(block)


def _assume_cp1252(path: Path, file: str) -> TextFile:
    samples: list[str] = []
    position = 0
    with path.open("rb") as stream:
        for block in _blocks(stream):
            try:
                text = block.decode("cp1252")
            except UnicodeDecodeError as err:
                raise ENCODING_MISSING(file=file, byte=block[err.start], position=position + err.start) from None
            position += len(block)
            if len(samples) < _SAMPLES and not text.isascii():
                words = re.findall(r"[^\s,;|\"]*[^\x00-\x7f][^\s,;|\"]*", text)
                samples = list(dict.fromkeys([*samples, *(word[:40] for word in words[:50])]))[:_SAMPLES]
    return TextFile(path, "cp1252", 0, assumed=True, samples=tuple(samples))


def _transcode(text: TextFile, file: str) -> TextFile:
    target = Path(tempfile.mkdtemp(prefix="utf8-", dir=text.path.parent)) / "table"
    bad = _InvalidByteHandler()
    characters = 0
    with target.open("wb") as out:
        for decoded in _decoded(text.path, text.start, text.encoding, bad):
            characters += len(decoded)
            out.write(decoded.encode("utf-8", "surrogateescape"))
    if bad.count * 2 > characters:
        raise ENCODING_WRONG(file=file, encoding=text.encoding, number=bad.count, position=bad.first_at)
    return TextFile(target, text.encoding, 0, text.bom_length, text.assumed, text.samples, is_valid=bad.count == 0)


class _InvalidByteHandler:
    """A codec error handler that marks and counts invalid bytes and keeps the first."""

    def __init__(self) -> None:
        self.count = 0
        self.base = self.first = self.first_at = 0
        self.handler = f"spatial_etl_mark_{id(self):x}"
        codecs.register_error(self.handler, self)

    def __call__(self, err: UnicodeError) -> tuple[str, int]:
        if not isinstance(err, UnicodeDecodeError):
            raise err
        found = err.object[err.start : err.end]
        if self.count == 0:
            self.first, self.first_at = found[0], self.base + err.start
        self.count += len(found)
        return "".join(f"\udcff{byte:02x}" for byte in found), err.end


def _blocks(stream: IO[bytes]) -> Iterator[bytes]:
    return iter(partial(stream.read, _BLOCK), b"")


def _check_no_nul(text: TextFile, file: str) -> None:
    position = 0
    with text.path.open("rb") as stream:
        for block in _blocks(stream):
            _check_block(block, position, text, file)
            position += len(block)


def _check_block(block: bytes, position: int, text: TextFile, file: str) -> None:
    at = block.find(b"\x00")
    if at >= 0:
        raise TEXT_NUL_BYTES(file=file, position=position + at, encoding=text.encoding)
