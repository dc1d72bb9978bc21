"""JPEG 2000: JP2 files and bare codestreams."""

from __future__ import annotations

from app.pipelines.raster.formats.raster_format import RasterFormat

FORMAT = RasterFormat(magic=(b"\x00\x00\x00\x0cjP  \r\n\x87\n", b"\xff\x4f\xff\x51"))
