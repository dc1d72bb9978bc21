"""The geotransform of a raster: from the file itself, or from the world file beside it."""

from __future__ import annotations

from pathlib import Path

from affine import Affine
from rasterio.io import DatasetReader

from app.errors import RunRefused
from app.messages.raster import (
    GEOREFERENCE_CONFLICT,
    GEOREFERENCE_NOT_AFFINE,
    GEOREFERENCE_WITHOUT_AREA,
    WORLD_FILE_INVALID,
)
from app.models.formats import FORMATS
from app.models.numbers import real_number
from app.pipelines.raster.formats.raster_format import RasterFormat
from app.pipelines.raster.gdal import has_geotransform

# The largest shift of a corner, in pixels, between two transforms that count as the same.
SAME_PIXELS = 0.01
_WORLD_SUFFIXES = (".tfw", ".pgw", ".jgw", ".j2w", ".wld")
_WORLD_NUMBERS = 6
# By GDAL's driver, the endings of files that may be beside a raster.
_SIDECARS = {driver: fmt.optional_sidecars for fmt in FORMATS if fmt.type == "raster" for driver in fmt.drivers}


def check_georeference(dataset: DatasetReader, beside: Path, file: str, fmt: RasterFormat) -> None:
    """Check that a raster with control points or RPCs has a geotransform, or a world file, besides.

    Raises:
        RunRefused: georeference_not_affine.
    """
    nowhere = not _world_path(beside) and geotransform(dataset, identity=fmt.identity) is None
    if nowhere and (dataset.gcps[0] or dataset.rpcs is not None):
        raise _not_georeferenced(dataset, file, fmt)


def resolve_transform(dataset: DatasetReader, beside: Path, file: str, fmt: RasterFormat) -> Affine:
    """The transform from (column, row) of pixel corners to coordinates of the CRS, x before y.

    It may be north-up, south-up or rotated.

    Args:
        dataset: the opened raster.
        beside: the fetched file; a world file lies next to it.
        file: the key in the landing zone, for messages.
        fmt: its format.

    Raises:
        RunRefused: georeference_missing, georeference_not_affine, georeference_conflict, world_file_invalid.
    """
    found = geotransform(dataset, identity=fmt.identity)
    world = _world_file(beside, file)
    if found is not None and world is not None and not same_transform(found, world[1], dataset.shape):
        raise GEOREFERENCE_CONFLICT(file=file, inside=_text(found), world_file=world[0], beside=_text(world[1]))
    transform = found or (world[1] if world else None)
    if transform is None:
        raise _not_georeferenced(dataset, file, fmt)
    if transform.determinant == 0 or not all(abs(value) < 1e300 for value in transform[:6]):
        raise GEOREFERENCE_WITHOUT_AREA(file=file, transform=_text(transform))
    return transform


def geotransform(dataset: DatasetReader, *, identity: bool = False) -> Affine | None:
    """The geotransform inside the file; None without one. identity: it may be the identity."""
    if not has_geotransform(dataset.name) or (not identity and _is_identity(dataset.transform)):
        return None
    found: Affine = dataset.transform
    return found


def same_transform(a: Affine, b: Affine, shape: tuple[int, int]) -> bool:
    """Whether the corners of a raster of that (height, width) differ by at most SAME_PIXELS pixels."""
    height, width = shape
    to_pixels = ~a
    corners = ((0, 0), (width, 0), (0, height), (width, height))
    moved = (to_pixels @ (b @ corner) for corner in corners)
    return all(
        abs(x - cx) <= SAME_PIXELS and abs(y - cy) <= SAME_PIXELS
        for (x, y), (cx, cy) in zip(moved, corners, strict=True)
    )


def _is_identity(transform: Affine) -> bool:
    """What GDAL returns for a raster without a geotransform: the identity, either way up."""
    return tuple(transform[:6]) in ((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))


def _not_georeferenced(dataset: DatasetReader, file: str, fmt: RasterFormat) -> RunRefused:
    if dataset.gcps[0]:
        method = f"{len(dataset.gcps[0])} ground control points"
    elif dataset.rpcs is not None:
        method = "rational polynomial coefficients (RPC)"
    elif dataset.tags(ns="GEOLOCATION"):
        method = "arrays of coordinates (a curvilinear grid)"
    else:
        suffixes = [suffix for suffix in _WORLD_SUFFIXES if suffix in _SIDECARS[dataset.driver]]
        return fmt.not_placed(file=file, suffixes=", ".join(suffixes))
    return GEOREFERENCE_NOT_AFFINE(file=file, method=method)


def _world_path(beside: Path) -> Path | None:
    return next((p for suffix in _WORLD_SUFFIXES if (p := beside.with_suffix(suffix)).is_file() and p != beside), None)


def _world_file(beside: Path, file: str) -> tuple[str, Affine] | None:
    """(name, transform) of the world file. Its six numbers: the change of x and y per column, the change of x and y per
    row, and the centre of the first pixel."""
    path = _world_path(beside)
    if path is None:
        return None
    name = Path(file).with_suffix(path.suffix).name
    words = path.read_bytes()[:4096].split()
    numbers = [real_number(word.replace(b",", b".").decode("latin-1")) for word in words]
    known = [number for number in numbers if number is not None]
    if len(known) != len(words) or len(known) != _WORLD_NUMBERS:
        found = b" ".join(words)[:60].decode("ascii", "backslashreplace")
        raise WORLD_FILE_INVALID(file=file, world_file=name, found=found)
    a, d, b, e, x, y = known
    return name, Affine(a, b, x, d, e, y) @ Affine.translation(-0.5, -0.5)


def _text(transform: Affine) -> str:
    return "(" + ", ".join(f"{value:.10g}" for value in transform[:6]) + ")"
