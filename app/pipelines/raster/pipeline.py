"""The raster pipeline: raster files on one grid become one Cloud Optimized GeoTIFF with the same pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import Any

import rasterio
from pyproj import CRS

from app.messages.raster import (
    DTYPE_NOT_WARPED,
    MISSING_VALUES_STORED,
    OPTIONS_DIFFER,
    PIXELS_EXTREME,
    PIXELS_OVERLAPPING,
    PIXELS_UNCOVERED,
    RESAMPLING_INVENTS,
    VALID_RANGE_KEPT,
    WARP_ANTIMERIDIAN,
)
from app.models.asset import Asset
from app.models.formats import find_format
from app.models.recipes.steps import Recipe, Reproject, clean_raster
from app.pipelines.common.areas import ignores_area
from app.pipelines.common.crs import crs_name, parse_crs, same_crs
from app.pipelines.common.grids import grids_version
from app.pipelines.common.reproject import Reprojector
from app.pipelines.common.world_box import box_4326
from app.pipelines.contract.context import FetchedFile, Product, RunContext
from app.pipelines.contract.plan_context import PlanContext
from app.pipelines.raster.bounds import bounds_of
from app.pipelines.raster.check import check_product
from app.pipelines.raster.cog import CogOptions, predictor, write_cog
from app.pipelines.raster.colour import (
    creation_options,
    extra_samples,
    is_guessed_wrong,
)
from app.pipelines.raster.compute import Raster, assemble, block_size, check_first_and_last_pixel, warp
from app.pipelines.raster.gdal import only_drivers
from app.pipelines.raster.grid import Grid, common_grid
from app.pipelines.raster.place import check_place
from app.pipelines.raster.plan import json_number, raster_file
from app.pipelines.raster.preview import write_preview
from app.pipelines.raster.source import RasterSource, check_pixels, inspect
from app.pipelines.raster.tiff_tags import set_extra_samples


def run(ctx: RunContext) -> Asset:
    """Load the files, put them on one grid, and publish a COG and a preview.

    Without `options.warp` pixel values and grid stay as they are.

    Raises:
        RunRefused: for input that cannot become a dataset.
        RunCanceled, StaleAttempt: from the watch; they pass through.
    """
    recipe, resampling = _recipe(ctx)
    formats = [fmt for file in ctx.manifest.files if (fmt := find_format(file.format)) is not None]
    with only_drivers([driver for fmt in formats for driver in fmt.drivers], ctx.threads):
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
            _warn_of_extremes(ctx, raster)

        with ctx.step("export"):
            product = _export(ctx, grid, raster, resampling)
            return ctx.publish(product, [found for file in files for found in file.inputs])


def plan(ctx: PlanContext) -> None:
    """Describe what `run` would do, from the files' headers and their first and last pixels.

    Raises:
        RunRefused: as `run` does, for all files at once.
    """
    draft, (recipe, resampling) = ctx.draft, _recipe(ctx)
    draft.steps, draft.engine = recipe.describe(), _engine()
    draft.objects = ["data-{sha256}.tif", "preview-{sha256}.png"]
    draft.not_looked_at = (
        "Pixels between the first and the last: damage there, and whether values are classes or measurements.",
        "Whether a GeoTIFF can store the CRS.",
    )
    formats = [fmt for file in ctx.manifest.files if (fmt := find_format(file.format)) is not None]
    with only_drivers([driver for fmt in formats for driver in fmt.drivers], ctx.threads):
        files = ctx.each(ctx.manifest.files, ctx.fetch)
        ctx.unchanged(files, draft.steps, {"engine": "gdal"})

        def inspect_file(file: FetchedFile) -> RasterSource:
            source = inspect(file, ctx.limits)
            draft.files.append(raster_file(file, source))
            check_first_and_last_pixel(source)
            return source

        grid = _grid(ctx, ctx.each(files, inspect_file))
        target = _target(ctx, grid, recipe)
        _check_resampling(grid.parts[0].source, resampling)
        counts = {"rows_in": sum(part.source.height for part in grid.parts)}
        counts |= {"pixels_in": sum(part.source.width * part.source.height for part in grid.parts)}
        draft.counts = counts if target else counts | {"rows_out": grid.height, "pixels_out": grid.width * grid.height}


def _recipe(ctx: RunContext) -> tuple[Recipe, str | None]:
    """The recipe and the resampling method that the files' options ask for."""
    asked = {(file.options.warp, file.options.resampling) if file.options else (None, None): file.key
             for file in ctx.manifest.files}  # fmt: skip
    if len(asked) > 1:
        found = (
            f"{key}: warp {warp or 'not given'}, resampling {resampling or 'not given'}"
            for (warp, resampling), key in asked.items()
        )
        raise OPTIONS_DIFFER(options="; ".join(found))
    ((target, resampling),) = asked
    return clean_raster(ctx.manifest.intent, target), resampling


