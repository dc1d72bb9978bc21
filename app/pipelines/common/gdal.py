"""Safe use of the libgdal that pyogrio is linked to: local files, named drivers, no network.

pyogrio opens a file with any driver that recognises it: a VRT named x.geojson would be opened, with all files that it
refers to. Its API cannot restrict the drivers, so the others are unregistered in libgdal while a file is being opened.
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
from pyogrio._geometry import GEOMETRY_TYPES

from app.models.formats import FORMATS
from app.pipelines.common import gdal_drivers
from app.pipelines.common.gdal_options import SAFE_OPTIONS

# Set here so that environment variables of the host neither change results nor allow access to other files.
_CONFIG = {**SAFE_OPTIONS, "SHAPE_ENCODING": None, "GML_FIELDTYPES": None, "SHAPE_RESTORE_SHX": "NO"}

# Types of layers that pyogrio has no names for and therefore refuses: surfaces in all dimensions, by the names of what
# they become here, and geometries of any type with Z.
_SURFACES = {13: "Unknown", 14: "Unknown", 15: "MultiPolygon", 16: "MultiPolygon", 17: "Polygon"}
GEOMETRY_TYPES.update(
    {
        **{
            code + more: f"{name}{' Z' * (more in (1000, 3000) and name != 'Unknown')}"
            for code, name in _SURFACES.items()
            for more in (0, 1000, 2000, 3000)
        },
        2**31: "Unknown",
        -(2**31): "Unknown",
    }
)

_registry_lock = threading.RLock()


@cache
def library() -> Any:
    """The C API of the libgdal that pyogrio uses: its symbols are reachable through pyogrio's extension module."""
    from pyogrio import _io

    lib = ctypes.CDLL(_io.__file__)
    gdal_drivers.declare_functions(lib)
    return lib


def _secure(config: Mapping[str, str]) -> None:
    pyogrio.set_gdal_config_options({**_CONFIG, **config})
    gdal_drivers.block_http(library())


def forget_other_drivers() -> None:
    """Unregister all drivers that no vector format names, for the rest of the process."""
    kept = {driver for fmt in FORMATS if fmt.type == "vector" for driver in fmt.drivers}
    gdal_drivers.unregister_others(library(), kept)


@contextmanager
def only_drivers(drivers: Sequence[str], config: Mapping[str, str] | None = None) -> Iterator[list[str]]:
    """Inside, libgdal has only `drivers`, and no network. Process-wide, one at a time.

    Open files inside and read them outside: an open data set keeps its driver.

    Args:
        drivers: GDAL's short names.
        config: further options of GDAL.

    Yields:
        A list. At the end of the block it has the warnings of libgdal.
    """
    messages: list[str] = []
    with _registry_lock, warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        _secure(config or {})
        try:
            with gdal_drivers.registered(library(), drivers):
                yield messages
        finally:
            pyogrio.set_gdal_config_options({"SHAPE_ENCODING": None})
            messages += [str(w.message) for w in caught]
