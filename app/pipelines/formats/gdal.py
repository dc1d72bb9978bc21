"""The guarded door to libgdal: opens local files with named drivers only, and no network.

pyogrio opens a file with whatever driver recognises it; a VRT called x.geojson would be followed wherever it points.
There is no list of allowed drivers in its API, so the drivers that are not allowed are taken out of the registry of
the libgdal that pyogrio is linked to for as long as a file is being opened.
"""

from __future__ import annotations

import ctypes
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any

import pyogrio

from app.models.formats import FORMATS
from app.pipelines.formats.gdal_options import SHUT

# Set here so that the environment of the host can neither bend results nor open a way out.
_CONFIG = {**SHUT, "SHAPE_ENCODING": None, "SHAPE_RESTORE_SHX": "NO"}

_registry_lock = threading.RLock()


@cache
def _library() -> Any:
    """The C API of the libgdal that pyogrio uses: its symbols are reachable through pyogrio's extension module."""
    from pyogrio import _io

    lib = ctypes.CDLL(_io.__file__)
    lib.GDALGetDriverCount.restype = ctypes.c_int
    lib.GDALGetDriver.restype = ctypes.c_void_p
    lib.GDALGetDriver.argtypes = [ctypes.c_int]
    lib.GDALGetDriverShortName.restype = ctypes.c_char_p
    lib.GDALGetDriverShortName.argtypes = [ctypes.c_void_p]
    lib.GDALRegisterDriver.argtypes = [ctypes.c_void_p]
    lib.GDALDeregisterDriver.argtypes = [ctypes.c_void_p]
    lib.CPLHTTPSetFetchCallback.argtypes = [ctypes.c_void_p, ctypes.c_void_p]
    return lib


_FETCH = ctypes.CFUNCTYPE(
    ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
)


def _no_fetch(*_args: Any) -> None:
    """Answers every HTTP fetch of libgdal with nothing (an imported XML schema, a CRS behind an address)."""


_NO_FETCH = _FETCH(_no_fetch)


def _secure(config: Mapping[str, str]) -> None:
    pyogrio.set_gdal_config_options({**_CONFIG, **config})
    _library().CPLHTTPSetFetchCallback(ctypes.cast(_NO_FETCH, ctypes.c_void_p), None)


def forget_other_drivers() -> None:
    """For a job's process: no driver is left that no vector format names, whatever a file leads to later on."""
    kept = {driver for fmt in FORMATS if fmt.type == "vector" for driver in fmt.drivers}
    lib = _library()
    for handle in [lib.GDALGetDriver(i) for i in range(lib.GDALGetDriverCount())]:
        if lib.GDALGetDriverShortName(handle).decode() not in kept:
            lib.GDALDeregisterDriver(handle)


@contextmanager
def only(drivers: Sequence[str], config: Mapping[str, str] | None = None) -> Iterator[list[str]]:
    """Inside, libgdal knows `drivers` and no other, and reaches no network. config: GDAL's options besides ours.

    Yields a list that fills with the warnings libgdal gives meanwhile. Open files inside, read them outside: an open
    data set keeps its driver. Process-wide, so one at a time.
    """
    said: list[str] = []
    with _registry_lock, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _secure(config or {})
        lib = _library()
        handles = [lib.GDALGetDriver(i) for i in range(lib.GDALGetDriverCount())]
        allowed = [h for h in handles if lib.GDALGetDriverShortName(h).decode() in drivers]
        for handle in handles:
            lib.GDALDeregisterDriver(handle)
        try:
            for handle in allowed:
                lib.GDALRegisterDriver(handle)
            yield said
        finally:
            for handle in allowed:
                lib.GDALDeregisterDriver(handle)
            for handle in handles:
                lib.GDALRegisterDriver(handle)
            pyogrio.set_gdal_config_options({"SHAPE_ENCODING": None})
            said += [str(w.message) for w in caught]
