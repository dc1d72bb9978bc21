"""The guarded door to the libgdal that rasterio carries: local files, named drivers, bounded cache, no network.

rasterio opens with named drivers, but what a file makes GDAL open later on (overviews that its metadata names, masks
beside it) is opened by any driver. So, as for vectors, the drivers that are not allowed leave the registry meanwhile.
"""

from __future__ import annotations

import ctypes
import logging
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from itertools import count, takewhile
from pathlib import Path
from typing import Any, NoReturn

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.errors import NotGeoreferencedWarning, RasterioError, RasterioIOError

from app.errors import RunRefused
from app.models.formats import FORMATS
from app.pipelines.formats.gdal_options import SHUT
from app.pipelines.formats.utf8 import is_utf8

# GDAL's block cache; the default (5 % of the machine) is not ours to take. Reading needs room for a row of a source's
# blocks. Making a COG reads tiles one by one and takes twice its cache.
CACHE_BYTES = 96 * 1024 * 1024
_COPY_CACHE_BYTES = 48 * 1024 * 1024

# Set here so that the environment of the host can neither bend results nor open a way out.
_CONFIG = {
    **SHUT,
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "YES",  # else a JPEG that ends early is filled with grey
    "GDAL_GEOREF_SOURCES": "INTERNAL",
    "GDAL_TIFF_INTERNAL_MASK": "YES",
    "GTIFF_IGNORE_READ_ERRORS": "NO",
}
# What rasterio raises for a file that GDAL cannot read, or whose texts it cannot decode.
UNREADABLE = (RasterioError, CPLE_BaseError, UnicodeDecodeError)
_OWN_DRIVERS = frozenset({"GTiff", "COG", "PNG", "MEM"})
_READ, _UPDATE = 2, 3  # GDAL_OF_RASTER, with GDAL_OF_UPDATE

_registry_lock = threading.RLock()

_PROGRESS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_double, ctypes.c_char_p, ctypes.c_void_p)
_FETCH = ctypes.CFUNCTYPE(
    ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p
)


def _no_fetch(*_args: Any) -> None:
    """Answers every HTTP fetch of libgdal with nothing."""


_NO_FETCH = _FETCH(_no_fetch)


@cache
def _library() -> Any:
    """The C API of the libgdal that rasterio uses: its symbols are reachable through rasterio's extension module."""
    from rasterio import _base

    lib = ctypes.CDLL(_base.__file__)
    text, handle = ctypes.c_char_p, ctypes.c_void_p
    lib.GDALGetDriverCount.restype = ctypes.c_int
    lib.GDALGetDriver.restype, lib.GDALGetDriver.argtypes = handle, [ctypes.c_int]
    lib.GDALGetDriverByName.restype, lib.GDALGetDriverByName.argtypes = handle, [text]
    lib.GDALGetDriverShortName.restype, lib.GDALGetDriverShortName.argtypes = text, [handle]
    lib.GDALRegisterDriver.argtypes = lib.GDALDeregisterDriver.argtypes = [handle]
    lib.GDALOpenEx.restype, lib.GDALOpenEx.argtypes = handle, [text, ctypes.c_uint, handle, handle, handle]
    lib.GDALCreateCopy.restype = handle
    lib.GDALCreateCopy.argtypes = [handle, text, handle, ctypes.c_int, handle, _PROGRESS, handle]
    lib.GDALClose.restype, lib.GDALClose.argtypes = ctypes.c_int, [handle]
    lib.GDALGetRasterBand.restype, lib.GDALGetRasterBand.argtypes = handle, [handle, ctypes.c_int]
    lib.GDALGetGeoTransform.restype, lib.GDALGetGeoTransform.argtypes = ctypes.c_int, [handle, handle]
    lib.GDALGetMetadata.restype, lib.GDALGetMetadata.argtypes = ctypes.POINTER(text), [handle, text]
    for kind, number in (("Int64", ctypes.c_int64), ("UInt64", ctypes.c_uint64)):
        get, put = (getattr(lib, f"GDAL{verb}RasterNoDataValueAs{kind}") for verb in ("Get", "Set"))
        get.restype, get.argtypes = number, [handle, ctypes.POINTER(ctypes.c_int)]
        put.restype, put.argtypes = ctypes.c_int, [handle, number]
    lib.GDALSetCacheMax64.argtypes = [ctypes.c_int64]
    lib.CPLGetLastErrorMsg.restype = text
    lib.CPLHTTPSetFetchCallback.argtypes = [handle, handle]
    lib.OSRSetPROJEnableNetwork.argtypes = [ctypes.c_int]
    return lib


def forget_other_drivers() -> None:
    """For a job's process: no driver is left that no raster format names and that we do not write with."""
    kept = _OWN_DRIVERS.union(*(fmt.drivers for fmt in FORMATS if fmt.type == "raster"))
    lib = _library()
    with rasterio.Env():  # registers all of them, which would otherwise happen later
        for handle in [lib.GDALGetDriver(i) for i in range(lib.GDALGetDriverCount())]:
            if lib.GDALGetDriverShortName(handle).decode() not in kept:
                lib.GDALDeregisterDriver(handle)


