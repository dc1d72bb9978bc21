"""FlatGeobuf."""

from __future__ import annotations

import struct

from app.messages.common import CONTENT_MISMATCH, FILE_TRUNCATED
from app.pipelines.common.content import looks_like
from app.pipelines.common.crs import check_around
from app.pipelines.vector.formats.files import neutral_copy
from app.pipelines.vector.formats.layer import OpenOptions
from app.pipelines.vector.formats.ogr import layer_source, list_layers, open_layers
from app.pipelines.vector.formats.reader import SourceFile
from app.pipelines.vector.source import VectorSource
from app.settings import MiB

__all__ = ["check_content", "list_layers", "open_sources"]

_MOST_HEADER_BYTES = 16 * MiB


def check_content(source: SourceFile, head: bytes) -> None:
    """See VectorFormat: the signature, and a header that is there to its end."""
    if not (head.startswith(b"fgb") and head[4:7] == b"fgb"):
        raise CONTENT_MISMATCH(file=source.file, format=source.format.name, found=looks_like(head))
    header = struct.unpack("<L", head[8:12])[0] if len(head) >= 12 else 0
    if source.size < 12 + header:
        raise FILE_TRUNCATED(file=source.file, size=source.size, expected=12 + header)


def open_sources(source: SourceFile) -> list[VectorSource]:
    """See VectorFormat. GDAL 3.12 drops the rows after a batch that its bound in bytes cut short."""
    path = neutral_copy(source.path, source.format.suffixes[0])
    with path.open("rb") as stream:
        # 8 bytes, the size of the header, and the header, in which texts are written as they are. PROJ would open the
        # grids that a CRS names.
        size = struct.unpack("<L", stream.read(12)[8:])[0]
        check_around(stream.read(min(size, _MOST_HEADER_BYTES)).decode("latin-1"), source.file)
    return [layer_source(source, layer) for layer in open_layers(path, source, OpenOptions(bound_by_rows=True))]
