"""GeoTIFF: TIFF and BigTIFF, in both byte orders."""

from __future__ import annotations

from app.pipelines.raster.formats.raster_format import RasterFormat

FORMAT = RasterFormat(magic=(b"II*\x00", b"MM\x00*", b"II+\x00", b"MM\x00+"))
