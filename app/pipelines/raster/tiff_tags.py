"""Tags of a TIFF or BigTIFF from its bytes: what other readers than GDAL see."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import BinaryIO

PHOTOMETRIC, EXTRA_SAMPLES = 262, 338
_SUBFILE_TYPE, _SIZES = 254, (256, 257)
# Overviews and masks of one page.
_MOST_BETWEEN = 64
# Bits of NewSubfileType.
_REDUCED, _MASK = 1, 4
# Values of a tag of one page; those of tiles and strips are not needed.
_MOST = 1 << 16
_FORMATS = {1: "B", 3: "H", 4: "I", 16: "Q"}


@dataclass(frozen=True, slots=True)
class _Entry:
    """A tag of whole numbers, and where in the file its values are."""

    tag: int
    values: str
    at: int


def page_tags(path: Path, page: int = 1) -> dict[int, tuple[int, ...]]:
    """{tag: its values} of a page, counted from 1, for tags of whole numbers; nothing where there is no such page."""
    with path.open("rb") as stream:
        try:
            entries = next(islice(_pages(stream), page - 1, None), [])
            return {entry.tag: _read(stream, entry.values, entry.at) for entry in entries}
        except (struct.error, OverflowError):  # GDAL repairs what it can, or refuses it
            return {}


def mask_page(path: Path, page: int) -> int | None:
    """The page that is the mask of a page, both counted from 1; None without one.

    It comes after its page, and before the next one that is neither a mask nor an overview.
    """
    image = page_tags(path, page)
    for number in range(page + 1, page + _MOST_BETWEEN):
        tags = page_tags(path, number)
        kind = tags.get(_SUBFILE_TYPE, (0,))[0]
        if not kind & (_REDUCED | _MASK):
            return None
        if kind & _MASK and not kind & _REDUCED and all(tags.get(tag) == image.get(tag) for tag in _SIZES):
            return number
    return None


def set_extra_samples(path: Path, values: Sequence[int]) -> None:
    """Write ExtraSamples in all pages that have it with as many values."""
    with path.open("r+b") as stream:
        for entry in [entry for page in _pages(stream) for entry in page if entry.tag == EXTRA_SAMPLES]:
            if len(_read(stream, entry.values, entry.at)) == len(values):
                stream.seek(entry.at)
                stream.write(struct.pack(entry.values, *values))


def _pages(stream: BinaryIO) -> Iterator[list[_Entry]]:
    head = stream.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = struct.unpack(f"{order}H", head[2:4])[0] == 43
    counter, place, first = ("Q", "Q", 8) if big else ("H", "I", 4)
    inline = struct.calcsize(place)
    (at,) = struct.unpack(f"{order}{place}", head[first : first + inline])
    while at:
        (entries,) = _read(stream, f"{order}{counter}", at)
        if entries > _MOST:
            return
        start, size = at + struct.calcsize(counter), 4 + 2 * inline
        stream.seek(start)
        directory = stream.read(entries * size)
        yield [
            entry
            for offset in range(0, len(directory), size)
            if (entry := _entry(directory[offset : offset + size], start + offset, order, place)) is not None
        ]
        (at,) = _read(stream, f"{order}{place}", start + entries * size)


def _entry(body: bytes, start: int, order: str, place: str) -> _Entry | None:
    inline = struct.calcsize(place)
    tag, kind, many = struct.unpack(f"{order}HH{place}", body[: 4 + inline])
    if kind not in _FORMATS or many > _MOST:
        return None
    values = f"{order}{many}{_FORMATS[kind]}"
    if struct.calcsize(values) <= inline:
        return _Entry(tag, values, start + 4 + inline)
    return _Entry(tag, values, struct.unpack(f"{order}{place}", body[4 + inline :])[0])


def _read(stream: BinaryIO, values: str, at: int) -> tuple[int, ...]:
    stream.seek(at)
    return struct.unpack(values, stream.read(struct.calcsize(values)))
