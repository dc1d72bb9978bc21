"""netCDF: the classic formats (CDF-1, CDF-2, CDF-5), and netCDF-4, which is HDF5."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from rasterio.io import DatasetReader

from app.messages.common import FILE_TRUNCATED
from app.messages.raster import COORDINATES_MISSING, EXTERNAL_DATA, HDF5_DAMAGED, HDF5_TRUNCATED, NETCDF_HEADER_DAMAGED
from app.pipelines.raster.crs import FoundCrs, check_attribute
from app.pipelines.raster.formats.netcdf_axes import place
from app.pipelines.raster.formats.netcdf_classic import extent
from app.pipelines.raster.formats.raster_format import Meaning, RasterFormat
from app.pipelines.raster.georef import geotransform
from app.pipelines.raster.multidim import Variable, describe_variable
from app.pipelines.raster.reading import Reading
from app.settings import MiB

_HDF5 = b"\x89HDF\r\n\x1a\n"
# Values outside of valid_range are set to 0 otherwise, where there is no nodata value.
_OPTIONS = (("HONOUR_VALID_RANGE", "NO"),)
_MOST_HEADER = 16 * MiB


def _check(path: Path, file: str) -> None:
    (_check_hdf5 if _is_hdf5(path) else _check_classic)(path, file)


def _is_hdf5(path: Path) -> bool:
    with path.open("rb") as stream:
        return stream.read(len(_HDF5)) == _HDF5


def _check_classic(path: Path, file: str) -> None:
    size = path.stat().st_size
    try:
        header, needed = extent(path)
    except ValueError as err:
        raise NETCDF_HEADER_DAMAGED(file=file, problem=str(err)) from None
    if needed > size:
        raise FILE_TRUNCATED(file=file, size=size, expected=needed)
    with path.open("rb") as stream:
        check_attribute(stream.read(min(header, _MOST_HEADER)).decode("latin-1"), file)


def _check_hdf5(path: Path, file: str) -> None:
    """HDF5 can keep values in other files, at any path, and reads those without GDAL."""
    try:
        with h5py.File(path, "r") as root:
            _check_groups(root, file)
    except (OSError, RuntimeError, KeyError, ValueError) as err:
        raise (HDF5_TRUNCATED if "truncated" in str(err) else HDF5_DAMAGED)(file=file) from None


def _check_groups(root: h5py.Group, file: str) -> None:
    """Check every object once, even where links form a circle."""
    seen: set[int] = set()
    waiting: list[tuple[str, h5py.Group]] = [("", root)]
    _check_texts(root, file)
    while waiting:
        path, group = waiting.pop()
        for name in group:
            where = f"{path}/{name}"
            link = group.get(name, getlink=True)
            item = group[name] if isinstance(link, h5py.HardLink) else None
            if isinstance(link, h5py.ExternalLink) or (
                isinstance(item, h5py.Dataset) and (item.external or item.is_virtual)
            ):
                raise EXTERNAL_DATA(file=file, item=where)
            if item is not None:
                _check_texts(item, file)
            if isinstance(item, h5py.Group) and (address := h5py.h5o.get_info(item.id).addr) not in seen:
                seen.add(address)
                waiting.append((where, item))


def _check_texts(item: h5py.HLObject, file: str) -> None:
    """Check the text attributes: one of them may be a CRS that refers to a file."""
    for name in item.attrs:
        # h5py cannot read attributes of some types (HDF5's times), so HDF5 is asked for the type first.
        if isinstance(item.attrs.get_id(name).get_type(), h5py.h5t.TypeStringID):
            value = item.attrs[name]
            check_attribute(value.decode("latin-1") if isinstance(value, bytes) else str(value), file)


def _readable(own: Path) -> Path:
    """Of netCDF-4 with unsigned bytes in signed ones, a copy without the attribute that says so: GDAL fails on values
    above 127 there."""
    if not _is_hdf5(own):
        return own
    with h5py.File(own, "r") as root:
        found: list[str] = []
        root.visititems(lambda name, item: found.append(name) if _is_unsigned_byte(item) else None)
    if not found:
        return own
    copy = own.with_name(f"signed{own.suffix}")
    shutil.copyfile(own, copy)
    with h5py.File(copy, "r+") as root:
        for name in found:
            del root[name].attrs["_Unsigned"]
    return copy


def _is_unsigned_byte(item: h5py.HLObject) -> bool:
    if not isinstance(item, h5py.Dataset) or item.dtype != np.int8 or "_Unsigned" not in item.attrs:
        return False
    text = item.attrs["_Unsigned"]
    return _is_true(text.decode("latin-1") if isinstance(text, bytes) else str(text))


def _is_true(text: str) -> bool:
    return text.strip().lower() == "true"


def _meaning(dataset: DatasetReader, own: Path, crs: FoundCrs, file: str) -> Meaning:
    """Where the variable lies by its axes, what type its values have, and which of them are missing."""
    layer = dataset.name.rpartition(":")[2] if dataset.name.lower().startswith("netcdf:") else None
    name = layer or dataset.tags(1).get("NETCDF_VARNAME")
    variable = describe_variable(str(own), name) if name else None
    if variable is None:
        return Meaning(Reading(options=_OPTIONS))
    sizes = tuple(dimension.size for dimension in variable.dimensions[-2:])
    placed = place(variable, geotransform(dataset), crs, file) if sizes == dataset.shape else None
    dtype = _dtype(dataset.dtypes[0], variable.texts.get("_Unsigned"))
    missing, valid = _invalid(variable, np.dtype(dtype or dataset.dtypes[0]))
    if placed is None:
        return Meaning(Reading(dtype=dtype, missing=missing, valid=valid, options=_OPTIONS))
    reading = Reading(placed.bottom_up, placed.transposed, placed.flipped, dtype, missing, valid, _OPTIONS)
    return Meaning(reading, placed.transform, placed.warnings)


def _dtype(found: str, unsigned: str | None) -> str | None:
    """The type that `_Unsigned` gives to integers, where GDAL does not do it."""
    stored = np.dtype(found)
    if unsigned is None or stored.kind not in "iu":
        return None
    wanted = f"{'uint' if _is_true(unsigned) else 'int'}{8 * stored.itemsize}"
    return None if wanted == found else wanted


def _invalid(variable: Variable, dtype: np.dtype[Any]) -> tuple[tuple[float, ...], tuple[float, float] | None]:
    """(values that mean nodata, the valid range), as values of the raster's type."""
    numbers = variable.numbers
    named = (number for name in ("_FillValue", "missing_value") for number in numbers.get(name, ()))
    missing = {value for number in named if (value := _value(number, dtype)) is not None}
    ends = numbers.get("valid_range", ())
    if len(ends) != 2:
        low, high = (-np.inf, np.inf) if dtype.kind == "f" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        ends = (numbers.get("valid_min", (low,))[0], numbers.get("valid_max", (high,))[0])
    first, last = (_value(end, dtype) for end in ends)
    narrow = any(name in numbers for name in ("valid_range", "valid_min", "valid_max"))
    if not narrow or first is None or last is None or first > last:
        return tuple(sorted(missing)), None
    return tuple(sorted(missing)), (first, last)


def _value(number: float, dtype: np.dtype[Any]) -> float | None:
    """A number of an attribute as a value of that type; None where it has no such value. Attributes of unsigned values
    may be signed."""
    if dtype.kind == "f":
        with np.errstate(over="ignore"):
            return float(dtype.type(number))
    limits = np.iinfo(dtype)
    if not math.isfinite(number) or number != int(number):
        return None
    if number < limits.min and dtype.kind == "u":
        number += 2**limits.bits
    elif number > limits.max and dtype.kind == "i":
        number -= 2**limits.bits
    return number if limits.min <= number <= limits.max else None


FORMAT = RasterFormat(
    magic=(b"CDF\x01", b"CDF\x02", b"CDF\x05", _HDF5),
    check=_check,
    readable=_readable,
    meaning=_meaning,
    not_placed=COORDINATES_MISSING,
    ignored=("Unhandled X/Y axis unit", "Latitude grid not spaced evenly", "dimension #"),
)
