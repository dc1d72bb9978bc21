"""Tables: CSV, TSV, JSON lines, Parquet and XLSX, with what other libraries read in them."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from dataclasses import replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import duckdb
import openpyxl
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio

from differential.case import FileKind, Found, Shapes, Written, as_written, values_of
from differential.values import Column, Limits

_ENCODINGS = ("utf-8", "utf-8", "utf-8-sig", "utf-16", "cp1252")


def _as_text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return value.isoformat(sep=" ") if isinstance(value, datetime) else str(value)


def write_delimited(
    rng: random.Random, columns: Sequence[Column], _: Shapes | None, folder: Path, *, tabs: bool = False
) -> Written:
    delimiter = "\t" if tabs else rng.choice(",;|\t")
    quoting = rng.choice((csv.QUOTE_MINIMAL, csv.QUOTE_ALL))
    end = rng.choice(("\n", "\r\n"))
    texts = {column.name: [_as_text(value) for value in column.values] for column in columns}
    everything = "".join((*texts, *(text for each in texts.values() for text in each)))
    encoding = rng.choice(_ENCODINGS)
    try:
        everything.encode(encoding)
    except UnicodeEncodeError:
        encoding = "utf-8"
    path = folder / f"table.{'tsv' if tabs else 'csv'}"
    with path.open("w", encoding=encoding, newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=quoting, lineterminator=end)
        writer.writerow(texts)
        writer.writerows(zip(*texts.values(), strict=True))
    options: dict[str, Any] = {} if tabs else {"delimiter": delimiter}
    if encoding == "cp1252":
        options["encoding"] = "windows-1252"
    about = {"delimiter": delimiter, "encoding": encoding, "quoting": quoting, "end": end}
    return Written(path, Found(texts), options, as_text=True, about=about)


def write_tabs(rng: random.Random, columns: Sequence[Column], shapes: Shapes | None, folder: Path) -> Written:
    return write_delimited(rng, columns, shapes, folder, tabs=True)


def csv_by_duckdb(written: Written) -> Found:
    """DuckDB reads UTF-8: the text is handed over as such."""
    path = _as_utf8(written)
    found = duckdb.execute(
        "SELECT * FROM read_csv(?, delim=?, quote='\"', escape='\"', header=true, all_varchar=true, "
        "auto_detect=false, columns=?, null_padding=false, strict_mode=false, max_line_size=1000000)".replace(
            "columns=?", _columns(written)
        ),
        [str(path), written.about["delimiter"]],
    ).fetch_arrow_table()
    return Found({name: ["" if v is None else v for v in values_of(found[name])] for name in found.column_names})


def _columns(written: Written) -> str:
    names = (name.replace("'", "''") for name in written.holds.columns)
    return "columns={" + ", ".join(f"'{name}': 'VARCHAR'" for name in names) + "}"


def _as_utf8(written: Written) -> Path:
    copy = written.path.with_suffix(".utf8")
    encoding = written.about["encoding"]
    copy.write_bytes(written.path.read_bytes().decode("utf-8-sig" if encoding == "utf-8" else encoding).encode())
    return copy


def csv_by_pandas(written: Written) -> Found:
    frame = pd.read_csv(
        written.path,
        sep=written.about["delimiter"],
        encoding=written.about["encoding"],
        dtype=str,
        keep_default_na=False,
        na_filter=False,
    )
    return Found({str(name): frame[name].tolist() for name in frame.columns})


def write_jsonl(rng: random.Random, columns: Sequence[Column], _: Shapes | None, folder: Path) -> Written:
    """Dates are texts there."""
    left_out = rng.random() < 0.3
    held = {
        c.name: [_as_json(v) for v in c.values] for c in columns if not left_out or any(v is not None for v in c.values)
    }
    path, ascii_only = folder / "table.jsonl", rng.random() < 0.5
    with path.open("w", encoding="utf-8", newline="") as file:
        for row in zip(*held.values(), strict=True):
            found = {name: value for name, value in zip(held, row, strict=True) if value is not None or not left_out}
            file.write(json.dumps(found, ensure_ascii=ascii_only) + "\n")
    return Written(path, Found(held), as_text=True, any_order=True, about={"left_out": left_out, "ascii": ascii_only})


def _as_json(value: Any) -> Any:
    return _as_text(value) if isinstance(value, date) else value


def jsonl_by_duckdb(written: Written) -> Found:
    """By the extension's own parser; as texts of JSON, since its types are found in a sample."""
    names = [name.replace('"', '""') for name in written.holds.columns]
    columns = "{" + ", ".join("'{}': 'JSON'".format(name.replace("'", "''")) for name in written.holds.columns) + "}"
    picked = ", ".join(f'"{name}"' for name in names)
    found = duckdb.execute(
        f"SELECT {picked} FROM read_json(?, format='newline_delimited', columns={columns})", [str(written.path)]
    ).fetch_arrow_table()
    return Found(
        {
            name: [None if text is None else json.loads(text) for text in found[name].to_pylist()]
            for name in found.column_names
        }
    )


