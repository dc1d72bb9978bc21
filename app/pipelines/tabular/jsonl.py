"""Reads JSON lines: one object per line. Types come from JSON; numbers keep their digits.

The file is read twice, because its keys and the types of their values are known only at its end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from app.messages.tabular import BLANK_FILE, KEYS_MIXED, NO_JSON_KEYS, NOT_JSON_LINES
from app.models.formats import Format
from app.models.manifests.file_options import FileOptions
from app.models.runs.run import RunWarning
from app.pipelines.common.content import looks_like
from app.pipelines.contract.watch import Watch
from app.pipelines.tabular.csv.dialect import NO_DELIMITER, Dialect
from app.pipelines.tabular.csv.split import Block, split_blocks, text_end
from app.pipelines.tabular.encoding import SourceOffsets, TextFile, open_text
from app.pipelines.tabular.inferred_types import NUMBER_KINDS, TEXT_ONLY
from app.pipelines.tabular.source import BadRow, ParsedBlock, RowPosition, check_columns
from app.settings import Limits

_LINES = Dialect(NO_DELIMITER, None)
_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")


class Number(str):
    """A number as it is written in the source."""

    __slots__ = ()


@dataclass(slots=True)
class JsonlSource:
    """An opened file; see TableSource. modes: how values of each column become text (number, bool, text, json)."""

    file: str
    names: tuple[str, ...]
    allowed: tuple[frozenset[str], ...]
    modes: tuple[str, ...]
    text: TextFile
    start: int
    end: int
    limits: Limits
    rows: int | None
    logical: Mapping[int, str] = field(default_factory=dict)
    plain: frozenset[int] = frozenset()
    warnings: list[RunWarning] = field(default_factory=list)
    first_line: int = 1
    first_byte: int | None = 0

    @property
    def read_options(self) -> dict[str, Any]:
        return {"encoding": self.text.encoding, "encoding_assumed": self.text.assumed}

    def blocks(self) -> Iterator[Block]:
        return split_blocks(self.text.path, self.start, self.end, _LINES, self.limits.row_bytes, self.file)

    def parse(self, block: Block) -> ParsedBlock:
        columns: list[list[str | None]] = [[] for _ in self.names]
        bad: list[BadRow] = []
        places: list[tuple[int, int, bytes]] = []
        blank = missing = 0
        offsets = SourceOffsets(self.text, block.raw)
        lines = _lines(block.raw)
        for number, (at, line) in enumerate(lines):
            if not line.strip():
                blank += 1
                continue
            row = parse_line(line)
            if isinstance(row, str):
                bad.append(BadRow(number, offsets.at(at), row, self.text.readable(line)))
                continue
            places.append((number, at, line))
            missing += len(self.names) - len(row)
            for name, mode, column in zip(self.names, self.modes, columns, strict=True):
                value = row.get(name)
                column.append(None if value is None else _as_text(value, mode))

        def locate(row: int) -> RowPosition:
            number, at, line = places[row]
            return number, offsets.at(at), self.text.readable(line)

        arrays = [pa.array(column, pa.string()) for column in columns]
        size = self.text.source_bytes(block.raw)
        return ParsedBlock(arrays, len(places), bad, len(lines), size, locate, blank, {"values_missing": missing})


def open_source(path: Path, fmt: Format, options: FileOptions, limits: Limits, file: str, watch: Watch) -> JsonlSource:
    """See OpenSource.

    Raises:
        RunRefused: content_mismatch, no_rows, columns_too_many, header_too_long, row_too_large and what `open_text`
            raises.
    """
    text = open_text(path, options.encoding, file)
    end = text_end(text.path, text.start)
    with text.path.open("rb") as stream:
        stream.seek(text.start)
        head = stream.read(4096).lstrip()
    if not head:
        raise BLANK_FILE(file=file)
    if not head.startswith(b"{"):
        raise NOT_JSON_LINES(file=file, format=fmt.name, found=looks_like(head))
    kinds, rows = _scan(text, end, limits, file, watch)
    if not kinds:
        raise NO_JSON_KEYS(file=file)
    modes = tuple(_text_mode(found) for found in kinds.values())
    allowed = {"number": NUMBER_KINDS, "bool": frozenset({"bool"}), "text": TEXT_ONLY, "json": TEXT_ONLY}
    mixed = [name for name, found in kinds.items() if len(found - {"null"}) > 1]
    return JsonlSource(
        file=file, names=tuple(kinds), allowed=tuple(allowed[mode] for mode in modes), modes=modes, text=text,
        start=text.start, end=end, limits=limits, rows=rows, first_byte=text.bom_length,
        plain=frozenset(number for number, found in enumerate(kinds.values()) if found - {"null"} != {"text"}),
        logical={number: "json" for number, mode in enumerate(modes) if mode == "json"},
        warnings=[KEYS_MIXED(file=file, keys=", ".join(mixed), count=len(mixed), samples=mixed)] if mixed else [],
    )  # fmt: skip


def _scan(text: TextFile, end: int, limits: Limits, file: str, watch: Watch) -> tuple[dict[str, set[str]], int]:
    """({key: JSON types of its values}, number of lines that are objects)."""
    kinds: dict[str, set[str]] = {}
    rows = 0
    for block in split_blocks(text.path, text.start, end, _LINES, limits.row_bytes, file):
        for _, line in _lines(block.raw):
            row = parse_line(line) if line.strip() else ""
            if isinstance(row, str):
                continue
            rows += 1
            for key, value in row.items():
                kinds.setdefault(key, set()).add(_kind(value))
        check_columns(tuple(kinds), limits, file)
        watch.advance(0, None)
    return kinds, rows


def parse_line(line: bytes) -> dict[str, Any] | str:  # noqa: PLR0911 # each return names one fault
    """The object of a line, or why the line is not one."""
    try:
        value = json.loads(
            line.decode(),
            parse_int=Number,
            parse_float=Number,
            parse_constant=_refuse_constant,
            object_pairs_hook=_object_with_unique_keys,
        )
    except UnicodeDecodeError:
        return "bytes that are no text in the encoding"
    except RecursionError:
        return "it is nested too deeply"
    except json.JSONDecodeError as err:
        return f"it is no JSON: {err.msg} at character {err.pos + 1}"
    except ValueError as err:
        return f"it is no JSON: {err}"
    if not isinstance(value, dict):
        return "it is JSON, but no object"
    if b"\\u" in line and _has_unstorable(value):
        return "it has text with a zero character or half of a surrogate pair"
    return value


def _lines(raw: bytes) -> list[tuple[int, bytes]]:
    """(position, line) of each line."""
    found, at = [], 0
    for line in raw.removesuffix(b"\n").split(b"\n"):
        found.append((at, line))
        at += len(line) + 1
    return found


def _refuse_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON value")


def _object_with_unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        twice = next(key for number, (key, _) in enumerate(pairs) if key in dict(pairs[:number]))
        raise ValueError(f"the key {twice!r} is there twice")
    return made


def _has_unstorable(value: Any) -> bool:
    if isinstance(value, str):
        return _NOT_STORABLE.search(value) is not None
    if isinstance(value, dict):
        return any(_has_unstorable(key) or _has_unstorable(item) for key, item in value.items())
    return isinstance(value, list) and any(map(_has_unstorable, value))


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, Number):
        return "number"
    if isinstance(value, bool):
        return "bool"
    return "text" if isinstance(value, str) else "json"


def _text_mode(kinds: set[str]) -> str:
    """The type of the values if there is one; otherwise json if there are objects or arrays, else text."""
    filled = kinds - {"null"}
    if "json" in filled:
        return "json"
    return next(iter(filled)) if len(filled) == 1 else "text"


def _as_text(value: Any, mode: str) -> str:
    if isinstance(value, str) and (mode != "json" or isinstance(value, Number)):
        return str(value)
    return json_text(value)


def json_text(value: Any) -> str:
    """Compact JSON; numbers as they were written."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json_text(key)}:{json_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(json_text, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
