"""The raster pipeline: raster files of one grid become one Cloud Optimized GeoTIFF, pixel for pixel."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import rasterio
from pyproj import CRS

from app.errors import RunRefused
from app.models.asset import Asset
from app.models.formats import find_format
from app.models.intents import intent_names, is_known
from app.models.recipe import Recipe, Reproject, clean_raster
from app.pipelines.context import FetchedFile, Product, RunContext
from app.pipelines.engines.raster import Raster, assemble, block_size, read_ends, warp
from app.pipelines.engines.raster_grid import Grid, one_grid
from app.pipelines.engines.raster_place import area_of_use, bounds_of, box_4326
from app.pipelines.engines.reproject import Reprojector
from app.pipelines.formats.crs import crs_name, parse_crs, same_crs
from app.pipelines.formats.raster import RasterSource, check_pixels, inspect
from app.pipelines.formats.raster_cog import check_cog, predictor, write_cog
from app.pipelines.formats.raster_gdal import guarded
from app.pipelines.formats.raster_georef import same_transform
from app.pipelines.formats.raster_preview import write_preview
from app.pipelines.plan import Rehearsal
from app.pipelines.plan_files import raster_file

# Degrees that a raster may lie outside its CRS's area of use; farther out, coordinates and CRS do not belong together.
_FAR = 6.0


def run(ctx: RunContext) -> Asset:
    """Load, transform, export. On the sources' own grid pixels are what they were; `options.warp` makes EPSG:4326.

    Raises RunRefused, with a reason, for input that cannot become a dataset; RunCanceled and StaleAttempt pass through.
    """
    recipe, resampling = _recipe(ctx)
    formats = [fmt for file in ctx.manifest.files if (fmt := find_format(file.format)) is not None]
    with guarded([driver for fmt in formats for driver in fmt.drivers], ctx.threads):
        with ctx.step("load"):
            files = [ctx.fetch(file) for file in ctx.manifest.files]
            if (same := ctx.unchanged(files, recipe.describe(), {"engine": "gdal"})) is not None:
                return same
            sources = [inspect(file, ctx.limits) for file in files]
            grid = _grid(ctx, sources)
            target = _target(ctx, grid, recipe)
            _check_resampling(grid.parts[0].source, resampling)

        with ctx.step("transform"):
            raster = _transform(ctx, grid, target, resampling)

        with ctx.step("export"):
            product = _export(ctx, grid, raster, resampling)
            return ctx.publish(product, [found for file in files for found in file.inputs])


def plan(ctx: Rehearsal) -> None:
    """What `run` would do, as far as the files' descriptions and their first and last pixels tell.

    Raises RunRefused as `run` does, for all files at once.
    """
    draft, (recipe, resampling) = ctx.draft, _recipe(ctx)
    draft.steps, draft.engine = recipe.describe(), _engine()
    draft.objects = ["data-{sha256}.tif", "preview-{sha256}.png"]
    draft.not_looked_at = (
        "Pixels, the first and last ones aside: damage in the middle, and whether they are classes or measurements.",
        "Whether a GeoTIFF can hold the CRS.",
    )
    formats = [fmt for file in ctx.manifest.files if (fmt := find_format(file.format)) is not None]
    with guarded([driver for fmt in formats for driver in fmt.drivers], ctx.threads):
        files = ctx.each(ctx.manifest.files, ctx.fetch)
        ctx.unchanged(files, draft.steps, {"engine": "gdal"})

        def look(file: FetchedFile) -> RasterSource:
            source = inspect(file, ctx.limits)
            draft.files.append(raster_file(file, source))
            read_ends(source)
            return source

        grid = _grid(ctx, ctx.each(files, look))
        target = _target(ctx, grid, recipe)
        _check_resampling(grid.parts[0].source, resampling)
        counts = {"rows_in": sum(part.source.height for part in grid.parts)}
        counts |= {"pixels_in": sum(part.source.width * part.source.height for part in grid.parts)}
        draft.counts = counts if target else counts | {"rows_out": grid.height, "pixels_out": grid.width * grid.height}


def _recipe(ctx: RunContext) -> tuple[Recipe, str | None]:
    """What the options of the files ask for, and a warning when the intent has no row of its own."""
    name = ctx.manifest.intent
    asked = {(file.options.warp, file.options.resampling) if file.options else (None, None): file.key
             for file in ctx.manifest.files}  # fmt: skip
    if len(asked) > 1:
        raise RunRefused(
            f"The files ask for different things: {', '.join(f'{key}: {wanted}' for wanted, key in asked.items())}.",
            "Give the same options.warp and options.resampling to every file.",
            reason="options_differ",
        )
    if not is_known(name):
        ctx.watch.warn(
            "intent_unknown",
            f"The intent {name!r} is not in the table; the recipe of ingest_raster runs. "
            f"Known intents: {', '.join(intent_names())}.",
        )
    ((target, resampling),) = asked
    return clean_raster(name, target), resampling


def _grid(ctx: RunContext, sources: Sequence[RasterSource]) -> Grid:
    for source in sources:
        for code, message in source.notes:
            ctx.watch.warn(code, message)
    grid = one_grid(sources)
    file = sources[0].file if len(sources) == 1 else f"The mosaic of {len(sources)} files"
    check_pixels(grid.width, grid.height, len(sources[0].bands), ctx.limits, file)
    if grid.overlapping:
        text = f"{grid.overlapping} pixels are covered by more than one file; the later file's valid pixels are kept."
        ctx.watch.warn("pixels_overlapping", text, grid.overlapping)
    if grid.gaps:
        text = f"{grid.gaps} pixels of the mosaic are covered by no file; they are nodata."
        ctx.watch.warn("pixels_uncovered", text, grid.gaps)
    _check_area(ctx, grid)
    return grid


def _check_area(ctx: RunContext, grid: Grid) -> None:
    """Whether the raster lies where its CRS is meant for, as far as PROJ knows either."""
    area, bounds = area_of_use(grid.crs), bounds_of(grid.transform, grid.width, grid.height)
    box = box_4326(bounds, grid.crs)
    if grid.crs.is_geographic:  # as they are, also past 180 degrees or beyond the poles
        box = (bounds.minx, bounds.miny, bounds.maxx, bounds.maxy)
    if box is None:
        text = "The bounds cannot be told in EPSG:4326: a corner lies outside the projection."
        ctx.watch.warn("bounds_unknown", text)
        return
    if area is None or box[0] > box[2] or area[0] > area[2]:
        return
    file = grid.parts[0].source.file
    text = (
        f"{file} lies at {', '.join(f'{value:.6g}' for value in box)} degrees, {crs_name(grid.crs)} is meant for "
        f"{', '.join(f'{value:.6g}' for value in area)}"
    )
    apart = max(box[0] - area[2], area[0] - box[2], box[1] - area[3], area[1] - box[3])
    if apart > _FAR:
        fix = "Correct files[].crs, or the georeference of the source."
        raise RunRefused(f"{text}.", fix, reason="outside_area_of_use", file=file)
    beyond = max(area[0] - box[0], area[1] - box[1], box[2] - area[2], box[3] - area[3])
    if beyond > _FAR:
        ctx.watch.warn("outside_area_of_use", f"{text}; it is kept as it is.")


def _target(ctx: RunContext, grid: Grid, recipe: Recipe) -> CRS | None:
    """The CRS to warp to, None to stay on the grid; refused, before a pixel is read, where that cannot be done."""
    like = grid.parts[0].source
    target = next(
        (parse_crs(step.crs, "", "of the recipe") for step in recipe.steps if isinstance(step, Reproject)), None
    )
    if target is None or (same_crs(grid.crs, target) and _is_north_up(grid)):
        return None
    if like.wide_nodata is not None or like.dtype in ("int64", "uint64"):
        raise RunRefused(
            f"{like.file} has pixels of type {like.dtype}, which GDAL warps through floats that cannot hold them.",
            "Leave out options.warp, or send 32-bit integers.",
            reason="dtype_not_supported",
            file=like.file,
        )
    box = box_4326(bounds_of(grid.transform, grid.width, grid.height), grid.crs)
    if box is None or box[0] > box[2]:
        raise RunRefused(
            f"{like.file} crosses the antimeridian or reaches outside its projection: in {crs_name(target)} it "
            "would be torn across the whole world.",
            "Leave out options.warp, or send each side of the antimeridian as a dataset of its own.",
            reason="warp_antimeridian",
            file=like.file,
        )
    for code, message in Reprojector(grid.crs, target, like.file).warnings():
        ctx.watch.warn(code, message)
    return target


def _transform(ctx: RunContext, grid: Grid, target: CRS | None, resampling: str | None) -> Raster:
    told = _progress(ctx, grid, 0.0, 0.3 if target is None else 0.2)
    assembled = assemble(grid, ctx.scratch / "assembled.tif", told, for_warp=target is not None)
    if target is None:
        return assembled
    how = _resampling(assembled, resampling, "bilinear")
    warped = ctx.scratch / "warped.tif"
    made = warp(assembled, warped, target, how, ctx.limits, _progress(ctx, grid, 0.2, 0.6))
    assembled.path.unlink()
    return made


def _resampling(raster: Raster, asked: str | None, measured: str) -> str:
    """What was asked for; else by the data: classes are chosen, measurements get `measured`."""
    return asked or ("nearest" if raster.is_categorical else measured)


def _check_resampling(like: RasterSource, asked: str | None) -> None:
    """Raises RunRefused resampling_invents."""
    if asked is None:
        return
    wide = like.dtype in ("int64", "uint64")
    if (wide and asked != "nearest") or (like.colours is not None and asked not in ("nearest", "mode")):
        why = "64-bit integers, which GDAL averages as floats" if wide else "a colour table, whose numbers are names"
        raise RunRefused(
            f"{like.file} has {why}: options.resampling {asked!r} would invent values.",
            "Use nearest, or leave the option out.",
            reason="resampling_invents",
            file=like.file,
        )


def _export(ctx: RunContext, grid: Grid, raster: Raster, resampling: str | None) -> Product:
    like = raster.like
    path, preview = ctx.scratch / "product.tif", ctx.scratch / "preview.png"
    how = _resampling(raster, resampling, "average")
    write_cog(
        raster.path,
        path,
        block=block_size(len(like.bands), like.dtype),
        predictor=predictor(like.dtype, plain=like.colours is not None or like.bits == 1),
        resampling=how,
        threads=ctx.threads,
        progress=_progress(ctx, grid, 0.3, 1.0),
    )
    raster.path.unlink()
    layout = check_cog(path)
    _check_described(path, raster)
    bands = _describe_bands(raster)
    write_preview(path, preview, bands)
    bounds = bounds_of(raster.transform, raster.width, raster.height)
    box = box_4326(bounds, raster.crs)
    statistics = {
        "width": raster.width,
        "height": raster.height,
        "dtype": like.dtype,
        "nodata": _json_number(like.missing),
        "transform": list(raster.transform[:6]),
        "masked": raster.masked,
        "bounds_4326": dict(zip(("minx", "miny", "maxx", "maxy"), box, strict=True)) if box else None,
        **layout,
        "overview_resampling": how,
        "bands": bands,
        "files": [_describe_source(part.source, part.column, part.row) for part in grid.parts],
    }
    return Product(
        path=path,
        kind="raster",
        format="cog",
        crs=crs_name(raster.crs),
        bounds=bounds,
        column_schema={},
        geometry_type=None,
        counts=_counts(grid, raster),
        statistics=statistics,
        engine=_engine(),
        companions={"preview.png": preview},
    )


def _engine() -> dict[str, str]:
    return {
        "engine": "local",
        "rasterio": version("rasterio"),
        "gdal": rasterio.__gdal_version__,
        "proj": rasterio.__proj_version__,
    }


def _check_described(path: os.PathLike[str], raster: Raster) -> None:
    """The file must say by itself what we say about it: not every CRS can be written into a GeoTIFF."""
    with rasterio.open(path, driver="GTiff") as made:
        said = parse_crs(made.crs.to_wkt(), raster.like.file, "of the result") if made.crs else None
        same_grid = same_transform(raster.transform, made.transform, made.shape)
    if said is None or not same_crs(said, raster.crs) or not same_grid:
        raise RunRefused(
            f"{raster.like.file}: a GeoTIFF cannot hold its CRS {crs_name(raster.crs)}; it would come out as "
            f"{crs_name(said) if said else 'none'}.",
            "Warp it to a CRS with an EPSG code first.",
            reason="crs_not_in_geotiff",
            file=raster.like.file,
        )


def _counts(grid: Grid, raster: Raster) -> dict[str, int]:
    """rows: raster lines. Every pixel of the grid is covered by a file, or counted as uncovered."""
    counts = {
        "rows_in": sum(part.source.height for part in grid.parts),
        "rows_out": raster.height,
        "pixels_in": sum(part.source.width * part.source.height for part in grid.parts),
        "pixels_out": raster.width * raster.height,
    }
    more = {"pixels_overlapping": grid.overlapping, "pixels_uncovered": grid.gaps}
    return counts | {name: count for name, count in more.items() if count}


def _describe_bands(raster: Raster) -> list[dict[str, Any]]:
    described = []
    for index, (band, found) in enumerate(zip(raster.like.bands, raster.statistics, strict=True)):
        entry: dict[str, Any] = {"name": band.description or f"band_{index + 1}", "type": raster.like.dtype}
        entry |= {"interpretation": band.interpretation, "unit": band.unit, "scale": band.scale, "offset": band.offset}
        if index == 0 and raster.like.colours is not None:
            entry["colour_table"] = {str(value): list(colour) for value, colour in raster.like.colours.items()}
        described.append(entry | found.describe())
    return described


def _describe_source(source: RasterSource, column: int, row: int) -> dict[str, Any]:
    return {
        "file": source.file,
        "format": source.format,
        "layer": source.layer,
        "width": source.width,
        "height": source.height,
        "column": column,
        "row": row,
    }


def _is_north_up(grid: Grid) -> bool:
    return grid.transform.b == grid.transform.d == 0 and grid.transform.a > 0 > grid.transform.e


def _json_number(value: float | None) -> float | str | None:
    """JSON has no NaN and no infinity."""
    return value if value is None or isinstance(value, int) or math.isfinite(value) else str(value)


def _progress(ctx: RunContext, grid: Grid, start: float, end: float) -> Callable[[float], None]:
    """Shares of one long operation as lines of the sources: what `rows_in` will say when all is done."""
    total = sum(part.source.height for part in grid.parts)

    def told(share: float) -> None:
        ctx.watch.advance(int(total * (start + (end - start) * share)), total)

    return told
