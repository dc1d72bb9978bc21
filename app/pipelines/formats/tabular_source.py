"""What a table is while it is read, whatever its format: columns of text by blocks, and the rows that are none."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import pyarrow as pa

from app.errors import RunRefused
from app.settings import Limits

Place = tuple[int, int | None, str]
Note = tuple[str, str, int, tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is set aside. line: from 1 (row of a sheet); offset: byte of the source where it begins, None where
    that cannot be told; raw: what stands there; lines: how many it takes."""

    line: int
    offset: int | None
    reason: str
    raw: str
    lines: int = 1

    def moved(self, lines: int, size: int | None) -> BadRow:
        """The same row, counted from so many lines and bytes earlier."""
        offset = None if size is None or self.offset is None else self.offset + size
        return BadRow(self.line + lines, offset, self.reason, self.raw, self.lines)


@dataclass(frozen=True, slots=True)
class Parsed:
    """One block. arrays: text, null where there is no value; lines, size: of the whole block, for what comes after it;
    place: (line, offset, raw text) of a row, counted from the beginning of the block; blank: lines without anything;
    counted: what else was met."""

    arrays: Sequence[pa.Array]
    rows: int
    bad: Sequence[BadRow]
    lines: int
    size: int | None
    place: Callable[[int], Place]
    blank: int = 0
    counted: dict[str, int] = field(default_factory=dict)


class TableSource(Protocol):
    """A table whose columns are read as text and typed by all of their values.

    names: as the source spells them, repeated or empty ones too. allowed: the types that a column may become.
    first_line, first_byte: where the first block begins. rows: where that is known beforehand. logical: what columns
    mean beyond their type, by number. notes: (code, message, count, samples) to warn of. described: how the source is
    written, for the catalogue.
    """

    file: str
    names: tuple[str, ...]
    allowed: tuple[frozenset[str], ...]
    first_line: int
    first_byte: int | None
    rows: int | None
    logical: Mapping[int, str]
    notes: list[Note]

    @property
    def described(self) -> Mapping[str, Any]: ...

    def blocks(self) -> Iterator[Any]:
        """Consecutive pieces of the source, each to be parsed in any thread; may be called more than once."""
        ...

    def parse(self, block: Any) -> Parsed: ...


MOST_NAME = 1_000


def check_columns(names: Sequence[str], limits: Limits, file: str) -> None:
    """Raises RunRefused: columns_too_many, header_too_long, nul_bytes."""
    if len(names) > limits.columns:
        raise RunRefused(
            f"{file} has {len(names)} columns, the limit is {limits.columns}.",
            "Leave columns out, or raise SPATIAL_ETL_LIMITS__COLUMNS.",
            reason="columns_too_many",
            file=file,
        )
    for number, name in enumerate(names, 1):
        if len(name) > MOST_NAME:
            raise RunRefused(
                f"{file}: the name of column {number} has {len(name)} characters; it begins with {name[:60]!r}.",
                f"Use names of at most {MOST_NAME} characters; without a header say options.header: false.",
                reason="header_too_long",
                file=file,
            )
        if "\x00" in name:
            raise RunRefused(
                f"{file}: the name of column {number}, {name[:60]!r}, has a zero byte.",
                "Rename the column.",
                reason="nul_bytes",
                file=file,
            )


def no_rows(file: str, what: str) -> RunRefused:
    return RunRefused(f"{file} has no rows: {what}.", "Send a file with data.", reason="no_rows", file=file)
