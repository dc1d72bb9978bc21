"""TIFF files written tag by tag: what GDAL does not write, other programs do."""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

_CODES = {"B": 1, "s": 2, "H": 3, "I": 4, "d": 12}
PHOTOMETRIC, EXTRA_SAMPLES = 262, 338
PIXEL_SCALE, TIE_POINT, GEO_KEYS, GEO_DOUBLES, GEO_TEXT, NODATA = 33550, 33922, 34735, 34736, 34737, 42113

Tags = Mapping[int, tuple[str, Any]]


def tiff(pixels: Any, tags: Tags | None = None) -> bytes:
    """A TIFF of (bands, rows, columns), pixel-interleaved in one strip, at 500000 E 5400000 N with pixels of 10.

    Args:
        pixels: of a type of 8 to 64 bits.
        tags: {number: (kind, values)} that are added or replaced, or left out where values is None; kind: B, s (a
            text), H, I or d.
    """
    pixels = np.asarray(pixels)
    bands, height, width = pixels.shape
    body = np.ascontiguousarray(pixels.transpose(1, 2, 0)).astype(pixels.dtype.newbyteorder("<")).tobytes()
    known: dict[int, tuple[str, Any]] = {
        256: ("I", [width]), 257: ("I", [height]), 258: ("H", [8 * pixels.itemsize] * bands), 259: ("H", [1]),
        262: ("H", [1]), 273: ("I", [8]), 277: ("H", [bands]), 278: ("I", [height]), 279: ("I", [len(body)]),
        284: ("H", [1]), 339: ("H", [{"u": 1, "i": 2, "f": 3}[pixels.dtype.kind]] * bands),
        PIXEL_SCALE: ("d", [10.0, 10.0, 0.0]), TIE_POINT: ("d", [0.0, 0.0, 0.0, 500_000.0, 5_400_000.0, 0.0]),
        **({338: ("H", [0] * (bands - 1))} if bands > 1 else {}), **(tags or {}),
    }  # fmt: skip
    entries, values = b"", b""
    kept = [(number, *found) for number, found in sorted(known.items()) if found[1] is not None]
    after = 8 + len(body) + len(body) % 2 + 2 + 12 * len(kept) + 4
    for number, kind, value in kept:
        packed = value.encode() + b"\0" if kind == "s" else struct.pack(f"<{len(value)}{kind}", *value)
        count = len(packed) if kind == "s" else len(value)
        if len(packed) <= 4:
            place = packed.ljust(4, b"\0")
        else:
            place = struct.pack("<I", after + len(values))
            values += packed + b"\0" * (len(packed) % 2)
        entries += struct.pack("<HHI", number, _CODES[kind], count) + place
    directory = struct.pack("<H", len(kept)) + entries + struct.pack("<I", 0)
    return (
        b"II*\0"
        + struct.pack("<I", 8 + len(body) + len(body) % 2)
        + body
        + b"\0" * (len(body) % 2)
        + directory
        + values
    )


def geo_keys(keys: Mapping[int, int | float | str], minor: int = 0) -> Tags:
    """The tags of a GeoKey directory of version 1.1.`minor`."""
    rows: list[Sequence[int]] = []
    doubles: list[float] = []
    text = ""
    for key, value in sorted(keys.items()):
        if isinstance(value, str):
            rows.append((key, GEO_TEXT, len(value) + 1, len(text)))
            text += value + "|"
        elif isinstance(value, float):
            rows.append((key, GEO_DOUBLES, 1, len(doubles)))
            doubles.append(value)
        else:
            rows.append((key, 0, 1, value))
    directory = [1, 1, minor, len(rows), *(number for row in rows for number in row)]
    return {
        GEO_KEYS: ("H", directory),
        **({GEO_DOUBLES: ("d", doubles)} if doubles else {}),
        **({GEO_TEXT: ("s", text)} if text else {}),
    }


def tags_of(body: bytes, number: int) -> list[tuple[int, ...]]:
    """The values (B, H or I) of a tag in every directory that has it, straight from the bytes of a classic TIFF."""
    order = "<" if body[:2] == b"II" else ">"
    found, at = [], struct.unpack(f"{order}I", body[4:8])[0]
    while at:
        (count,) = struct.unpack(f"{order}H", body[at : at + 2])
        for entry in range(at + 2, at + 2 + 12 * count, 12):
            tag, kind, many = struct.unpack(f"{order}HHI", body[entry : entry + 8])
            if tag == number:
                size = {1: "B", 2: "B", 3: "H", 4: "I", 7: "B", 12: "d"}[kind]
                length = struct.calcsize(size) * many
                start = entry + 8 if length <= 4 else struct.unpack(f"{order}I", body[entry + 8 : entry + 12])[0]
                found.append(struct.unpack(f"{order}{many}{size}", body[start : start + length]))
        (at,) = struct.unpack(f"{order}I", body[at + 2 + 12 * count : at + 6 + 12 * count])
    return found