def jsonl_by_python(written: Written) -> Found:
    rows = [json.loads(line) for line in written.path.read_text(encoding="utf-8").split("\n") if line]
    return Found({name: [row.get(name) for row in rows] for name in written.holds.columns})


_ARROW = {
    "text": (pa.string(), pa.large_string()),
    "whole": (pa.int64(),),
    "real": (pa.float64(),),
    "yes_no": (pa.bool_(),),
    "day": (pa.date32(),),
    "moment": (pa.timestamp("us"), pa.timestamp("ms")),
    "instant": (pa.timestamp("us", "UTC"), pa.timestamp("us", "Europe/Berlin")),
    "bytes": (pa.binary(), pa.large_binary()),
    "decimal": (pa.decimal128(20, 4),),
}


def arrow_table(rng: random.Random, columns: Sequence[Column]) -> pa.Table:
    arrays = {}
    for column in columns:
        kind = rng.choice(_ARROW[column.kind])
        values = column.values
        if pa.types.is_timestamp(kind) and kind.unit == "ms":
            values = tuple(None if v is None else v.replace(microsecond=v.microsecond // 1000 * 1000) for v in values)
        made = pa.array(values, kind)
        arrays[column.name] = made.dictionary_encode() if column.kind == "text" and rng.random() < 0.3 else made
    return pa.table(arrays)


def write_parquet(rng: random.Random, columns: Sequence[Column], _: Shapes | None, folder: Path) -> Written:
    table, path = arrow_table(rng, columns), folder / "table.parquet"
    about = {
        "compression": rng.choice(("snappy", "zstd", "none")),
        "data_page_version": rng.choice(("1.0", "2.0")),
        "row_group_size": rng.choice((3, 1000)),
        "use_dictionary": rng.random() < 0.5,
        "version": rng.choice(("1.0", "2.4", "2.6")),
        "store_schema": rng.random() < 0.5,
    }
    pq.write_table(table, path, **about)
    return Written(path, Found({name: values_of(table[name]) for name in table.column_names}), about=about)


def parquet_by_duckdb(written: Written) -> Found:
    found = duckdb.execute("SELECT * FROM read_parquet(?)", [str(written.path)]).fetch_arrow_table()
    return Found({name: values_of(found[name]) for name in found.column_names})


def parquet_by_pyarrow(written: Written) -> Found:
    found = pq.read_table(written.path, use_threads=False)
    return Found({name: values_of(found[name]) for name in found.column_names})


def write_xlsx(_rng: random.Random, columns: Sequence[Column], _: Shapes | None, folder: Path) -> Written:
    columns = [of_fifteen_digits(column) for column in columns]
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append([column.name for column in columns])
    for number, row in enumerate(zip(*(column.values for column in columns), strict=True), 2):
        for place, value in enumerate(row, 1):
            if value is not None:
                cell = sheet.cell(number, place)
                cell.value = value
                if isinstance(value, str):
                    cell.data_type = "s"  # no formula, no error
    path = folder / "table.xlsx"
    book.save(path)
    return Written(path, as_written(columns))


def of_fifteen_digits(column: Column) -> Column:
    """Real numbers that 15 digits are enough for, with a zero without sign: what spreadsheets keep, and GDAL writes."""
    if column.kind != "real":
        return column
    return replace(
        column, values=tuple(None if v is None else float(f"{min(v, 1e300):.15g}") + 0.0 for v in column.values)
    )


def xlsx_by_openpyxl(written: Written) -> Found:
    rows = list(openpyxl.load_workbook(written.path, data_only=True).active.iter_rows(values_only=True))
    return Found({str(name): [row[n] for row in rows[1:]] for n, name in enumerate(rows[0])})


def xlsx_by_gdal(written: Written) -> Found:
    _, found = pyogrio.read_arrow(written.path)
    return Found({name: values_of(found[name]) for name in found.column_names})


_TEXT = Limits(("text", "whole", "real", "yes_no", "day", "moment", "instant"), distinct_case=False, empty_texts=False)
TABLES = (
    FileKind("CSV", _TEXT, write_delimited, {"duckdb": csv_by_duckdb, "pandas": csv_by_pandas}),
    FileKind("TSV", _TEXT, write_tabs, {"duckdb": csv_by_duckdb, "pandas": csv_by_pandas}),
    FileKind(
        "JSONL",
        Limits(("text", "whole", "real", "yes_no", "day", "moment"), distinct_case=False),
        write_jsonl,
        {"duckdb": jsonl_by_duckdb, "json": jsonl_by_python},
    ),
    FileKind(
        "Parquet",
        Limits(("text", "whole", "real", "yes_no", "day", "moment", "instant", "bytes", "decimal")),
        write_parquet,
        {"duckdb": parquet_by_duckdb, "pyarrow": parquet_by_pyarrow},
    ),
    FileKind(
        "XLSX",
        Limits(
            ("text", "whole", "real", "yes_no", "day", "moment"),
            digits=15,
            days=(date(1900, 3, 1), date.max),
            places=3,
            empty_texts=False,
        ),
        write_xlsx,
        {"openpyxl": xlsx_by_openpyxl, "gdal": xlsx_by_gdal},
    ),
)