def _grid(ctx: RunContext, sources: Sequence[RasterSource]) -> Grid:
    for source in sources:
        for warning in source.warnings:
            ctx.watch.warn(warning)
    grid = common_grid(sources)
    if len(sources) > 1:
        mosaic = f"The mosaic of {len(sources)} files"
        check_pixels(grid.width, grid.height, len(sources[0].bands), ctx.limits, mosaic, None)
    if grid.overlapping:
        ctx.watch.warn(PIXELS_OVERLAPPING(count=grid.overlapping))
    if grid.gaps:
        ctx.watch.warn(PIXELS_UNCOVERED(count=grid.gaps))
    check_place(grid, ctx.watch, is_ignored=all(ignores_area(file) for file in ctx.manifest.files))
    return grid


def _target(ctx: RunContext, grid: Grid, recipe: Recipe) -> CRS | None:
    """The CRS to warp to; None where the grid stays. Refuses a warp that cannot work before any pixel is read."""
    template = grid.parts[0].source
    target = next(
        (parse_crs(s.crs, "", "of the recipe") for s in recipe.steps if isinstance(s, Reproject) and s.crs), None
    )
    if target is None or (same_crs(grid.crs, target) and _is_north_up(grid)):
        return None
    if template.wide_nodata is not None or template.dtype in ("int64", "uint64"):
        raise DTYPE_NOT_WARPED(file=template.file, dtype=template.dtype)
    box = box_4326(bounds_of(grid.transform, grid.width, grid.height), grid.crs)
    if box is None or box[0] > box[2]:
        raise WARP_ANTIMERIDIAN(file=template.file, crs=crs_name(target))
    for warning in Reprojector(grid.crs, target, template.file).warnings():
        ctx.watch.warn(warning)
    return target


def _transform(ctx: RunContext, grid: Grid, target: CRS | None, resampling: str | None) -> Raster:
    progress = _progress(ctx, grid, 0.0, 0.3 if target is None else 0.2)
    assembled = assemble(grid, ctx.scratch / "assembled.tif", progress, for_warp=target is not None)
    values = {part.source.file: part.source.nodata_value for part in grid.parts}
    for file, count in assembled.missing.items():
        said = VALID_RANGE_KEPT if values[file] is None else MISSING_VALUES_STORED
        ctx.watch.warn(said(file=file, count=count))
    for warning in assembled.warnings:
        ctx.watch.warn(warning)
    if target is None:
        return assembled
    how = _resampling(assembled, resampling, "bilinear")
    warped = ctx.scratch / "warped.tif"
    made = warp(assembled, warped, target, how, ctx.limits, _progress(ctx, grid, 0.2, 0.6))
    assembled.path.unlink()
    return made


