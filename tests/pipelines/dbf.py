"""Shapefiles whose .dbf is written byte by byte."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import geopandas
import shapely

from tests.pipelines.conftest import Bench

Field = tuple[bytes, str, int, int]


def dbf(
    bench: Bench,
    fields: Sequence[Field],
    records: Sequence[Sequence[bytes]],
    language: int = 0,
    *,
    version: int = 3,
    flags: Sequence[int] = (),
) -> str:
    """x.shp with such a .dbf; a record whose first value starts with * is marked deleted.

    fields: (name, type, width, decimals). flags: of each field. Text is padded on the right, all else on the left.
    """
    points = geopandas.GeoDataFrame(geometry=shapely.points([[9 + i / 1e5, 48] for i in range(len(records))]), crs=4326)
    points.to_file(bench.landing / "x.shp")
    (bench.landing / "x.cpg").unlink(missing_ok=True)
    width = 1 + sum(size for _, _, size, _ in fields)
    size = 33 + 32 * len(fields)
    head = struct.pack("<B3BLHH17xBxx", version, 120, 1, 1, len(records), size, width, language)
    for (name, kind, wide, decimals), flag in zip(fields, flags or [0] * len(fields), strict=True):
        head += struct.pack("<11sc4xBBB13x", name, kind.encode(), wide, decimals, flag)
    body = b""
    for first, *rest in records:
        body += b"*" if first[:1] == b"*" else b" "
        for value, (_, kind, wide, _) in zip([first.lstrip(b"*"), *rest], fields, strict=True):
            padded = value.ljust(wide) if kind == "C" else value.rjust(wide)
            assert len(padded) == wide
            body += padded
    (bench.landing / "x.dbf").write_bytes(head + b"\r" + body + b"\x1a")
    return "x.shp"
