"""Is a raster file what it is declared to be, whole, and without pointers to other files? Decided by its bytes."""

from __future__ import annotations

import struct
from pathlib import Path

import h5py

from app.errors import RunRefused
from app.pipelines.formats.content import looks_like
from app.pipelines.formats.crs import check_around
from app.pipelines.formats.netcdf_classic import extent
from app.settings import MiB

_TIFF = (b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+")
_HDF5 = b"\x89HDF\r\n\x1a\n"
_MAGIC = {
    "GTiff": _TIFF,
    "COG": _TIFF,
    "JP2": (b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"),
    "netCDF": (b"CDF\x01", b"CDF\x02", b"CDF\x05", _HDF5),
    "PNG": (b"\x89PNG\r\n\x1a\n",),
    "JPEG": (b"\xff\xd8\xff",),
}
_MOST_HEADER = 16 * MiB


def check_raster_content(path: Path, fmt: str, file: str) -> None:
    """Raises RunRefused: file_missing, file_empty, content_mismatch, file_truncated, file_damaged, external_data,
    crs_unknown (one that leads to another file)."""
    if not path.is_file():
        raise RunRefused(f"{file} is missing.", "Upload it before the manifest.", reason="file_missing", file=file)
    size = path.stat().st_size
    if size == 0:
        raise RunRefused(f"{file} is empty (0 bytes).", "Upload the file again.", reason="file_empty", file=file)
    with path.open("rb") as stream:
        head = stream.read(4096)
    if not head.startswith(_MAGIC[fmt]):
        raise RunRefused(
            f"{file} is declared as {fmt}, its content is {looks_like(head)}.",
            "Correct files[].format, or send the right file.",
            reason="content_mismatch",
            file=file,
        )
    if fmt == "PNG":
        _check_png(path, size, file)
    elif head.startswith(_HDF5):
        _check_hdf5(path, file)
    elif fmt == "netCDF":
        _check_classic(path, size, file)


def _check_png(path: Path, size: int, file: str) -> None:
    """Every chunk is there, up to the closing IEND: libpng reads an image whose end is missing without a word."""
    with path.open("rb") as stream:
        at = 8
        while at + 12 <= size:
            stream.seek(at)
            length, kind = struct.unpack(">L4s", stream.read(8))
            at += 12 + length
            if kind == b"IEND" and at <= size:
                return
    raise _truncated(file, f"its closing chunk is missing after {size} bytes")


def _check_classic(path: Path, size: int, file: str) -> None:
    try:
        header, needed = extent(path)
    except ValueError as err:
        raise RunRefused(
            f"{file} cannot be read: in its netCDF header, {err}.",
            "Upload the file again; `ncdump -h` should read it.",
            reason="file_damaged",
            file=file,
        ) from None
    if needed > size:
        raise _truncated(file, f"it has {size} bytes, and its header says {needed}")
    with path.open("rb") as stream:
        check_around(stream.read(min(header, _MOST_HEADER)).decode("latin-1"), file)


def _check_hdf5(path: Path, file: str) -> None:
    """HDF5 may keep values in other files, named by any path: such files are read without asking GDAL."""
    try:
        with h5py.File(path, "r") as root:
            _check_groups(root, file)
    except (OSError, RuntimeError, KeyError, ValueError) as err:
        if "truncated" in str(err):
            raise _truncated(file, "HDF5 finds less than its header says") from None
        raise RunRefused(
            f"{file} cannot be read: HDF5 finds it damaged.", "Upload it again.", reason="file_damaged", file=file
        ) from None


def _check_groups(root: h5py.Group, file: str) -> None:
    """Every object once, however often and deep it is linked."""
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
                raise RunRefused(
                    f"{file}: {where} takes its values from another file.",
                    "Send a file that holds all its data itself (nccopy, h5repack).",
                    reason="external_data",
                    file=file,
                )
            if item is not None:
                _check_texts(item, file)
            if isinstance(item, h5py.Group) and (address := h5py.h5o.get_info(item.id).addr) not in seen:
                seen.add(address)
                waiting.append((where, item))


def _check_texts(item: h5py.HLObject, file: str) -> None:
    """Its attributes that are texts: a CRS is one of them."""
    for name in item.attrs:
        # Asked of HDF5: it has types that NumPy has not.
        if isinstance(item.attrs.get_id(name).get_type(), h5py.h5t.TypeStringID):
            value = item.attrs[name]
            check_around(value.decode("latin-1") if isinstance(value, bytes) else str(value), file)


def _truncated(file: str, how: str) -> RunRefused:
    return RunRefused(f"{file} is truncated: {how}.", "Upload the file again.", reason="file_truncated", file=file)
