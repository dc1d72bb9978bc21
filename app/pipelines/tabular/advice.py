"""Finds the options with which a column of text would have a type, by trying them with all of its values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.models.manifests.date_formats import ORDERS
from app.models.manifests.file_options import FileOptions
from app.pipelines.common.column_types import arrow_type
from app.pipelines.tabular.declared_types import convert_declared
from app.pipelines.tabular.inferred_types import PossibleTypes
from app.pipelines.tabular.notation import Notation, convert_from, notation_of, possible_types_in
from app.pipelines.tabular.why_text import deciding_value, is_text, shortened

_BATCH_ROWS = 65_536
_MOST = 2
# What is tried, the likely ones first. Further ones with the same reading are left out.
NUMBERS: tuple[dict[str, Any], ...] = (
    {"decimal": ","}, {"thousands": ","}, {"decimal": ",", "thousands": "."}, {"thousands": " "},
    {"decimal": ",", "thousands": " "}, {"thousands": "'"}, {"decimal": ",", "thousands": "'"},
)  # fmt: skip
DATES: tuple[dict[str, Any], ...] = tuple(
    {"date_format": each} for each in (*ORDERS, *(f"%Y-%m-%d %H:%M:%S{part} UTC" for part in ("", ".%f")))
)


@dataclass(frozen=True, slots=True)
class TextColumn:
    """A column of text of a finished product.

    Attributes:
        name: in the product.
        title: how files[].options.types names it.
        allowed: the types that it may get from its source.
        has_notation: whether the notation of the manifest holds for it.
        options: as the manifest gives them.
        takes: names of the options of the format.
    """

    path: Path
    name: str
    title: str
    allowed: frozenset[str]
    has_notation: bool
    options: FileOptions
    takes: Sequence[str]

    def batches(self) -> Iterator[pa.Array]:
        with pq.ParquetFile(self.path) as file:
            for batch in file.iter_batches(_BATCH_ROWS, columns=[self.name]):
                yield batch.column(0)


@dataclass(slots=True)
class _Trial:
    """Options that are tried.

    Attributes:
        change: what they add to the manifest's.
        declared: the type that they declare for the column; None: it is inferred.
        rows: how many values were read before the one that says `why` the options do not work.
    """

    change: dict[str, Any]
    notation: Notation
    nulls: Sequence[str]
    allowed: frozenset[str]
    declared: pa.DataType | None = None
    possible: PossibleTypes = field(default_factory=PossibleTypes)
    rows: int = 0
    works: bool = True
    why: str = ""

    def prepared(self, array: pa.Array) -> pa.Array:
        array = self.notation.trimmed(array) if self.notation.trim else array
        return pc.if_else(pc.is_in(array, value_set=pa.array(self.nulls, pa.string())), None, array)

    def read(self, array: pa.Array) -> None:
        values = self.prepared(array)
        if self.declared is not None:
            self.works = convert_declared(values, self.declared, self.notation)[1] is None
            return
        possible = self.possible.merge(possible_types_in(values, self.allowed, self.notation))
        if is_text(possible):
            self.works = False
            place, self.why = deciding_value(values, self.possible, self.allowed, self.notation)
            self.rows += place
            return
        self.possible = possible
        self.rows += len(values)

    def converted(self, array: pa.Array) -> tuple[Any, ...]:
        values = self.prepared(array)
        if self.declared is not None:
            made = convert_declared(values, self.declared, self.notation)[0]
        else:
            made = convert_from(values, self.possible.kind, self.possible.type, self.notation)
        return tuple(made.to_pylist())


def advice(column: TextColumn, tried: tuple[dict[str, Any], ...], sample: Sequence[str]) -> str:
    """One or two sentences: the options that work, ready to be pasted, or why none does.

    Args:
        tried: NUMBERS or DATES.
        sample: values of the column, none of them empty.
    """
    base = _base(column)
    notations = [each for each in tried if column.has_notation and set(each) <= set(column.takes)]
    kinds = ("date", "timestamp") if tried is DATES else ("int64", "float64")
    types = kinds if "types" in column.takes else ()
    trials = [_trial(column, base | each) for each in notations]
    rounds = (
        [_trial(column, base)] if base else [],
        [_trial(column, base, kind) for kind in types],
        trials,
        [_trial(column, base | each, kind) for each in notations for kind in types],
    )
    working = next((found for each in rounds if (found := _working(column, each))), [])
    if working:
        return _sentence(working, sample)
    furthest = max([*rounds[0], *trials], key=lambda trial: trial.rows, default=None)
    if furthest is None:
        return "No option gives it a type, because its format has none for that."
    tried_with = f"with {_shown(furthest.change)} in files[].options " if furthest.change else ""
    return f"No option gives it a type, because {tried_with}{furthest.why}."


def _base(column: TextColumn) -> dict[str, Any]:
    """What is needed for any type: empty texts as nulls, and no blanks around values."""
    has_empty = has_blanks = False
    for array in column.batches():
        has_empty = has_empty or bool(pc.any(pc.equal(array, "")).as_py())
        has_blanks = has_blanks or bool(pc.any(pc.not_equal(pc.utf8_trim_whitespace(array), array)).as_py())
    needed: dict[str, Any] = {}
    if has_empty and "nulls" in column.takes:
        needed["nulls"] = [*(column.options.nulls or ()), ""]
    if has_blanks and "trim" in column.takes:
        needed["trim"] = True
    return needed


def _trial(column: TextColumn, change: dict[str, Any], kind: str | None = None) -> _Trial:
    options = column.options.model_copy(update=change)
    notation = notation_of(options)
    if not column.has_notation:
        notation = Notation(trim=notation.trim)
    change = dict(change)
    if kind is not None:
        change["types"] = {**(options.types or {}), column.title: kind}
    allowed = notation.widened(column.allowed)
    return _Trial(change, notation, options.nulls or (), allowed, arrow_type(kind) if kind else None)


def _working(column: TextColumn, trials: Sequence[_Trial]) -> list[_Trial]:
    """The trials whose options read all values of the column."""
    for array in column.batches():
        for trial in trials:
            if trial.works:
                trial.read(array)
        if not any(trial.works for trial in trials):
            break
    return [trial for trial in trials if trial.works]


def _sentence(working: Sequence[_Trial], sample: Sequence[str]) -> str:
    array = pa.array(sample, pa.string())
    readings: dict[tuple[Any, ...], _Trial] = {}
    for trial in working:
        readings.setdefault(trial.converted(array), trial)
    chosen = list(readings.items())[:_MOST]
    # The value that shows best what the difference is.
    rows = list(zip(*(made for made, _ in chosen), strict=True))
    at = next((number for number, values in enumerate(rows) if len(set(values)) > 1), 0)
    ways = [
        f"files[].options {_shown(trial.change)} reads {shortened(sample[at])} as {made[at]}" for made, trial in chosen
    ]
    whole = " Options hold for the whole file." if any(set(each.change) - {"types"} for _, each in chosen) else ""
    return f"{'; '.join(ways)}.{whole}"


def _shown(change: dict[str, Any]) -> str:
    return json.dumps(change, ensure_ascii=False)
