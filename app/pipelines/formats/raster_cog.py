"""Writing a Cloud Optimized GeoTIFF, and proving that it is one before anybody else sees it."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from rasterio.errors import RasterioError

from app.errors import RunRefused
from app.pipelines.formats.raster_gdal import create_copy
from app.pipelines.memory import return_freed

# With a predictor, level 9 takes three times as long as level 1 for a tenth fewer bytes.
_COMPRESSION, _LEVEL = "ZSTD", "1"
# TIFF tags: subfile type, width, height, tile width, tile height, tile offsets, tile byte counts; and number types.
_WANTED = frozenset({254, 256, 257, 322, 323, 324, 325})
_NUMBERS = {3: "H", 4: "I", 16: "Q"}


def predictor(dtype: str, *, plain: bool) -> str:
    """Differences of neighbours for numbers; nothing where values are names (`plain`: colour tables, packed bits)."""
    if plain:
        return "NO"
    return "FLOATING_POINT" if np.dtype(dtype).kind == "f" else "STANDARD"


def write_cog(
    source: Path,
    target: Path,
    *,
    block: int,
    predictor: str,
    resampling: str,
    threads: int,
    progress: Callable[[float], None],
) -> None:
    """`source` with overviews, its pixels and descriptions as they are. The same source gives the same bytes.

    Raises RunRefused raster_not_written with GDAL's words; what `progress` raises passes through.
    """
    options = {
        "BIGTIFF": "IF_SAFER",
        "BLOCKSIZE": str(block),
        "COMPRESS": _COMPRESSION,
        "LEVEL": _LEVEL,
        "NUM_THREADS": str(threads),
        "OVERVIEWS": "IGNORE_EXISTING",
        "OVERVIEW_RESAMPLING": resampling.upper(),
        "PREDICTOR": predictor,
    }
    return_freed()
    try:
        create_copy(source, target, "COG", options, progress)
    except RasterioError as err:
        words = str(err).replace(str(source), "the raster").replace(str(target), "the result")
        raise RunRefused(
            f"The result cannot be written as a Cloud Optimized GeoTIFF: {words[:300]}.",
            "Look whether the scratch disk is full; else send the raster as a plain GeoTIFF.",
            reason="raster_not_written",
        ) from None


def check_cog(path: Path) -> Mapping[str, Any]:
    """Layout of a finished file. Raises ValueError, naming the rule, for a file that is no strictly valid COG.

    Tiled; overviews down to one block, each smaller than the one before; all headers first, in that order; pixels of
    the smallest overview first, those of the full size last; every block inside the file.
    """
    headers = list(_headers(path))
    images = [header for header in headers if not header.is_mask]
    masks = [header for header in headers if header.is_mask]
    for header in headers:
        _demand(header.block[0] > 0 and header.block[0] == header.block[1], "it is not tiled")
        _demand(header.offset > 0 and header.end <= path.stat().st_size, "it ends too early")
    _demand([header.offset for header in headers] == sorted(header.offset for header in headers), "headers are mixed")
    _demand(len(masks) in (0, len(images)), "not every size has its mask")
    starts = [header.first for header in headers if header.end]
    _demand(all(header.offset < first for header in headers for first in starts), "pixels lie before headers")
    for group in (images, masks):
        for larger, smaller in pairwise(group):
            _demand(smaller.width < larger.width or smaller.height < larger.height, "overviews are out of order")
            # Pixels and mask of one size are written block by block, so only sizes are compared.
            _demand(not larger.end or smaller.end <= larger.first, "pixels of an overview lie behind a larger one's")
    smallest = images[-1]
    _demand(max(smallest.width, smallest.height) <= smallest.block[0], "its smallest overview is larger than a block")
    factors = [round(images[0].width / image.width) for image in images[1:]]
    return {"block": images[0].block[0], "overviews": factors, "compression": f"{_COMPRESSION} {_LEVEL}"}


@dataclass(frozen=True, slots=True)
class _Header:
    """One TIFF directory: its offset, and the first and last byte of its blocks (0, 0 when all are left out)."""

    offset: int
    is_mask: bool
    width: int
    height: int
    block: tuple[int, int]
    first: int
    end: int


def _headers(path: Path) -> Iterator[_Header]:
    with path.open("rb") as file:
        magic = file.read(16)
        order, big = "<" if magic[:2] == b"II" else ">", 43 in magic[2:4]
        (at,) = struct.unpack_from(order + ("Q" if big else "I"), magic, 8 if big else 4)
        while at:
            tags, following = _directory(file, at, order, big=big)
            blocks = [(o, o + n) for o, n in zip(tags.get(324, ()), tags.get(325, ()), strict=True) if n]
            yield _Header(
                offset=at,
                is_mask=bool(tags.get(254, (0,))[0] & 4),
                width=tags[256][0],
                height=tags[257][0],
                block=(tags.get(322, (0,))[0], tags.get(323, (0,))[0]),
                first=min((first for first, _ in blocks), default=0),
                end=max((end for _, end in blocks), default=0),
            )
            at = following


def _directory(file: BinaryIO, at: int, order: str, *, big: bool) -> tuple[dict[int, tuple[int, ...]], int]:
    """(the tags we ask for, by number; the offset of the next directory) of a TIFF or BigTIFF."""
    pointer, count_form, inline = ("Q", "Q", 8) if big else ("I", "H", 4)
    file.seek(at)
    (count,) = struct.unpack(order + count_form, file.read(struct.calcsize(count_form)))
    entry = struct.Struct(f"{order}HH{pointer}{inline}s")
    body = file.read(count * entry.size)
    (following,) = struct.unpack(order + pointer, file.read(inline))
    tags: dict[int, tuple[int, ...]] = {}
    for tag, kind, many, value in entry.iter_unpack(body):
        if tag not in _WANTED:
            continue
        values = struct.Struct(f"{order}{many}{_NUMBERS[kind]}")
        if values.size > inline:
            file.seek(struct.unpack(order + pointer, value)[0])
            tags[tag] = values.unpack(file.read(values.size))
        else:
            tags[tag] = values.unpack(value[: values.size])
    return tags, following


def _demand(holds: bool, rule: str) -> None:
    if not holds:
        raise ValueError(f"not a Cloud Optimized GeoTIFF: {rule}")
