"""Lines for curves, as GDAL makes them: wherever curves are in a geometry, also within collections."""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

from app.pipelines.common import gdal

_LITTLE_ENDIAN = 1


def without_curves(wkb: bytes) -> bytes | None:
    """The geometry with lines for its curves (GDAL's default step).

    Args:
        wkb: ISO WKB.

    Returns:
        ISO WKB, with z and m as they were; None for a geometry without curves, and for bytes that GDAL cannot read.
    """
    lib, geometry = _library(), ctypes.c_void_p()
    if lib.OGR_G_CreateFromWkbEx(wkb, None, ctypes.byref(geometry), len(wkb)):
        return None
    try:
        if not lib.OGR_G_HasCurveGeometry(geometry, 0):
            return None
        lines = lib.OGR_G_GetLinearGeometry(geometry, 0.0, None)
    finally:
        lib.OGR_G_DestroyGeometry(geometry)
    try:
        written = ctypes.create_string_buffer(lib.OGR_G_WkbSizeEx(lines))
        return None if lib.OGR_G_ExportToIsoWkb(lines, _LITTLE_ENDIAN, written) else written.raw
    finally:
        lib.OGR_G_DestroyGeometry(lines)


@cache
def _library() -> Any:
    lib, pointer = gdal.library(), ctypes.c_void_p
    for name, result, *arguments in (
        ("CreateFromWkbEx", ctypes.c_int, ctypes.c_char_p, pointer, ctypes.POINTER(pointer), ctypes.c_size_t),
        ("HasCurveGeometry", ctypes.c_int, pointer, ctypes.c_int),
        ("GetLinearGeometry", pointer, pointer, ctypes.c_double, pointer),
        ("WkbSizeEx", ctypes.c_size_t, pointer),
        ("ExportToIsoWkb", ctypes.c_int, pointer, ctypes.c_int, ctypes.c_char_p),
        ("DestroyGeometry", None, pointer),
    ):
        function = getattr(lib, f"OGR_G_{name}")
        function.restype, function.argtypes = result, arguments
    return lib
