"""The input of the tabular part, and what is in a result: python -m bench.tabular make|check FILE [ROWS]."""

from __future__ import annotations

import json
import sys
from datetime import datetime, timedelta
from pathlib import Path

import duckdb
import numpy as np

STEP = 100_000
STREETS = np.array(["Am Gänsebühl", "Mühlstraße", "Kühgasse", "Lange Änger", "Fährweg", "Hinterm Löß"])


def make(path: str, rows: int) -> None:
    """Eight columns of a register: number, code with leading zeros, street, coordinate, price, day, time, flag."""
    rng = np.random.default_rng(20260101)
    began = datetime.fromisoformat("2020-01-01T00:00:00")
    unfinished = Path(path).with_suffix(".unfinished")
    with unfinished.open("w", encoding="utf-8", newline="") as out:
        out.write("id,Gemeinde-Nr.,Straße,x,Preis,Tag,geändert,gültig\n")
        for first in range(0, rows, STEP):
            count = min(STEP, rows - first)
            codes, x = rng.integers(0, 99_999, count), rng.uniform(5, 15, count)
            euros, cents = rng.integers(0, 99_999, count), rng.integers(0, 100, count)
            streets = STREETS[rng.integers(0, len(STREETS), count)]
            days = np.datetime64("1990-01-01") + rng.integers(0, 12_000, count)
            seconds, flags = rng.integers(0, 180_000_000, count), rng.random(count) < 0.5
            for i in range(count):
                changed = began + timedelta(seconds=int(seconds[i]))
                price = f"{euros[i]}.{cents[i]:02d}" if codes[i] % 50 else ""
                out.write(
                    f"{first + i},{codes[i]:05d},{streets[i]},{x[i]!r},{price},{days[i]},{changed},"
                    f"{'true' if flags[i] else 'false'}\n".replace("np.float64(", "").replace(")", "")
                )
    unfinished.rename(path)


def check(path: str) -> dict[str, object]:
    """Rows, types of the columns that readers often change, and sums that must be equal for all."""
    found = duckdb.sql(f"SELECT * FROM read_parquet('{path}')")
    code, price = found.columns[1], found.columns[4]
    total = f'count(*), sum("{found.columns[0]}"), sum("{price}"::DECIMAL(18,2))'
    rows, ids, prices = duckdb.sql(f"SELECT {total} FROM read_parquet('{path}')").fetchall()[0]
    return {
        "rows": rows,
        "ids": int(ids),
        "prices": str(prices),
        "code": str(found.types[found.columns.index(code)]),
        "price": str(found.types[found.columns.index(price)]),
        "bytes": Path(path).stat().st_size,
    }


if __name__ == "__main__":
    if sys.argv[1] == "make":
        make(sys.argv[2], int(sys.argv[3]))
    else:
        sys.stdout.write(json.dumps(check(sys.argv[2])))
