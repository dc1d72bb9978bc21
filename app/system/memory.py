"""How lack of memory shows itself: each library says it in other words."""

from __future__ import annotations

import errno

from app.system.error_chain import chain

# Lower case. From GDAL, Arrow, GEOS, the C and C++ runtimes, Python's threads, the loader of shared libraries.
# A thread whose stack finds no room is "temporarily unavailable".
_SIGNS = (
    "out of memory",
    "allocate memory",
    "cannot allocate",
    "memory allocation",
    "bad_alloc",
    "bad allocation",
    "can't start new thread",
    "launch worker thread",
    "failed to map segment",
)
# Whose errors are about the memory of this process.
_LOCAL = frozenset({"builtins", "duckdb", "numpy", "pyarrow", "pyogrio", "pyproj", "rasterio", "shapely"})


def says_no_memory(text: str) -> bool:
    """Whether a library's message means that it got no memory."""
    lower = text.lower()
    return any(sign in lower for sign in _SIGNS)


def is_lack_of_memory(err: BaseException) -> bool:
    """Whether this error of this process, or one that it was raised from, is that there was no memory."""
    return any(_is_lack_of_memory(each) for each in chain(err))


def raise_lack_of_memory(err: BaseException) -> None:
    """Raise MemoryError if this is what the error means; call it before calling a file damaged."""
    if is_lack_of_memory(err):
        raise MemoryError(str(err)) from err


def _is_lack_of_memory(err: BaseException) -> bool:
    if isinstance(err, MemoryError) or (isinstance(err, OSError) and err.errno == errno.ENOMEM):
        return True
    # Not the database server's memory.
    return type(err).__module__.partition(".")[0] in _LOCAL and says_no_memory(str(err))
