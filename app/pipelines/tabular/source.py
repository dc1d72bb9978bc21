"""The interface between the readers of table formats and the code that types and writes their rows.

Each format is one row of `app.models.formats` and one module with a function `open_source` (see `OpenSource`). It gives
a `TableSource`, whose columns are text that gets types here, or a `TypedSource`, whose columns have types already.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa

from app.messages.common import COLUMNS_TOO_MANY
from app.messages.tabular import NAME_NUL_BYTES, NAME_TOO_LONG
from app.models.formats import Format
from app.models.manifests.file_options import FileOptions
from app.models.runs.run import RunWarning
from app.pipelines.contract.watch import Watch
from app.settings import Limits

MAX_NAME_LENGTH = 1_000

# (line, byte offset, raw text) of a row
RowPosition = tuple[int, int | None, str]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that cannot be read and goes to quarantine.

    Attributes:
        line: from 1; in a sheet the number of the row.
        offset: the byte of the source where the row begins; None where it cannot be known.
        raw: the text of the row as it is in the source.
        lines: how many lines the row takes.
    """

    line: int
    offset: int | None
    reason: str
    raw: str
    lines: int = 1

    def shifted(self, lines: int, size: int | None) -> BadRow:
        """The same row with so many lines and bytes before it."""
        offset = None if size is None or self.offset is None else self.offset + size
        return BadRow(self.line + lines, offset, self.reason, self.raw, self.lines)


@dataclass(frozen=True, slots=True)
class ParsedBlock:
    """The rows of one block.

    Attributes:
        arrays: one array of text for each column; null where there is no value.
        lines, source_bytes: length of the whole block in the source.
        locate: gives line, offset and raw text of a row, counted from the beginning of the block.
        blank: blank lines, which are no rows.
        counts: further counts for the run.
    """

    arrays: Sequence[pa.Array]
    rows: int
    bad: Sequence[BadRow]
    lines: int
    source_bytes: int | None
    locate: Callable[[int], RowPosition]
    blank: int = 0
    counts: dict[str, int] = field(default_factory=dict)


class TableSource(Protocol):
    """A table whose columns are read as text and typed by all of their values.

    Attributes:
        names: column names as the source has them, repeated and empty ones too.
        allowed: the types that each column may get.
        first_line, first_byte: where the first block begins.
        rows: their number, where it is known beforehand.
        logical: {number of the column: meaning beyond its type}.
        plain: columns whose values are not text in the source, so that the notation of the manifest is not theirs.
        warnings: what was found when the source was opened.
        read_options: how the source was read (encoding, delimiter, sheet, …), for the catalogue.
    """

    file: str
    names: tuple[str, ...]
    allowed: tuple[frozenset[str], ...]
    first_line: int
    first_byte: int | None
    rows: int | None
    logical: Mapping[int, str]
    plain: frozenset[int]
    warnings: list[RunWarning]

    @property
    def read_options(self) -> Mapping[str, Any]: ...

    def blocks(self) -> Iterator[Any]:
        """Consecutive pieces of the source. May be called more than once."""
        ...

    def parse(self, block: Any) -> ParsedBlock:
        """The rows of one block. Called from several threads."""
        ...


@dataclass(frozen=True, slots=True)
class TypedSource:
    """A table whose columns have types already and are copied as they are.

    Attributes:
        format: name of the format.
        schema: with the column names of the source.
        batches: reads the rows, in order. May raise pyarrow's exceptions and OSError for a damaged file.
        logical: {number of the column: meaning beyond its type}.
    """

    file: str
    format: str
    schema: pa.Schema
    rows: int
    batches: Callable[[], Iterator[pa.RecordBatch]]
    warnings: list[RunWarning] = field(default_factory=list)
    logical: Mapping[int, str] = field(default_factory=dict)
    read_options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.schema.names)


OpenedTable = TableSource | TypedSource


class OpenSource(Protocol):
    """The function `open_source` of each module that reads a table format."""

    def __call__(
        self, path: Path, fmt: Format, options: FileOptions, limits: Limits, file: str, watch: Watch, /
    ) -> OpenedTable:
        """Open and check a file.

        Args:
            path: the file in scratch, decompressed; further files may be written beside it.
            fmt: the row of the format.
            options: files[].options of the manifest.
            file: key of the source, for messages.
            watch: call `advance` now and then while the file is read.

        Raises:
            RunRefused: the file is not a table of that format, or over a limit.
        """
        ...


def check_columns(names: Sequence[str], limits: Limits, file: str) -> None:
    """Raises RunRefused: columns_too_many, header_too_long, nul_bytes."""
    if len(names) > limits.columns:
        raise COLUMNS_TOO_MANY(file=file, columns=len(names), limit=limits.columns)
    for number, name in enumerate(names, 1):
        if len(name) > MAX_NAME_LENGTH:
            raise NAME_TOO_LONG(file=file, number=number, length=len(name), name=name[:60], limit=MAX_NAME_LENGTH)
        if "\x00" in name:
            raise NAME_NUL_BYTES(file=file, number=number, name=name[:60])
