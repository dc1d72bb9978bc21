"""The dimensions and attributes of a netCDF variable, through GDAL's multidimensional API.

GDAL's raster model drops them: which dimension is which axis, where each cell lies, and how a value is stored.
"""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from app.pipelines.raster.gdal import library, opened

Floats = npt.NDArray[np.float64]

_MULTIDIM = 0x10  # GDAL_OF_MULTIDIM_RASTER
_FLOAT64 = 7  # GDT_Float64
_TEXTS = ("axis", "standard_name", "units", "_Unsigned")
_NUMBERS = ("_FillValue", "missing_value", "valid_range", "valid_min", "valid_max")
# Significant bits of the numbers of a GDAL type that may be less precise than the differences between cells.
_FLOAT32 = 6


@dataclass(frozen=True, slots=True)
class Dimension:
    """One dimension of a variable.

    Attributes:
        name: as in the file.
        size: number of cells.
        values: the coordinates of the cells' centres in the file's unit; None without a coordinate variable.
        precision: how far a value may be off because of the type that it is stored in.
        attributes: `axis`, `standard_name` and `units` of the coordinate variable, as far as it has them.
    """

    name: str
    size: int
    values: Floats | None
    precision: float
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Variable:
    """A variable: its dimensions, in the order of the file, and those attributes that say what its values mean."""

    dimensions: tuple[Dimension, ...]
    texts: Mapping[str, str]
    numbers: Mapping[str, tuple[float, ...]]


def describe_variable(path: str, name: str) -> Variable | None:
    """The variable `name`, with the path of its group or the first of that name in any group; None without one."""
    lib = _library()
    with opened(path, _MULTIDIM) as dataset, _released(lib.GDALDatasetGetRootGroup(dataset), "GDALGroup") as root:
        if not root:
            return None
        with _released(lib.GDALGroupResolveMDArray(root, name.encode(), b"/", None), "GDALMDArray") as array:
            if not array:
                return None
            numbers = {key: found for key in _NUMBERS if (found := _numbers(array, key))}
            return Variable(tuple(_dimensions(array)), _texts(array), numbers)


def _dimensions(array: int) -> Iterator[Dimension]:
    lib, count = _library(), ctypes.c_size_t()
    listed = lib.GDALMDArrayGetDimensions(array, ctypes.byref(count))
    try:
        for handle in listed[: count.value]:
            name, size = lib.GDALDimensionGetName(handle).decode(errors="replace"), lib.GDALDimensionGetSize(handle)
            with _released(lib.GDALDimensionGetIndexingVariable(handle), "GDALMDArray") as axis:
                values = _values(axis, size) if axis and lib.GDALMDArrayGetDimensionCount(axis) == 1 else None
                attributes = _texts(axis) if axis and values is not None else {}
                precision = _precision(axis, values) if axis and values is not None else 0.0
                yield Dimension(name, size, values, precision, attributes)
    finally:
        lib.GDALReleaseDimensions(listed, count)


def _values(axis: int, size: int) -> Floats | None:
    """All values of a coordinate variable, unpacked by its scale_factor and add_offset."""
    lib, found = _library(), np.empty(size, np.float64)
    start, many, step = ctypes.c_uint64(0), ctypes.c_size_t(size), ctypes.c_int64(1)
    kind = lib.GDALExtendedDataTypeCreate(_FLOAT64)
    try:
        done = lib.GDALMDArrayRead(
            axis, ctypes.byref(start), ctypes.byref(many), ctypes.byref(step), None, kind,
            found.ctypes.data, None, 0,
        )  # fmt: skip
    finally:
        lib.GDALExtendedDataTypeRelease(kind)
    if not done:
        return None
    has = ctypes.c_int()
    scale = lib.GDALMDArrayGetScale(axis, ctypes.byref(has))
    found *= scale if has.value else 1.0
    offset = lib.GDALMDArrayGetOffset(axis, ctypes.byref(has))
    return found + (offset if has.value else 0.0)


def _precision(axis: int, values: Floats) -> float:
    lib = _library()
    kind = lib.GDALMDArrayGetDataType(axis)
    number = lib.GDALExtendedDataTypeGetNumericDataType(kind)
    lib.GDALExtendedDataTypeRelease(kind)
    smallest = np.finfo(np.float32 if number == _FLOAT32 else np.float64).eps
    return float(np.abs(values).max(initial=0.0) * smallest)


def _texts(array: int) -> dict[str, str]:
    lib, found = _library(), {}
    for name in _TEXTS:
        with _released(lib.GDALMDArrayGetAttribute(array, name.encode()), "GDALAttribute") as attribute:
            text = lib.GDALAttributeReadAsString(attribute) if attribute else None
            if text is not None:
                found[name] = text.decode(errors="replace").strip()
    return found


def _numbers(array: int, name: str) -> tuple[float, ...]:
    lib, count = _library(), ctypes.c_size_t()
    with _released(lib.GDALMDArrayGetAttribute(array, name.encode()), "GDALAttribute") as attribute:
        listed = lib.GDALAttributeReadAsDoubleArray(attribute, ctypes.byref(count)) if attribute else None
        if not listed:
            return ()
        found = tuple(listed[: count.value])
        lib.VSIFree(listed)
        return found


@contextmanager
def _released(handle: int | None, kind: str) -> Iterator[int | None]:
    try:
        yield handle
    finally:
        if handle:
            getattr(_library(), f"{kind}Release")(handle)


@cache
def _library() -> Any:
    lib = library()
    handle, text, size = ctypes.c_void_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_size_t)
    flag, doubles = ctypes.POINTER(ctypes.c_int), ctypes.POINTER(ctypes.c_double)
    declared: dict[str, tuple[Any, list[Any]]] = {
        "GDALDatasetGetRootGroup": (handle, [handle]),
        "GDALGroupResolveMDArray": (handle, [handle, text, text, handle]),
        "GDALGroupRelease": (None, [handle]),
        "GDALMDArrayRelease": (None, [handle]),
        "GDALMDArrayGetDimensions": (ctypes.POINTER(handle), [handle, size]),
        "GDALMDArrayGetDimensionCount": (ctypes.c_size_t, [handle]),
        "GDALReleaseDimensions": (None, [ctypes.POINTER(handle), ctypes.c_size_t]),
        "GDALDimensionGetName": (text, [handle]),
        "GDALDimensionGetSize": (ctypes.c_uint64, [handle]),
        "GDALDimensionGetIndexingVariable": (handle, [handle]),
        "GDALMDArrayGetScale": (ctypes.c_double, [handle, flag]),
        "GDALMDArrayGetOffset": (ctypes.c_double, [handle, flag]),
        "GDALMDArrayGetDataType": (handle, [handle]),
        "GDALMDArrayRead": (ctypes.c_int, [handle] * 7 + [handle, ctypes.c_size_t]),
        "GDALExtendedDataTypeCreate": (handle, [ctypes.c_int]),
        "GDALExtendedDataTypeGetNumericDataType": (ctypes.c_int, [handle]),
        "GDALExtendedDataTypeRelease": (None, [handle]),
        "GDALMDArrayGetAttribute": (handle, [handle, text]),
        "GDALAttributeReadAsString": (text, [handle]),
        "GDALAttributeReadAsDoubleArray": (doubles, [handle, size]),
        "GDALAttributeRelease": (None, [handle]),
        "VSIFree": (None, [handle]),
    }
    for name, (result, parameters) in declared.items():
        function = getattr(lib, name)
        function.restype, function.argtypes = result, parameters
    return lib
