"""Metadata domains of a raster and its bands: RPC, IMAGERY, XMP and what else programs write beside plain tags."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from itertools import count, takewhile
from typing import Any

from app.messages.raster import TAGS_TOO_LARGE
from app.pipelines.common.utf8 import is_utf8
from app.pipelines.raster.gdal import READ, UPDATE, library, opened

# {domain: its strings}, of the raster and then of each band.
Domains = tuple[Mapping[str, tuple[bytes, ...]], ...]

# What GDAL makes up, what is written anew, and what names other files.
_OTHERS = ("", "IMAGE_STRUCTURE", "DERIVED_SUBDATASETS", "SUBDATASETS", "OVERVIEWS", "GEOLOCATION", "COLOR_TABLE")
_BEGINNINGS = ("xml:VRT", "vrt_", "new_vrt", "xml:gml", "xml:BOX", "LocationInfo")
# Domains that are about the pixels of one file as they are numbered there.
_ABOUT_POSITIONS = "RPC"
_MOST_BYTES = 16 << 20


def read_domains(name: str, bands: int, file: str) -> Domains:
    """The domains of a raster beyond its plain tags, without strings that are not UTF-8.

    Raises:
        RunRefused: tags_too_large.
    """
    lib = _library()
    with opened(name, READ) as dataset:
        owners = [dataset, *(lib.GDALGetRasterBand(dataset, index + 1) for index in range(bands))]
        found = tuple(dict(_domains(owner)) for owner in owners)
    size = sum(len(text) for each in found for texts in each.values() for text in texts)
    if size > _MOST_BYTES:
        raise TAGS_TOO_LARGE(file=file, size=size, limit=_MOST_BYTES)
    return found


def write_domains(name: str, domains: Domains, *, moved: bool) -> None:
    """Add domains to a GeoTIFF. moved: its pixels are numbered otherwise than in the file, so RPCs are left out."""
    lib = _library()
    left_out = _ABOUT_POSITIONS if moved else None
    kept = [{domain: texts for domain, texts in each.items() if domain != left_out} for each in domains]
    if not any(kept):
        return
    with opened(name, UPDATE) as dataset:
        owners = [dataset, *(lib.GDALGetRasterBand(dataset, index + 1) for index in range(len(domains) - 1))]
        for owner, each in zip(owners, kept, strict=True):
            for domain, texts in each.items():
                listed = (ctypes.c_char_p * (len(texts) + 1))(*texts, None)
                lib.GDALSetMetadata(owner, listed, domain.encode())


def _domains(owner: int) -> Iterator[tuple[str, tuple[bytes, ...]]]:
    lib = _library()
    with _listed(lib.GDALGetMetadataDomainList(owner)) as names:
        for name in names:
            domain = name.decode(errors="replace")
            if domain in _OTHERS or domain.startswith(_BEGINNINGS) or not is_utf8(name):
                continue
            texts = tuple(text for text in _strings(lib.GDALGetMetadata(owner, name)) if is_utf8(text))
            if texts:
                yield domain, texts


def _strings(listed: Any) -> Iterator[bytes]:
    if listed:
        yield from takewhile(lambda text: text is not None, (listed[at] for at in count()))


@contextmanager
def _listed(names: Any) -> Iterator[list[bytes]]:
    try:
        yield list(_strings(names))
    finally:
        _library().CSLDestroy(names)


@cache
def _library() -> Any:
    lib = library()
    strings = ctypes.POINTER(ctypes.c_char_p)
    lib.GDALGetMetadataDomainList.restype = strings
    lib.GDALGetMetadataDomainList.argtypes = [ctypes.c_void_p]
    lib.GDALSetMetadata.restype = ctypes.c_int
    lib.GDALSetMetadata.argtypes = [ctypes.c_void_p, strings, ctypes.c_char_p]
    lib.CSLDestroy.restype, lib.CSLDestroy.argtypes = None, [strings]
    return lib
