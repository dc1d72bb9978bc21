"""The encoding of a text file, found by reading all of it, and the file as UTF-8.

Bytes that are not text in the encoding come out as 0xFF and two hex digits: 0xFF is in no UTF-8 text, so whoever splits
the file into rows sees which rows they are in, and `TextFile.readable` can still show them.
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

from app.errors import RunRefused
from app.pipelines.formats.utf8 import is_utf8, open_end
from app.settings import MiB

_BLOCK = 4 * MiB
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_MARKED = re.compile(rb"\xff([0-9a-f]{2})")
_NOT_ASCII = re.compile("[^\x00-\x7f\udcff]")
# One kind of bytes must outnumber the other by so much before a file with both is taken for damaged.
_CLEAR = 10
_SAMPLES = 5
_SINGLE_BYTE = ("cp", "iso8859", "koi8", "mac", "latin")
_WIDE = ("cp932", "cp949", "cp950")


@dataclass(frozen=True, slots=True)
class TextFile:
    """A file as UTF-8 bytes without a byte order mark.

    start: where the text begins in `path`; mark: bytes before it in the source. assumed: nobody said that this is the
    encoding, and the bytes do not prove it; samples: words to judge it by. sound: all of `path` is known to be UTF-8.
    """

    path: Path
    encoding: str
    start: int
    mark: int = 0
    assumed: bool = False
    samples: tuple[str, ...] = ()
    sound: bool = False

    @property
    def is_utf8(self) -> bool:
        return self.encoding == "utf-8"

    def source_bytes(self, raw: bytes) -> int | None:
        """How many bytes of the source these bytes of `path` were; None for encodings of varying width."""
        if self.is_utf8:
            return len(raw)
        text = _MARKED.sub(b"?", raw).decode("utf-8", "replace")
        if self.encoding.startswith("utf-16"):
            return 2 * len(text) + 2 * sum(1 for _ in re.finditer("[\U00010000-\U0010ffff]", text))
        return len(text) if self.encoding.startswith(_SINGLE_BYTE) and not self.encoding.startswith(_WIDE) else None

    def readable(self, raw: bytes) -> str:
        """Bytes of `path` as text for a person: what is no text is shown as \\x and two hex digits."""
        shown = raw if self.is_utf8 else _MARKED.sub(rb"\\x\1", raw)
        return shown.decode("utf-8", "backslashreplace")


class Offsets:
    """Places of a piece of text, asked for in ascending order, as bytes of the source from where the piece begins."""

    def __init__(self, text: TextFile, raw: bytes) -> None:
        self.raw = raw
        self._text, self._place, self._size = text, 0, 0

    def at(self, place: int) -> int | None:
        if self._text.is_utf8:
            return place
        if place < self._place:
            self._place = self._size = 0
        more = self._text.source_bytes(self.raw[self._place : place])
        if more is None:
            return None
        self._place, self._size = place, self._size + more
        return self._size


def open_text(path: Path, wanted: str | None, file: str) -> TextFile:
    """Find the encoding of the whole file and, unless it is UTF-8, write it as UTF-8 beside `path`.

    A byte order mark decides; then `wanted`; then UTF-8 where the bytes are that; else CP1252, as assumed.
    Raises RunRefused: encoding_wrong (a mark or most of the bytes contradict `wanted`), encoding_unknown,
    encoding_missing (neither UTF-8 nor CP1252), nul_bytes.
    """
    with path.open("rb") as stream:
        head = stream.read(4)
    marked = next(((mark, name) for mark, name in _BOMS if head.startswith(mark)), None)
    if marked is not None:
        mark, name = marked
        if wanted is not None and not _agree(wanted, name):
            _wrong(file, wanted, f"begins with the byte order mark of {name}")
        text = TextFile(path, name, len(mark), len(mark))
    elif wanted is not None:
        text = TextFile(path, _plain(wanted, file), 0)
    else:
        text = _found(path, file)
    if not text.is_utf8:
        text = _as_utf8(text, file)
    if marked is not None or wanted is not None or not text.is_utf8:
        _no_nul(text, file)  # else looked for in the same reading as the encoding
    return text


def _plain(name: str, file: str) -> str:
    if not getattr(codecs.lookup(name), "_is_text_encoding", True):
        fix = "Use a name such as UTF-8, ISO-8859-1 or CP1252."
        raise RunRefused(f"{file}: {name!r} encodes no text.", fix, reason="encoding_unknown", file=file)
    known = {"utf_8": "utf-8", "utf-8-sig": "utf-8", "utf-16": "utf-16-le", "utf-32": "utf-32-le", "ascii": "utf-8"}
    name = codecs.lookup(name).name
    return known.get(name, name)


def _agree(wanted: str, name: str) -> bool:
    wanted = codecs.lookup(wanted).name
    return wanted in (name, f"{name}-sig") or (name[:6] == wanted and wanted in ("utf-16", "utf-32"))


def _found(path: Path, file: str) -> TextFile:
    """UTF-8, or CP1252 as assumed. A file that has both kinds of bytes is what nearly all of them are."""
    found = TextFile(path, "utf-8", 0)
    if _has_only_utf8(found, file):
        return replace(found, sound=True)
    _no_nul(found, file)
    bad = _Marker()
    good = sum(len(_NOT_ASCII.findall(text)) for text in _decoded(path, 0, "utf-8", bad) if not text.isascii())
    if good >= _CLEAR * bad.count:
        return found
    if bad.count < _CLEAR * good:
        raise RunRefused(
            f"{file} has {good} characters outside ASCII that are UTF-8 and {bad.count} bytes that are not, "
            f"the first (0x{bad.first:02x}) at byte {bad.first_at}.",
            "Name the encoding in files[].options.encoding, or write the file again in one encoding.",
            reason="encoding_missing",
            file=file,
        )
    return _guessed_cp1252(path, file)


def _has_only_utf8(text: TextFile, file: str) -> bool:
    """Whether all bytes are UTF-8; without a zero byte, or refused."""
    position, begun = 0, b""
    with text.path.open("rb") as stream:
        for block in _blocks(stream):
            _refuse_nul(block, position, text, file)
            position += len(block)
            data = begun + block
            whole = len(data) - open_end(data)
            if not is_utf8(data[:whole]):
                return False
            begun = data[whole:]
    return not begun


def _decoded(path: Path, start: int, encoding: str, bad: _Marker) -> Iterator[str]:
    decoder = codecs.getincrementaldecoder(encoding)(bad.handler)
    position = start
    with path.open("rb") as stream:
        stream.seek(start)
        for block in chain(_blocks(stream), (b"",)):
            bad.base = position - len(decoder.getstate()[0])
            yield decoder.decode(block, final=not block)
            position += len(block)


def _guessed_cp1252(path: Path, file: str) -> TextFile:
    samples: list[str] = []
    position = 0
    with path.open("rb") as stream:
        for block in _blocks(stream):
            try:
                text = block.decode("cp1252")
            except UnicodeDecodeError as err:
                raise RunRefused(
                    f"{file} is neither UTF-8 nor CP1252: byte 0x{block[err.start]:02x} at {position + err.start}.",
                    "Name its encoding in files[].options.encoding.",
                    reason="encoding_missing",
                    file=file,
                ) from None
            position += len(block)
            if len(samples) < _SAMPLES and not text.isascii():
                words = re.findall(r"[^\s,;|\"]*[^\x00-\x7f][^\s,;|\"]*", text)
                samples = list(dict.fromkeys([*samples, *(word[:40] for word in words[:50])]))[:_SAMPLES]
    return TextFile(path, "cp1252", 0, assumed=True, samples=tuple(samples))


def _as_utf8(text: TextFile, file: str) -> TextFile:
    target = Path(tempfile.mkdtemp(prefix="utf8-", dir=text.path.parent)) / "table"
    bad = _Marker()
    characters = 0
    with target.open("wb") as out:
        for decoded in _decoded(text.path, text.start, text.encoding, bad):
            characters += len(decoded)
            out.write(decoded.encode("utf-8", "surrogateescape"))
    if bad.count * 2 > characters:
        _wrong(file, text.encoding, f"has {bad.count} bytes that it does not know, the first at byte {bad.first_at}")
    return TextFile(target, text.encoding, 0, text.mark, text.assumed, text.samples, sound=bad.count == 0)


class _Marker:
    """A codec error handler of its own: marks every byte that is no text, counts them, remembers the first."""

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


def _no_nul(text: TextFile, file: str) -> None:
    position = 0
    with text.path.open("rb") as stream:
        for block in _blocks(stream):
            _refuse_nul(block, position, text, file)
            position += len(block)


def _refuse_nul(block: bytes, position: int, text: TextFile, file: str) -> None:
    at = block.find(b"\x00")
    if at >= 0:
        raise RunRefused(
            f"{file} has a zero byte at {position + at} of its text as {text.encoding}: that is no text.",
            "UTF-16 without a byte order mark? Name it in files[].options.encoding, e.g. UTF-16-LE. "
            "Else remove the zero bytes.",
            reason="nul_bytes",
            file=file,
        )


def _wrong(file: str, encoding: str, found: str) -> None:
    raise RunRefused(
        f"{file} is not {encoding}: it {found}.",
        "Correct or remove files[].options.encoding.",
        reason="encoding_wrong",
        file=file,
    )