def _warn_of_extremes(ctx: RunContext, raster: Raster) -> None:
    """Warn of pixels that no measurement can have: they are values for the file, and nodata for a person."""
    found = [(number, each) for number, each in enumerate(raster.statistics, 1) if each.extreme]
    if found:
        nodata = raster.template.nodata_value
        ctx.watch.warn(
            PIXELS_EXTREME(
                file=raster.template.file,
                value=f"{found[0][1].extreme_sample:.17g}",
                nodata="it has none" if nodata is None else f"it is {json_number(nodata)}",
                count=sum(each.extreme for _, each in found),
                samples=[{"band": number, "value": each.extreme_sample} for number, each in found],
            )
        )


def _resampling(raster: Raster, asked: str | None, for_measurements: str) -> str:
    """The method in the options; without one, `nearest` for classes and `for_measurements` for other values."""
    return asked or ("nearest" if raster.is_categorical else for_measurements)


def _check_resampling(template: RasterSource, asked: str | None) -> None:
    """Refuse a method that averages values of which averages make no sense (resampling_invents)."""
    if asked is None:
        return
    wide = template.dtype in ("int64", "uint64")
    if (wide and asked != "nearest") or (template.colours is not None and asked not in ("nearest", "mode")):
        what = "64-bit integers, which GDAL averages as floats" if wide else "a colour table, whose numbers are classes"
        raise RESAMPLING_INVENTS(file=template.file, what=what, resampling=asked)


def _export(ctx: RunContext, grid: Grid, raster: Raster, resampling: str | None) -> Product:
    template = raster.template
    path, preview = ctx.scratch / "product.tif", ctx.scratch / "preview.png"
    how = _resampling(raster, resampling, "average")
    options = CogOptions(
        block=block_size(len(template.bands), template.dtype),
        predictor=predictor(template.dtype, plain=template.colours is not None or template.bits == 1),
        resampling=how,
        colours=creation_options(template) if is_guessed_wrong(template) else None,
        skip_nan=raster.has_nan and how not in ("nearest", "mode"),
        domains=any(template.domains),
    )
    write_cog(raster.path, path, options, threads=ctx.threads, progress=_progress(ctx, grid, 0.3, 1.0))
    if extra_samples(template) == (0,):  # with a colour table, GDAL's GTiff driver writes alpha for it
        set_extra_samples(path, (0,))
    raster.path.unlink()
    layout, warnings = check_product(path, raster, grid)
    for warning in warnings:
        ctx.watch.warn(warning)
    bands = _describe_bands(raster)
    colours = {"white_is_zero": template.white_is_zero, "premultiplied": template.premultiplied}
    write_preview(path, preview, bands, **colours)
    bounds = bounds_of(raster.transform, raster.width, raster.height)
    box = box_4326(bounds, raster.crs)
    statistics = {
        "width": raster.width,
        "height": raster.height,
        "dtype": template.dtype,
        "nodata": json_number(template.nodata_value),
        "transform": list(raster.transform[:6]),
        **({"coordinate_epoch": template.epoch} if template.epoch is not None else {}),
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
        **grids_version(),
    }


def _counts(grid: Grid, raster: Raster) -> dict[str, int]:
    """Rows are lines of pixels. Every pixel of the grid is covered by a file, or counted as uncovered."""
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
    for index, (band, found) in enumerate(zip(raster.template.bands, raster.statistics, strict=True)):
        entry: dict[str, Any] = {"name": band.description or f"band_{index + 1}", "type": raster.template.dtype}
        entry |= {"interpretation": band.interpretation, "unit": band.unit, "scale": band.scale, "offset": band.offset}
        if index == 0 and raster.template.colours is not None:
            entry["colour_table"] = {str(value): list(colour) for value, colour in raster.template.colours.items()}
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


def _progress(ctx: RunContext, grid: Grid, start: float, end: float) -> Callable[[float], None]:
    """A callback that reports the share of one operation (from `start` to `end` of the run) as rows of the sources."""
    total = sum(part.source.height for part in grid.parts)

    def progress(share: float) -> None:
        ctx.watch.advance(int(total * (start + (end - start) * share)), total)

    return progress
