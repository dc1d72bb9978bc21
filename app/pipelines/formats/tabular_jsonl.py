"""JSON lines: one object a line. JSON has types, so nothing is guessed from text; numbers keep the digits they have.

The file is read twice: which keys there are, and whether their values are of one type, is known only at its end.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from app.errors import RunRefused
from app.models.manifest import FileOptions
from app.pipelines.context import Watch
from app.pipelines.formats.content import looks_like
from app.pipelines.formats.tabular_cut import Block, cut, text_end
from app.pipelines.formats.tabular_dialect import NO_DELIMITER, Dialect
from app.pipelines.formats.tabular_encoding import Offsets, TextFile, open_text
from app.pipelines.formats.tabular_source import BadRow, Note, Parsed, Place, check_columns, no_rows
from app.pipelines.formats.tabular_types import NUMBER_KINDS, TEXT_ONLY
from app.settings import Limits

_LINES = Dialect(NO_DELIMITER, None)
_NOT_STORABLE = re.compile("[\x00\ud800-\udfff]")


class Number(str):
    """A number as it is written."""

    __slots__ = ()


@dataclass(slots=True)
class JsonlSource:
    """See TableSource. modes: how the values of each key become text: as `number`, `bool`, `text`, `json`."""

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
    notes: list[Note] = field(default_factory=list)
    first_line: int = 1
    first_byte: int | None = 0

    @property
    def described(self) -> dict[str, Any]:
        return {"encoding": self.text.encoding, "encoding_assumed": self.text.assumed}

    def blocks(self) -> Iterator[Block]:
        return cut(self.text.path, self.start, self.end, _LINES, self.limits.row_bytes, self.file)

    def parse(self, block: Block) -> Parsed:
        columns: list[list[str | None]] = [[] for _ in self.names]
        bad: list[BadRow] = []
        places: list[tuple[int, int, bytes]] = []
        blank = missing = 0
        offsets = Offsets(self.text, block.raw)
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

        def place(row: int) -> Place:
            number, at, line = places[row]
            return number, offsets.at(at), self.text.readable(line)

        arrays = [pa.array(column, pa.string()) for column in columns]
        size = self.text.source_bytes(block.raw)
        return Parsed(arrays, len(places), bad, len(lines), size, place, blank, {"values_missing": missing})


def open_jsonl(path: Path, options: FileOptions, limits: Limits, file: str, watch: Watch) -> JsonlSource:
    """Raises RunRefused: content_mismatch, no_rows, columns_too_many, header_too_long, row_too_large and what
    `open_text` raises."""
    text = open_text(path, options.encoding, file)
    end = text_end(text.path, text.start)
    with text.path.open("rb") as stream:
        stream.seek(text.start)
        head = stream.read(4096).lstrip()
    if not head:
        raise no_rows(file, "it holds nothing but blank lines")
    if not head.startswith(b"{"):
        raise RunRefused(
            f"{file} is declared as JSONL, its content is {looks_like(head)}.",
            "Send one JSON object a line (no array around them), or correct files[].format.",
            reason="content_mismatch",
            file=file,
        )
    kinds, rows = _look(text, end, limits, file, watch)
    if not kinds:
        raise no_rows(file, "none of its lines is a JSON object with a key")
    modes = tuple(_mode(found) for found in kinds.values())
    allowed = {"number": NUMBER_KINDS, "bool": frozenset({"bool"}), "text": TEXT_ONLY, "json": TEXT_ONLY}
    source = JsonlSource(
        file=file, names=tuple(kinds), allowed=tuple(allowed[mode] for mode in modes), modes=modes, text=text,
        start=text.start, end=end, limits=limits, rows=rows, first_byte=text.mark,
        logical={number: "json" for number, mode in enumerate(modes) if mode == "json"},
    )  # fmt: skip
    mixed = [name for name, found in kinds.items() if len(found - {"null"}) > 1]
    if mixed:
        message = f"In {file} these keys have values of several JSON types; they are kept as text: {', '.join(mixed)}."
        source.notes.append(("types_mixed", message, len(mixed), tuple(mixed[:5])))
    return source


def _look(text: TextFile, end: int, limits: Limits, file: str, watch: Watch) -> tuple[dict[str, set[str]], int]:
    """({key: the JSON types of its values}, number of lines that are objects)."""
    kinds: dict[str, set[str]] = {}
    rows = 0
    for block in cut(text.path, text.start, end, _LINES, limits.row_bytes, file):
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
    """The object of a line, numbers as written; or why it is none."""
    try:
        value = json.loads(
            line.decode(), parse_int=Number, parse_float=Number, parse_constant=_no_constant, object_pairs_hook=_object
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
    """(where it begins, the line) of each line."""
    found, at = [], 0
    for line in raw.removesuffix(b"\n").split(b"\n"):
        found.append((at, line))
        at += len(line) + 1
    return found


def _no_constant(word: str) -> Any:
    raise ValueError(f"{word} is no JSON value")


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
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


def _mode(kinds: set[str]) -> str:
    """One type of values stays it; several become text, as JSON where there are objects or arrays among them."""
    filled = kinds - {"null"}
    if "json" in filled:
        return "json"
    return next(iter(filled)) if len(filled) == 1 else "text"


def _as_text(value: Any, mode: str) -> str:
    if isinstance(value, str) and (mode != "json" or isinstance(value, Number)):
        return str(value)
    return json_text(value)


def json_text(value: Any) -> str:
    """JSON without blanks, numbers as they were written."""
    if isinstance(value, Number):
        return str(value)
    if isinstance(value, dict):
        return "{" + ",".join(f"{json_text(key)}:{json_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(json_text, value)) + "]"
    return json.dumps(value, ensure_ascii=False)
