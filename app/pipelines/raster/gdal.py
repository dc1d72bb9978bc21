"""Safe use of the libgdal that rasterio is linked to: local files, named drivers, bounded cache, no network.

rasterio opens with named drivers, but what a file makes GDAL open later on (overviews that its metadata names, masks
beside it) is opened by any driver. So, as for vectors, the drivers that are not allowed leave the registry meanwhile.
"""

from __future__ import annotations

import ctypes
import logging
import re
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

from app.messages.raster import CODEC_MISSING, FILE_UNREADABLE
from app.models.formats import FORMATS
from app.pipelines.common import gdal_drivers
from app.pipelines.common.gdal_options import SAFE_OPTIONS
from app.pipelines.common.malloc import large_blocks_kept
from app.pipelines.common.utf8 import is_utf8
from app.system.memory import says_no_memory

# GDAL's block cache; its default is 5 % of the machine's memory. Reading needs room for a row of a source's
# blocks. Making a COG reads tiles one by one and takes twice its cache.
CACHE_BYTES = 96 * 1024 * 1024
_COPY_CACHE_BYTES = 48 * 1024 * 1024

# Set here so that environment variables of the host neither change results nor allow access to other files.
_CONFIG = {
    **SAFE_OPTIONS,
    "GDAL_DISABLEREADDIR_ON_OPEN": "EMPTY_DIR",
    "GDAL_ERROR_ON_LIBJPEG_WARNING": "YES",  # else a JPEG that ends early is filled with grey
    "GDAL_GEOREF_SOURCES": "INTERNAL",
    "GDAL_TIFF_INTERNAL_MASK": "YES",
    "GTIFF_HONOUR_NEGATIVE_SCALEY": "YES",
    "GTIFF_IGNOREREAD_ERRORS": "NO",
    "GTIFF_REPORT_COMPD_CS": "YES",
    "OSR_USE_NON_DEPRECATED": "NO",  # else a deprecated code is replaced by another CRS
}
# What rasterio raises for a file that GDAL cannot read, or whose text it cannot decode.
UNREADABLE = (RasterioError, CPLE_BaseError, UnicodeDecodeError)
# Drivers that write products and their intermediate files.
_WRITING_DRIVERS = frozenset({"GTiff", "COG", "PNG", "MEM"})
READ, UPDATE = 2, 3  # GDAL_OF_RASTER, with GDAL_OFUPDATE

_registry_lock = threading.RLock()

_PROGRESS = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_double, ctypes.c_char_p, ctypes.c_void_p)


@cache
def library() -> Any:
    """The C API of the libgdal that rasterio uses: its symbols are reachable through rasterio's extension module."""
    from rasterio import _base

    lib = ctypes.CDLL(_base.__file__)
    gdal_drivers.declare_functions(lib)
    text, handle = ctypes.c_char_p, ctypes.c_void_p
    lib.GDALGetDriverByName.restype, lib.GDALGetDriverByName.argtypes = handle, [text]
    lib.GDALOpenEx.restype, lib.GDALOpenEx.argtypes = handle, [text, ctypes.c_uint, handle, handle, handle]
    lib.GDALCreateCopy.restype = handle
    lib.GDALCreateCopy.argtypes = [handle, text, handle, ctypes.c_int, handle, _PROGRESS, handle]
    lib.GDALBuildOverviews.restype = ctypes.c_int
    lib.GDALBuildOverviews.argtypes = [
        handle, text, ctypes.c_int, ctypes.POINTER(ctypes.c_int), ctypes.c_int, handle, _PROGRESS, handle
    ]  # fmt: skip
    lib.GDALClose.restype, lib.GDALClose.argtypes = ctypes.c_int, [handle]
    lib.GDALGetRasterBand.restype, lib.GDALGetRasterBand.argtypes = handle, [handle, ctypes.c_int]
    lib.GDALGetGeoTransform.restype, lib.GDALGetGeoTransform.argtypes = ctypes.c_int, [handle, handle]
    lib.GDALGetMetadata.restype, lib.GDALGetMetadata.argtypes = ctypes.POINTER(text), [handle, text]
    for kind, number in (("Int64", ctypes.c_int64), ("UInt64", ctypes.c_uint64)):
        get, put = (getattr(lib, f"GDAL{verb}RasterNoDataValueAs{kind}") for verb in ("Get", "Set"))
        get.restype, get.argtypes = number, [handle, ctypes.POINTER(ctypes.c_int)]
        put.restype, put.argtypes = ctypes.c_int, [handle, number]
    lib.GDALGetSpatialRef.restype, lib.GDALGetSpatialRef.argtypes = handle, [handle]
    lib.GDALSetSpatialRef.restype, lib.GDALSetSpatialRef.argtypes = ctypes.c_int, [handle, handle]
    lib.OSRGetCoordinateEpoch.restype, lib.OSRGetCoordinateEpoch.argtypes = ctypes.c_double, [handle]
    lib.OSRSetCoordinateEpoch.restype, lib.OSRSetCoordinateEpoch.argtypes = None, [handle, ctypes.c_double]
    lib.OSRClone.restype, lib.OSRClone.argtypes = handle, [handle]
    lib.OSRDestroySpatialReference.restype, lib.OSRDestroySpatialReference.argtypes = None, [handle]
    lib.GDALSetCacheMax64.argtypes = [ctypes.c_int64]
    lib.CPLGetLastErrorMsg.restype = text
    lib.OSRSetPROJEnableNetwork.argtypes = [ctypes.c_int]
    return lib