@contextmanager
def guarded(drivers: Sequence[str], threads: int) -> Iterator[None]:
    """Inside, rasterio knows `drivers` and what we write with, and reaches no network. Process-wide, one at a time."""
    # GDAL's complaints reach us as exceptions; logged, they would name our copies of the files.
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)
    with _registry_lock, warnings.catch_warnings(), rasterio.Env(**_CONFIG, GDAL_NUM_THREADS=str(threads)):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # settled by world files, or refused
        lib = _library()
        lib.GDALSetCacheMax64(CACHE_BYTES)
        lib.OSRSetPROJEnableNetwork(0)
        lib.CPLHTTPSetFetchCallback(ctypes.cast(_NO_FETCH, ctypes.c_void_p), None)
        handles = [lib.GDALGetDriver(i) for i in range(lib.GDALGetDriverCount())]
        allowed = {*drivers, *_OWN_DRIVERS}
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


def read_wide_nodata(name: str, dtype: str) -> int | None:
    """The nodata value of a 64-bit integer raster, which rasterio reads through a float (and so wrongly)."""
    with _opened(name, _READ) as dataset:
        found = ctypes.c_int(0)
        value = _wide("Get", dtype)(_library().GDALGetRasterBand(dataset, 1), ctypes.byref(found))
        return int(value) if found.value else None


def write_wide_nodata(name: str, dtype: str, value: int) -> None:
    """Set the nodata value of a 64-bit integer raster, which rasterio writes through a float."""
    with _opened(name, _UPDATE) as dataset:
        if _wide("Set", dtype)(_library().GDALGetRasterBand(dataset, 1), value):
            raise RasterioIOError(_last_words(_library()))


def has_geotransform(name: str) -> bool:
    """Whether the raster has one at all: rasterio does not ask, and for a JP2 without it gives what its memory held."""
    with _opened(name, _READ) as dataset:
        return int(_library().GDALGetGeoTransform(dataset, (ctypes.c_double * 6)())) == 0


def undecodable_tags(name: str, bands: int) -> list[int]:
    """How many tags of the raster, and then of each band, are not UTF-8: rasterio leaves those out without a word."""
    lib = _library()
    with _opened(name, _READ) as dataset:
        owners = [dataset, *(lib.GDALGetRasterBand(dataset, index + 1) for index in range(bands))]
        return [sum(not is_utf8(text) for text in _strings(lib.GDALGetMetadata(owner, None))) for owner in owners]


def _strings(listed: Any) -> Iterator[bytes]:
    """The texts of a C list that ends with a null pointer; of no list, none."""
    if listed:
        yield from takewhile(lambda text: text is not None, (listed[at] for at in count()))


def _wide(verb: str, dtype: str) -> Any:
    kind = {"int64": "Int64", "uint64": "UInt64"}[dtype]
    return getattr(_library(), f"GDAL{verb}RasterNoDataValueAs{kind}")


@contextmanager
def _opened(name: str, flags: int) -> Iterator[int]:
    lib = _library()
    dataset = lib.GDALOpenEx(name.encode(), flags, None, None, None)
    if not dataset:
        raise RasterioIOError(_last_words(lib))
    try:
        yield dataset
    finally:
        lib.GDALClose(dataset)


def create_copy(
    source: Path, target: Path, driver: str, options: Mapping[str, str], progress: Callable[[float], None]
) -> None:
    """GDAL's CreateCopy, strict, telling `progress` the done share; what that raises stops it and passes through.

    rasterio's own copy has no progress, and so neither a cancel point nor a moment for the time limit's alarm.
    Raises RasterioIOError with GDAL's own words when it fails.
    """
    lib = _library()
    raised: list[BaseException] = []

    def tell(share: float, _message: bytes, _data: object) -> int:
        try:
            progress(share)
        except BaseException as err:  # nothing may be raised through C; raised again below
            raised.append(err)
            return 0
        return 1

    listed = (ctypes.c_char_p * (len(options) + 1))(*[f"{k}={v}".encode() for k, v in options.items()], None)
    with _opened(str(source), _READ) as opened:
        maker = lib.GDALGetDriverByName(driver.encode())
        lib.GDALSetCacheMax64(_COPY_CACHE_BYTES)
        made = lib.GDALCreateCopy(maker, str(target).encode(), opened, 1, listed, _PROGRESS(tell), None)
        failed = not made or lib.GDALClose(made) != 0
        lib.GDALSetCacheMax64(CACHE_BYTES)
    if raised:
        raise raised[0]
    if failed:
        raise RasterioIOError(_last_words(lib))


def _last_words(lib: Any) -> str:
    return str(lib.CPLGetLastErrorMsg().decode(errors="replace"))


def refuse_unreadable(err: Exception, file: str, path: Path | str, reason: str = "file_damaged") -> NoReturn:
    """What GDAL cannot open or read, as a refusal in its own words, without the name of our copy."""
    words = " ".join(str(each) for each in (err, err.__cause__) if each).replace(str(path), file)
    if isinstance(err, UnicodeDecodeError):
        words = "its texts are not UTF-8"
    if any(sign in words.lower() for sign in ("out of memory", "cannot allocate", "memory allocation")):
        raise MemoryError from None
    raise RunRefused(
        f"{file} cannot be read: {words[:300].strip() or 'GDAL gives no reason'}.",
        "Upload the file again; `gdalinfo -checksum` should read it to its end.",
        reason=reason,
        file=file,
    ) from None
