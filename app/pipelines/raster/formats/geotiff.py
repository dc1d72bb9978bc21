"""GeoTIFF: TIFF and BigTIFF, in both byte orders."""

from __future__ import annotations

from app.pipelines.raster.formats.raster_format import RasterFormat
from app.pipelines.raster.tiff_tags import mask_page, page_tags

FORMAT = RasterFormat(
    magic=(b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"),
    page_tags=page_tags,
    mask_page=mask_page,
    identity=True,
)