def forget_other_drivers() -> None:
    """Unregister all drivers that neither a raster format nor the writer needs, for the rest of the process."""
    kept = _WRITING_DRIVERS.union(*(fmt.drivers for fmt in FORMATS if fmt.type == "raster"))
    with rasterio.Env():  # registers all of them, which would otherwise happen later
        gdal_drivers.unregister_others(library(), kept)


@contextmanager
def only_drivers(drivers: Sequence[str], threads: int) -> Iterator[None]:
    """Inside, rasterio has only `drivers` and those of the writer, and no network. Process-wide, one at a time."""
    # GDAL's errors arrive as exceptions; in a log they would name the local copies of the files.
    logging.getLogger("rasterio").setLevel(logging.CRITICAL)
    with _registry_lock, warnings.catch_warnings(), rasterio.Env(**_CONFIG, GDAL_NUM_THREADS=str(threads)):
        warnings.simplefilter("ignore", NotGeoreferencedWarning)  # world files georeference them, or they are refused
        lib = library()
        lib.GDALSetCacheMax64(CACHE_BYTES)
        lib.OSRSetPROJEnableNetwork(0)
        gdal_drivers.block_http(lib)
        with gdal_drivers.registered(lib, {*drivers, *_WRITING_DRIVERS}):
            yield


# Where rasterio logs what GDAL warns of, outside of and within its calls.
_LOGGERS = ("rasterio._env", "rasterio._err")


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.texts: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = re.sub(r"^CPLE_\w+(?: in |:)", "", record.getMessage()).strip()
        if record.levelno == logging.WARNING and text not in self.texts:
            self.texts.append(text)


@contextmanager
def gdal_warnings() -> Iterator[list[str]]:
    """Inside, GDAL's warnings go into the list, each text once."""
    handler = _Warnings()
    before = [(logger, logger.level, logger.propagate) for logger in map(logging.getLogger, _LOGGERS)]
    for logger, _, _ in before:
        logger.setLevel(logging.WARNING)
        logger.propagate = False
        logger.addHandler(handler)
    try:
        yield handler.texts
    finally:
        for logger, level, propagate in before:
            logger.removeHandler(handler)
            logger.setLevel(level)
            logger.propagate = propagate


def read_wide_nodata(name: str, dtype: str) -> int | None:
    """The nodata value of a 64-bit integer raster, which rasterio reads through a float (and so wrongly)."""
    with opened(name, READ) as dataset:
        found = ctypes.c_int(0)
        value = _wide("Get", dtype)(library().GDALGetRasterBand(dataset, 1), ctypes.byref(found))
        return int(value) if found.value else None


def write_wide_nodata(name: str, dtype: str, value: int) -> None:
    """Set the nodata value of a 64-bit integer raster, which rasterio writes through a float."""
    with opened(name, UPDATE) as dataset:
        if _wide("Set", dtype)(library().GDALGetRasterBand(dataset, 1), value):
            raise RasterioIOError(_last_error(library()))


def read_epoch(name: str) -> float | None:
    """The coordinate epoch of a raster, as a year, which rasterio does not read."""
    with opened(name, READ) as dataset:
        crs = library().GDALGetSpatialRef(dataset)
        return float(library().OSRGetCoordinateEpoch(crs)) or None if crs else None


def write_epoch(name: str, epoch: float) -> None:
    """Set the coordinate epoch of a raster with a CRS."""
    lib = library()
    with opened(name, UPDATE) as dataset:
        crs = lib.OSRClone(lib.GDALGetSpatialRef(dataset))
        lib.OSRSetCoordinateEpoch(crs, epoch)
        failed = lib.GDALSetSpatialRef(dataset, crs)
        lib.OSRDestroySpatialReference(crs)
        if failed:
            raise RasterioIOError(_last_error(lib))


def has_geotransform(name: str) -> bool:
    """Whether the raster has one at all: rasterio does not ask, and for a JP2 without it gives what its memory held."""
    with opened(name, READ) as dataset:
        return int(library().GDALGetGeoTransform(dataset, (ctypes.c_double * 6)())) == 0


