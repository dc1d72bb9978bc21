"""netCDF: the classic formats (CDF-1, CDF-2, CDF-5), and netCDF-4, which is HDF5."""

from __future__ import annotations

from pathlib import Path

import h5py

from app.messages.common import FILE_TRUNCATED
from app.messages.raster import EXTERNAL_DATA, HDF5_DAMAGED, HDF5_TRUNCATED, NETCDF_HEADER_DAMAGED
from app.pipelines.common.crs import check_around
from app.pipelines.raster.formats.netcdf_classic import extent
from app.pipelines.raster.formats.raster_format import RasterFormat
from app.settings import MiB

_HDF5 = b"\x89HDF\r\n\x1a\n"
_MOST_HEADER = 16 * MiB


def _check(path: Path, file: str) -> None:
    with path.open("rb") as stream:
        is_hdf5 = stream.read(len(_HDF5)) == _HDF5
    (_check_hdf5 if is_hdf5 else _check_classic)(path, file)


def _check_classic(path: Path, file: str) -> None:
    size = path.stat().st_size
    try:
        header, needed = extent(path)
    except ValueError as err:
        raise NETCDF_HEADER_DAMAGED(file=file, problem=str(err)) from None
    if needed > size:
        raise FILE_TRUNCATED(file=file, size=size, expected=needed)
    with path.open("rb") as stream:
        check_around(stream.read(min(header, _MOST_HEADER)).decode("latin-1"), file)


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
            check_around(value.decode("latin-1") if isinstance(value, bytes) else str(value), file)


FORMAT = RasterFormat(magic=(b"CDF\x01", b"CDF\x02", b"CDF\x05", _HDF5), check=_check)
