"""Restricting the drivers and the network of a libgdal: pyogrio and rasterio are each linked to their own copy."""

from __future__ import annotations

import ctypes
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

_FETCH = ctypes.CFUNCTYPE(
    ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
)
# Answers every HTTP request of libgdal (an imported XML schema, a CRS at a URL) with nothing. Kept for the life of the
# process, because libgdal has its address.
_NO_FETCH = _FETCH(lambda *_args: None)


def declare_functions(lib: Any) -> None:
    """Declare the types of the C functions that this module calls."""
    lib.GDALGetDriverCount.restype = ctypes.c_int
    lib.GDALGetDriver.restype, lib.GDALGetDriver.argtypes = ctypes.c_void_p, [ctypes.c_int]
    lib.GDALGetDriverShortName.restype, lib.GDALGetDriverShortName.argtypes = ctypes.c_char_p, [ctypes.c_void_p]
    lib.GDALRegisterDriver.argtypes = lib.GDALDeregisterDriver.argtypes = [ctypes.c_void_p]
    lib.CPLHTTPSetFetchCallback.argtypes = [ctypes.c_void_p, ctypes.c_void_p]


def block_http(lib: Any) -> None:
    """Let all HTTP requests of this libgdal fail."""
    lib.CPLHTTPSetFetchCallback(ctypes.cast(_NO_FETCH, ctypes.c_void_p), None)


def unregister_others(lib: Any, kept: Collection[str]) -> None:
    """Unregister all drivers but those with these short names, for the rest of the process."""
    for handle in _handles(lib):
        if lib.GDALGetDriverShortName(handle).decode() not in kept:
            lib.GDALDeregisterDriver(handle)


@contextmanager
def registered(lib: Any, allowed: Collection[str]) -> Iterator[None]:
    """Inside, only drivers with these short names are registered. Afterwards all are, in their old order."""
    handles = _handles(lib)
    kept = [handle for handle in handles if lib.GDALGetDriverShortName(handle).decode() in allowed]
    for handle in handles:
        lib.GDALDeregisterDriver(handle)
    try:
        for handle in kept:
            lib.GDALRegisterDriver(handle)
        yield
    finally:
        for handle in kept:
            lib.GDALDeregisterDriver(handle)
        for handle in handles:
            lib.GDALRegisterDriver(handle)


def _handles(lib: Any) -> list[Any]:
    return [lib.GDALGetDriver(i) for i in range(lib.GDALGetDriverCount())]