def undecodable_tags(name: str, bands: int) -> list[int]:
    """How many tags of the raster, and then of each band, are not UTF-8: rasterio silently drops those."""
    lib = library()
    with opened(name, READ) as dataset:
        owners = [dataset, *(lib.GDALGetRasterBand(dataset, index + 1) for index in range(bands))]
        return [sum(not is_utf8(text) for text in _strings(lib.GDALGetMetadata(owner, None))) for owner in owners]


def _strings(listed: Any) -> Iterator[bytes]:
    """The strings of a C list that ends with a null pointer; the list may be null itself."""
    if listed:
        yield from takewhile(lambda text: text is not None, (listed[at] for at in count()))


def _wide(verb: str, dtype: str) -> Any:
    kind = {"int64": "Int64", "uint64": "UInt64"}[dtype]
    return getattr(library(), f"GDAL{verb}RasterNoDataValueAs{kind}")


@contextmanager
def opened(name: str, flags: int) -> Iterator[int]:
    """A GDAL dataset, opened with these flags of GDALOpenEx. Raises RasterioIOError."""
    lib = library()
    dataset = lib.GDALOpenEx(name.encode(), flags, None, None, None)
    if not dataset:
        raise RasterioIOError(_last_error(lib))
    try:
        yield dataset
    finally:
        lib.GDALClose(dataset)


def build_overviews(path: Path, factors: Sequence[int], resampling: str, progress: Callable[[float], None]) -> None:
    """Add overviews to a GeoTIFF, inside the file. See `create_copy` for the rest."""
    lib, report = library(), _Report(progress)
    with opened(str(path), UPDATE) as dataset, large_blocks_kept():
        numbers = (ctypes.c_int * len(factors))(*factors)
        failed = lib.GDALBuildOverviews(
            dataset, resampling.upper().encode(), len(factors), numbers, 0, None, report.callback, None
        )
    report.raise_again()
    if failed:
        raise RasterioIOError(_last_error(lib))


class _Report:
    """A progress callback for GDAL; what it raises stops GDAL, and is raised again by `raise_again`."""

    def __init__(self, progress: Callable[[float], None]) -> None:
        self._progress = progress
        self._raised: list[BaseException] = []
        self.callback = _PROGRESS(self._report)

    def _report(self, share: float, _message: bytes, _data: object) -> int:
        try:
            self._progress(share)
        except BaseException as err:  # nothing may be raised through C
            self._raised.append(err)
            return 0
        return 1

    def raise_again(self) -> None:
        if self._raised:
            raise self._raised[0]


def create_copy(
    source: Path, target: Path, driver: str, options: Mapping[str, str], progress: Callable[[float], None]
) -> None:
    """GDAL's CreateCopy in strict mode, with progress.

    rasterio's own copy has no progress callback, so it could be neither canceled nor stopped by the time limit.

    Args:
        source: the raster to copy.
        target: the file to write.
        driver: GDAL's name of the driver that writes it.
        options: creation options of that driver.
        progress: called with the share that is done, 0 to 1. What it raises stops the copy and passes through.

    Raises:
        RasterioIOError: with GDAL's error message.
    """
    lib, report = library(), _Report(progress)
    listed = (ctypes.c_char_p * (len(options) + 1))(*[f"{k}={v}".encode() for k, v in options.items()], None)
    with opened(str(source), READ) as original:
        maker = lib.GDALGetDriverByName(driver.encode())
        lib.GDALSetCacheMax64(_COPY_CACHE_BYTES)
        with large_blocks_kept():
            made = lib.GDALCreateCopy(maker, str(target).encode(), original, 1, listed, report.callback, None)
            failed = not made or lib.GDALClose(made) != 0
        lib.GDALSetCacheMax64(CACHE_BYTES)
    report.raise_again()
    if failed:
        raise RasterioIOError(_last_error(lib))


def _last_error(lib: Any) -> str:
    return str(lib.CPLGetLastErrorMsg().decode(errors="replace"))


def refuse_unreadable(err: Exception, file: str, path: Path | str) -> NoReturn:
    """Turn an error of GDAL into a refusal with GDAL's message, without the path of the local copy.

    Raises:
        RunRefused: file_damaged, compression_not_supported.
        MemoryError: when GDAL could not allocate memory.
    """
    problem = " ".join(str(each) for each in (err, err.__cause__) if each)
    problem = problem.replace(str(path), file).replace(Path(path).name, file)
    if isinstance(err, UnicodeDecodeError):
        problem = "text that is not UTF-8"
    if says_no_memory(problem):
        raise MemoryError from None
    message = CODEC_MISSING if "missing codec" in problem else FILE_UNREADABLE
    raise message(file=file, problem=problem[:300].strip().rstrip(".") or "no reason") from None
