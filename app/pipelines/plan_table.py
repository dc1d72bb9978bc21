"""Why the columns of a table have the types they have, and the answers that could stand in its manifest."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from app.models.formats import find_format
from app.models.manifest import FileOptions
from app.models.plan import Answers, PlannedColumn, PlannedFile, options_of
from app.pipelines.context import FetchedFile
from app.pipelines.formats.tabular_overrides import arrow_type, types_by_column
from app.pipelines.formats.tabular_parquet import ParquetTable
from app.pipelines.formats.tabular_source import TableSource
from app.pipelines.formats.tabular_table import Outcome
from app.pipelines.formats.tabular_types import Fit, described, fit, kind_of
from app.pipelines.plan_files import AS_THERE

_BATCH_ROWS = 65_536
_MOST_TEXT = 60
_LEADING_ZERO = re.compile(r"-?0[0-9]+(\.[0-9]*)?")
_ALL_ARE = {
    "bool": "every value is true or false",
    "int64": "every value is a whole number of 64 bits",
    "float64": "every value is a number that a double gives back digit by digit",
    "decimal": "every value is a number, and a double would lose digits of some",
    "date": "every value is an ISO date",
    "timestamp": "every value is an ISO date and time without a zone",
    "timestamp_utc": "every value is an ISO date and time with a zone",
    "time": "every value is a time of day",
}


def table_file(
    fetched: FetchedFile,
    source: TableSource | ParquetTable,
    columns: Sequence[PlannedColumn],
    counts: Mapping[str, int],
) -> PlannedFile:
    """columns, counts: empty while the rows have not been read."""
    declared, said = fetched.declared, source.described
    options = declared.options or FileOptions()
    fmt = find_format(declared.format)
    names = fmt.options if fmt is not None else ()
    header = options.header is not False if "header" in names else None
    has_quote = "quote" in said
    types = _types(source, columns) if "types" in names and columns else None
    return PlannedFile(
        file=declared.key,
        format=fmt.name if fmt is not None else declared.format,
        driver="pyarrow",
        size=fetched.inputs[0].size,
        sha256=fetched.inputs[0].sha256,
        encoding=said.get("encoding"),
        encoding_assumed=said.get("encoding_assumed"),
        rows=counts.get("rows_in", source.rows),
        rows_quarantined=counts.get("rows_quarantined"),
        columns=tuple(columns),
        delimiter=said.get("delimiter"),
        quote=(said["quote"] or "none") if has_quote else None,
        header=header,
        sheet=said.get("sheet"),
        editable=Answers(
            options=options_of(
                names,
                encoding=said.get("encoding"),
                delimiter=said.get("delimiter"),
                quote=(said["quote"] or "none") if has_quote else None,
                header=header,
                sheet=said.get("sheet"),
                nulls=options.nulls,
                types=types or options.types,
            )
        ),
    )


def reasons(
    product: Path, fetched: FetchedFile, source: TableSource | ParquetTable, outcome: Outcome
) -> tuple[PlannedColumn, ...]:
    """The columns of the finished table with the reason for each type, found in the table itself."""
    cleaned = outcome.schema.names
    if isinstance(source, ParquetTable):
        why = dict.fromkeys(cleaned, AS_THERE)
    else:
        options = fetched.declared.options
        asked = types_by_column((options and options.types) or {}, source.names, cleaned, source.file)
        why = {cleaned[number]: "files[].options.types says so" for number in asked}
        open_ = {name: source.allowed[number] for number, name in enumerate(cleaned) if number not in asked}
        texts = {name: kinds for name, kinds in open_.items() if pa.types.is_string(outcome.schema.field(name).type)}
        why |= {name: _ALL_ARE[kind_of(outcome.schema.field(name).type)] for name in open_ if name not in texts}
        why |= _why_text(product, texts)
    return tuple(
        PlannedColumn(
            name=field.name,
            title=title or field.name,
            type_name=str(field.type),
            logical_type=outcome.logical.get(field.name),
            reason=why[field.name],
        )
        for title, field in zip(source.names, outcome.schema, strict=True)
    )


def _why_text(product: Path, columns: Mapping[str, frozenset[str]]) -> dict[str, str]:
    """For each column of text the first value that allows no other type. columns: {name: types it may become}."""
    why = {name: "the source says that it is text" for name, kinds in columns.items() if kinds <= {"text"}}
    fits = {name: Fit() for name in columns if name not in why}
    with pq.ParquetFile(product) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=list(fits)) if fits else ():
            for name in [name for name in fits if name not in why]:
                array, before = batch.column(name), fits[name]
                fits[name] = before.merge(fit(array, columns[name]))
                if _is_text(fits[name]):
                    why[name] = _witness(array, before, columns[name])
    return why | {name: "there is no value in it" for name in fits if name not in why}


def _is_text(found: Fit) -> bool:
    return not found.is_empty and pa.types.is_string(found.type)


def _witness(array: pa.Array, before: Fit, allowed: frozenset[str]) -> str:
    """The value with which the column became text: no other type for it, or another one than for those before it."""
    low, high = 0, len(array)
    while high - low > 1:
        middle = (low + high) // 2
        is_text = _is_text(before.merge(fit(array.slice(0, middle), allowed)))
        low, high = (low, middle) if is_text else (middle, high)
    value = str(array[low].as_py())
    shown = repr(value if len(value) <= _MOST_TEXT else value[: _MOST_TEXT - 3] + "...")
    earlier = before.merge(fit(array.slice(0, low), allowed))
    if _LEADING_ZERO.fullmatch(value):
        return f"{shown} would lose its leading zeros as a number"
    alone = fit(array.slice(low, 1), allowed)
    if earlier.is_empty or _is_text(alone):
        return f"{shown} is no number, date, time or boolean as this service reads them"
    return f"{shown} is {described(alone.type)}, values before it are {described(earlier.type)}"


def _types(source: TableSource | ParquetTable, columns: Sequence[PlannedColumn]) -> dict[str, str]:
    """Types as files[].options.types names them; columns that it cannot name, or types that it has no word for, are
    left to be found again."""
    times = Counter(source.names)
    found = {}
    for title, column in zip(source.names, columns, strict=True):
        is_told = bool(title) and times[title] == 1
        word = _word(column.type_name)
        if word is not None and (is_told or column.name not in times):
            found[title if is_told else column.name] = word
    return found


def _word(type_name: str) -> str | None:
    """None for an Arrow type that no word stands for."""
    return _WORDS.get(type_name) or _decimal(type_name)


def _decimal(type_name: str) -> str | None:
    found = re.fullmatch(r"decimal128\(([0-9]+), ([0-9]+)\)", type_name)
    return f"decimal({found[1]},{found[2]})" if found else None


_WORDS = {
    str(arrow_type(word)): word
    for word in ("text", "int64", "float64", "bool", "date", "timestamp", "timestamp_utc", "time")
}
