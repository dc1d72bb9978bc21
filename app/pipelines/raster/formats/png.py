"""PNG."""

from __future__ import annotations

import struct
from pathlib import Path

from app.messages.common import END_MARK_MISSING
from app.pipelines.raster.formats.raster_format import RasterFormat

_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def _check_chunks(path: Path, file: str) -> None:
    """All chunks up to the closing IEND are present: libpng reads an image without its end and reports no error."""
    size = path.stat().st_size
    with path.open("rb") as stream:
        at = len(_SIGNATURE)
        while at + 12 <= size:
            stream.seek(at)
            length, kind = struct.unpack(">L4s", stream.read(8))
            at += 12 + length
            if kind == b"IEND" and at <= size:
                return
    raise END_MARK_MISSING(file=file, mark="the closing chunk of the PNG", size=size)


FORMAT = RasterFormat(magic=(_SIGNATURE,), check=_check_chunks, line_by_line=True)
