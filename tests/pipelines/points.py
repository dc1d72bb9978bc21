"""Tables with coordinates in every format, for tests that make features of them."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.pipelines.tables import cell, row, workbook

Columns = Mapping[str, Sequence[Any]]
LON_LAT = {"x": "lon", "y": "lat", "crs": "EPSG:4326"}


def _delimited(columns: Columns, delimiter: str) -> bytes:
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(
        [["" if each is None else each for each in values] for values in zip(*columns.values(), strict=True)]
    )
    return out.getvalue().encode()


def _workbook(columns: Columns) -> bytes:
    rows = [list(columns), *zip(*columns.values(), strict=True)]
    made = [
        row(n, *(cell(f"{chr(65 + at)}{n}", each) for at, each in enumerate(values) if each is not None))
        for n, values in enumerate(rows, 1)
    ]
    return workbook({"Points": "".join(made)})


def _lines(columns: Columns) -> bytes:
    return "".join(
        json.dumps(dict(zip(columns, values, strict=True))) + "\n" for values in zip(*columns.values(), strict=True)
    ).encode()


def _parquet(columns: Columns) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), out)
    return out.getvalue()


# A file of each table format with these columns; numbers as the shortest text that is the same number.
WRITERS: Mapping[str, Callable[[Columns], bytes]] = {
    "CSV": lambda columns: _delimited(columns, ","),
    "TSV": lambda columns: _delimited(columns, "\t"),
    "XLSX": _workbook,
    "JSONL": _lines,
    "Parquet": _parquet,
}


def table(path: str, fmt: str = "CSV", geometry: Any = None, **options: Any) -> dict[str, Any]:
    """The entry of a manifest for a table with coordinates."""
    return {"path": path, "type": "tabular", "format": fmt, "options": {"geometry": geometry or LON_LAT, **options}}
