"""What a vector source of any format is: a schema, a CRS, and a stream of chunks bounded in rows and bytes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import pyarrow as pa
import pyarrow.compute as pc
from pyproj import CRS

from app.models.runs.run import RunWarning
from app.pipelines.common.findings import Findings
from app.pipelines.common.shapes import Shapes, from_wkb

CHUNK_ROWS = 16_384
CHUNK_BYTES = 4 * 1024 * 1024

Batch = tuple[tuple[pa.Array, ...], pa.Array]


class Chunk(Protocol):
    """Some rows of a source, in its order.

    first_row: number of the first of them in the source, from 0; known after `decode` where rows are left out, and a
    `KeptRows` then.
    """

    @property
    def first_row(self) -> int: ...
    def decode(self, findings: Findings) -> tuple[tuple[pa.Array, ...], Shapes]:
        """Returns (attributes in the order of the source's schema, geometries). Runs in any thread."""
        ...


@dataclass(frozen=True, slots=True)
class VectorSource:
    """One layer of one file, opened and checked.

    Attributes:
        file: the key in the landing zone, for messages.
        path: the file as it was opened.
        format: name of its row in `app.models.formats`.
        driver: what reads it.
        layer: name of the layer; None for formats without layers.
        crs: of the coordinates, which are x before y even if the CRS declares another axis order.
        schema: the attributes, in source order, without the geometry.
        rows: number of rows; None where only a full read could find it.
        geometry_type: as the source announces it, "Unknown" where it does not.
        encoding: in which the file's text is written.
        warnings: what a user should know before a row is read.
        counted: what the reader had to change, filled while reading.
        open_chunks: opens all rows, in order, in chunks of bounded size.
        carries_crs: whether the source itself has a CRS, so that the manifest need not declare one.
        titles: {column of `schema`: its name in the file} of the columns that were renamed, here or by a recipe.
        left_out: {name of a count: rows, lines, …} of what was read and is not among the rows.
        quarantine: a finished file with the rows that cannot be read.
        valueless: attributes that are known to be null in every row, so that their type is only a guess.
        ignores_area: the data are meant to lie outside the area of use of their CRS.
        part: which member or layer of the file it is, in words, where the manifest says so.
    """

    file: str
    path: Path
    format: str
    driver: str
    layer: str | None
    crs: CRS
    schema: pa.Schema
    rows: int | None
    geometry_type: str
    encoding: str | None
    warnings: tuple[RunWarning, ...]
    counted: Counter[str]
    open_chunks: Callable[[], Generator[Chunk, None, None]]
    carries_crs: bool = True
    titles: Mapping[str, str] = field(default_factory=dict)
    left_out: Mapping[str, int] = field(default_factory=dict)
    quarantine: Path | None = None
    valueless: frozenset[str] = frozenset()
    ignores_area: bool = False
    part: str = ""

    @property
    def name(self) -> str:
        """The file, and which part of it, for messages about several sources."""
        return f"{self.file} ({self.part})" if self.part else self.file


@dataclass(frozen=True, slots=True)
class WkbChunk:
    """Rows as Arrow arrays; geometry: WKB (ISO or EWKB), null where a row has none."""

    file: str
    first_row: int
    attributes: tuple[pa.Array, ...]
    geometry: pa.Array

    def decode(self, findings: Findings) -> tuple[tuple[pa.Array, ...], Shapes]:
        return self.attributes, from_wkb(self.geometry, self.file, self.first_row, findings)


def cut(batches: Generator[Batch, None, None], file: str) -> Generator[Chunk, None, None]:
    """Batches of any size as chunks of at most CHUNK_ROWS rows and about CHUNK_BYTES bytes (one row at least)."""
    first_row = 0
    with closing(batches):
        for attributes, geometry in batches:
            for start, stop in _cuts(geometry, attributes, CHUNK_ROWS, CHUNK_BYTES):
                size = stop - start
                parts = tuple(array.slice(start, size) for array in attributes)
                yield WkbChunk(file, first_row, parts, geometry.slice(start, size))
                first_row += size


def _cuts(
    geometry: pa.Array, attributes: tuple[pa.Array, ...], max_rows: int, max_bytes: int
) -> Iterator[tuple[int, int]]:
    """Row ranges of one batch that keep to both bounds. Geometry is counted row by row, attributes by their mean."""
    rows = len(geometry)
    total = geometry.nbytes + sum(a.nbytes for a in attributes)
    if total <= max_bytes:
        yield from ((start, min(start + max_rows, rows)) for start in range(0, rows, max_rows))
        return
    each = sum(a.nbytes for a in attributes) / max(rows, 1)
    sizes = pc.fill_null(pc.binary_length(geometry), 0).to_numpy(zero_copy_only=False) + each
    ends = sizes.cumsum()
    start = 0
    while start < rows:
        before = ends[start - 1] if start else 0.0
        stop = int(ends.searchsorted(before + max_bytes, side="right"))
        stop = min(max(stop, start + 1), start + max_rows, rows)
        yield start, stop
        start = stop
