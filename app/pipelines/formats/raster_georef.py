"""Where a raster lies: its own geotransform, or the world file beside it; never both with different words."""

from __future__ import annotations

from pathlib import Path

from affine import Affine
from rasterio.io import DatasetReader

from app.errors import RunRefused
from app.pipelines.formats.raster_gdal import has_geotransform

# How far, in pixels over the whole raster, two transforms may differ and still be the same one written twice.
SAME_PIXELS = 0.01
_WORLD_SUFFIXES = (".tfw", ".pgw", ".jgw", ".wld")


def resolve_transform(dataset: DatasetReader, beside: Path, file: str) -> Affine:
    """Pixel corner → CRS, x before y. `beside`: the fetched file, next to which its world file lies.

    North-up, south-up and rotated alike. Raises RunRefused: georeference_missing, georeference_not_affine,
    georeference_conflict, world_file_invalid.
    """
    found = dataset.transform if has_geotransform(dataset.name) and not _is_none(dataset.transform) else None
    world = _world_file(beside, file)
    if found is not None and world is not None and not same_transform(found, world[1], dataset.shape):
        raise RunRefused(
            f"{file} is placed by {_shown(found)} inside, and by {_shown(world[1])} in its world file {world[0]}.",
            "Remove the one that is wrong.",
            reason="georeference_conflict",
            file=file,
        )
    transform = found or (world[1] if world else None)
    if transform is None:
        raise _not_placed(dataset, file)
    if transform.determinant == 0 or not all(abs(value) < 1e300 for value in transform[:6]):
        raise RunRefused(
            f"{file}: the geotransform {_shown(transform)} gives its pixels no area.",
            "Georeference it again.",
            reason="georeference_missing",
            file=file,
        )
    return transform


def same_transform(a: Affine, b: Affine, shape: tuple[int, int]) -> bool:
    """Whether no corner of a raster of that (height, width) moves by more than SAME_PIXELS pixels from `a` to `b`."""
    height, width = shape
    to_pixels = ~a
    corners = ((0, 0), (width, 0), (0, height), (width, height))
    moved = (to_pixels @ (b @ corner) for corner in corners)
    return all(
        abs(x - cx) <= SAME_PIXELS and abs(y - cy) <= SAME_PIXELS
        for (x, y), (cx, cy) in zip(moved, corners, strict=True)
    )


def _is_none(transform: Affine) -> bool:
    """GDAL's answer for a raster without geotransform: the unit matrix, either way up."""
    return tuple(transform[:6]) in ((1.0, 0.0, 0.0, 0.0, 1.0, 0.0), (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))


def _not_placed(dataset: DatasetReader, file: str) -> RunRefused:
    if dataset.gcps[0]:
        how = f"by {len(dataset.gcps[0])} ground control points"
    elif dataset.rpcs is not None:
        how = "by rational polynomial coefficients (RPC)"
    elif dataset.tags(ns="GEOLOCATION"):
        how = "by arrays of coordinates (a curvilinear grid)"
    else:
        return RunRefused(
            f"{file} does not say where it lies: no geotransform inside, no world file beside it.",
            "Upload its world file (.wld, .pgw, .jgw, .tfw) beside it, or georeference it.",
            reason="georeference_missing",
            file=file,
        )
    return RunRefused(
        f"{file} is placed only {how}, which is no grid.",
        "Make a grid of it, for example with `gdalwarp` (-tps, -rpc, -geoloc), and send that.",
        reason="georeference_not_affine",
        file=file,
    )


def _world_file(beside: Path, file: str) -> tuple[str, Affine] | None:
    """Six numbers: x and y by column, then x and y by row, then the centre of the first pixel."""
    path = next((p for suffix in _WORLD_SUFFIXES if (p := beside.with_suffix(suffix)).is_file() and p != beside), None)
    if path is None:
        return None
    name = Path(file).with_suffix(path.suffix).name
    words = path.read_bytes()[:4096].split()
    try:
        a, d, b, e, x, y = (float(word.replace(b",", b".")) for word in words)
    except ValueError:
        raise RunRefused(
            f"{file}: its world file {name} holds no six numbers, but {b' '.join(words)[:60]!r}.",
            "Write A, D, B, E, C and F, one a line.",
            reason="world_file_invalid",
            file=file,
        ) from None
    return name, Affine(a, b, x, d, e, y) @ Affine.translation(-0.5, -0.5)


def _shown(transform: Affine) -> str:
    return "(" + ", ".join(f"{value:.10g}" for value in transform[:6]) + ")"
