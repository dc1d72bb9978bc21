"""What a plan says about a table: why its columns have their types, and options for its manifest."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from app.models.formats import find_format
from app.models.manifests.file_options import FileOptions
from app.models.plan import Answers, PlannedColumn, PlannedFile, options_of
from app.pipelines.common.column_types import ARROW_TYPES, types_by_column
from app.pipelines.common.plan_answers import AS_DECLARED, AS_THERE
from app.pipelines.contract.context import FetchedFile
from app.pipelines.tabular.declared_types import titles_for_types
from app.pipelines.tabular.inferred_types import PossibleTypes
from app.pipelines.tabular.notation import PLAIN, Notation, notation_of, possible_types_in
from app.pipelines.tabular.source import OpenedTable, TypedSource
from app.pipelines.tabular.typed_table import WrittenTable
from app.pipelines.tabular.why_text import deciding_value, is_text

_BATCH_ROWS = 65_536
_GEOMETRY = "geometries, as files[].options.geometry says"
_MANIFEST_TYPES = {str(arrow): name for name, arrow in ARROW_TYPES.items()}
_ALL_ARE = {
    "bool": "every value is true or false",
    "int64": "every value is a whole number of 64 bits",
    "float64": "every value is a number that float64 stores without losing a digit",
    "decimal": "every value is a number, and float64 would lose digits of some",
    "date": "every value is an ISO date",
    "timestamp": "every value is an ISO date and time without a zone",
    "timestamp_utc": "every value is an ISO date and time with a zone",
    "time": "every value is a time of day",
    "local_date": "every value is a date in the form of options.date_format",
    "local_timestamp": "every value is a date and time in the form of options.date_format",
    "local_timestamp_utc": "every value is a date and time with a zone in the form of options.date_format",
}


def planned_file(
    fetched: FetchedFile,
    source: OpenedTable,
    columns: Sequence[PlannedColumn],
    counts: Mapping[str, int],
) -> PlannedFile:
    """The file as a plan shows it. `columns` and `counts` are empty before the rows are read."""
    declared, read_options = fetched.declared, source.read_options
    options = declared.options or FileOptions()
    fmt = find_format(declared.format)
    names = fmt.options if fmt is not None else ()
    header = options.header is not False if "header" in names else None
    quote = (read_options["quote"] or "none") if "quote" in read_options else None
    types = _types_option(source, columns) if "types" in names and columns else None
    return PlannedFile(
        file=declared.key,
        format=fmt.name if fmt is not None else declared.format,
        driver="pyarrow",
        size=fetched.inputs[0].size,
        sha256=fetched.inputs[0].sha256,
        encoding=read_options.get("encoding"),
        encoding_assumed=read_options.get("encoding_assumed"),
        rows=counts.get("rows_in", source.rows),
        rows_quarantined=counts.get("rows_quarantined"),
        columns=tuple(columns),
        delimiter=read_options.get("delimiter"),
        quote=quote,
        header=header,
        sheet=read_options.get("sheet"),
        editable=Answers(
            member=declared.member,
            options=options_of(
                names,
                **options.model_dump(exclude_none=True)
                | {
                    "encoding": read_options.get("encoding"),
                    "delimiter": read_options.get("delimiter"),
                    "quote": quote,
                    "header": header,
                    "sheet": read_options.get("sheet"),
                    "types": types or options.types,
                },
            ),
        ),
    )


def planned_columns(
    product: Path, fetched: FetchedFile, source: OpenedTable, outcome: WrittenTable
) -> tuple[PlannedColumn, ...]:
    """The columns of the finished product, with the reason for each type."""
    cleaned = outcome.schema.names
    if isinstance(source, TypedSource):
        why = dict.fromkeys(cleaned, AS_THERE)
    else:
        options = fetched.declared.options or FileOptions()
        declared_types = types_by_column(options.types or {}, source.names, cleaned, source.file)
        why = {cleaned[number]: AS_DECLARED for number in declared_types}
        notation = notation_of(options)
        texts = {}
        for number, name in enumerate(cleaned):
            if (kind := outcome.kinds.get(name)) in _ALL_ARE:
                why[name] = _ALL_ARE[str(kind)]
            elif kind is not None:
                here = PLAIN if number in source.plain else notation
                texts[name] = (here.widened(source.allowed[number]), here)
        why |= _why_text(product, texts)
    return tuple(
        PlannedColumn(
            name=field.name,
            title=title or field.name,
            type_name=str(field.type),
            logical_type=outcome.logical.get(field.name),
            reason=why.get(field.name, _GEOMETRY),
        )
        for title, field in zip(source.names, outcome.schema, strict=True)
    )


def _why_text(product: Path, columns: Mapping[str, tuple[frozenset[str], Notation]]) -> dict[str, str]:
    """{name: why the column is text}. columns: {name: (types it may become, how its values are written)}."""
    why = {name: "the source stores it as text" for name, (kinds, _) in columns.items() if kinds <= {"text"}}
    possible = {name: PossibleTypes() for name in columns if name not in why}
    with pq.ParquetFile(product) as file:
        for batch in file.iter_batches(_BATCH_ROWS, columns=list(possible)) if possible else ():
            for name in [name for name in possible if name not in why]:
                array, before = batch.column(name), possible[name]
                possible[name] = before.merge(possible_types_in(array, *columns[name]))
                if is_text(possible[name]):
                    why[name] = deciding_value(array, before, *columns[name])[1]
    return why | {name: "the column has no values" for name in possible if name not in why}


def _types_option(source: OpenedTable, columns: Sequence[PlannedColumn]) -> dict[str, str]:
    """A value for files[].options.types, without columns or types that it has no name for."""
    titles = titles_for_types(source.names, [column.name for column in columns])
    found = {}
    for title, column in zip(titles, columns, strict=True):
        manifest_type = _manifest_type(column.type_name)
        if manifest_type is not None and title is not None:
            found[title] = manifest_type
    return found


def _manifest_type(type_name: str) -> str | None:
    """The name of an Arrow type in a manifest; None if it has none."""
    if decimal := re.fullmatch(r"decimal128\(([0-9]+), ([0-9]+)\)", type_name):
        return f"decimal({decimal[1]},{decimal[2]})"
    return _MANIFEST_TYPES.get(type_name)
