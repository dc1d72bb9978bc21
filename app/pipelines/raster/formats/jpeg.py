"""JPEG."""

from __future__ import annotations

from app.pipelines.raster.formats.raster_format import RasterFormat

FORMAT = RasterFormat(magic=(b"\xff\xd8\xff",), line_by_line=True)
