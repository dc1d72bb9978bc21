"""Which rows of two tables belong together: keys compared as trimmed text, out of core."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

import duckdb
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from app.errors import RunRefused
from app.settings import MiB

How = Literal["left", "inner", "right", "outer"]

BATCH_ROWS = 16_384
_MEMORY = 512 * MiB
_SAMPLES = 5
_JOINS: Mapping[str, str] = {"left": "LEFT", "inner": "INNER", "right": "RIGHT", "outer": "FULL"}


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two tables, as far as the join needs it: a Parquet file and its key column."""

    name: str
    path: Path
    key: str


@dataclass(frozen=True, slots=True)
class KeyReport:
    """What was found about the keys of one side.

    missing: rows without a key (null, or nothing but white space): they match nothing. unmatched: rows with a key that
    the other side does not have. duplicated: keys that several rows share. Samples hold a few keys of each, in order.
    """

    missing: int
    unmatched: int
    duplicated: int
    unmatched_samples: tuple[str, ...]
    duplicated_samples: tuple[str, ...]


class Pairs:
    """The join of two key columns as pairs of row numbers; a context manager that owns an in-memory DuckDB."""

    def __init__(self, left: Side, right: Side, how: How, scratch: Path, threads: int) -> None:
        """Read both key columns. Raises RunRefused key_type for a column that has no text form."""
        self._how = _JOINS[how]
        self._left, self._right = left, right
        # Nothing but the files that are made here is read: no extension, no network, no other file.
        self._db = duckdb.connect(
            config={
                "memory_limit": f"{_MEMORY // MiB}MiB",
                "threads": threads,
                "temp_directory": str(scratch / "duckdb"),
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
                "allow_community_extensions": False,
            }
        )
        try:
            for table, side in (("l", left), ("r", right)):
                path = scratch / f"keys-{table}.parquet"
                _write_keys(side, path)
                self._db.read_parquet(str(path)).create(table)
                path.unlink()
            self._db.execute("SET enable_external_access = false")
            # Every key once, with the rows that have it: what is said about keys comes from here. Null equals no null.
            self._db.execute(
                "CREATE TABLE k AS SELECT coalesce(a.key, b.key) AS key, a.n AS l, b.n AS r "
                "FROM (SELECT key, count(*) AS n FROM l GROUP BY key) a "
                "FULL JOIN (SELECT key, count(*) AS n FROM r GROUP BY key) b ON a.key = b.key"
            )
        except BaseException:
            self._db.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def count(self) -> int:
        """Rows of the result."""
        both, left, right = self._row("SELECT sum(l * r), sum(l) FILTER (r IS NULL), sum(r) FILTER (l IS NULL) FROM k")
        return both + left * (self._how in ("LEFT", "FULL")) + right * (self._how in ("RIGHT", "FULL"))

    def batches(self) -> Iterator[tuple[pa.Array, pa.Array]]:
        """(row of the left, row of the right), null where a side has none: in the order of the left, then of the right.

        Rows of the right that match nothing come last, in their own order.
        """
        query = f"{self._join()} ORDER BY l.row NULLS LAST, r.row"
        for batch in self._db.execute(query).fetch_record_batch(BATCH_ROWS):
            yield batch.column(0), batch.column(1)

    def report(self, side: Literal["l", "r"]) -> KeyReport:
        other = "r" if side == "l" else "l"
        unmatched, twice = f"key IS NOT NULL AND {side} > 0 AND {other} IS NULL", f"key IS NOT NULL AND {side} > 1"
        counts = f"sum({side}) FILTER (key IS NULL), sum({side}) FILTER ({unmatched}), count(*) FILTER ({twice})"
        missing, alone, shared = self._row(f"SELECT {counts} FROM k")  # noqa: S608 - fixed words
        return KeyReport(
            missing=missing,
            unmatched=alone,
            duplicated=shared,
            unmatched_samples=self._texts(f"{unmatched} ORDER BY key"),
            duplicated_samples=self._texts(f"{twice} ORDER BY {side} DESC, key"),
        )

    def interrupt(self) -> None:
        """End a query from another thread."""
        self._db.interrupt()

    def _join(self) -> str:
        return f"SELECT l.row, r.row FROM l {self._how} JOIN r ON l.key = r.key"  # noqa: S608 - fixed words

    def _row(self, query: str) -> tuple[int, ...]:
        found = self._db.execute(query).fetchone()
        return tuple(int(number or 0) for number in found or ())

    def _texts(self, condition: str) -> tuple[str, ...]:
        query = f"SELECT key FROM k WHERE {condition} LIMIT {_SAMPLES}"  # noqa: S608 - fixed words
        return tuple(str(row[0]) for row in self._db.execute(query).fetchall())


def _write_keys(side: Side, path: Path) -> None:
    schema = pa.schema([("row", pa.int64()), ("key", pa.string())])
    done = 0
    with pq.ParquetFile(side.path) as source, pq.ParquetWriter(path, schema, compression="lz4") as target:
        for batch in source.iter_batches(BATCH_ROWS * 4, columns=[side.key]):
            rows = pa.array(range(done, done + batch.num_rows), pa.int64())
            target.write_batch(pa.record_batch([rows, _as_keys(batch.column(0), side)], schema=schema))
            done += batch.num_rows


def _text(values: pa.Array) -> pa.Array:
    """Whole floating-point numbers as integers are written, so that 5.0 meets 5 and "5"."""
    if not pa.types.is_floating(values.type):
        return values.cast(pa.string())
    number = values.cast(pa.float64())
    is_whole = pc.and_(pc.equal(pc.floor(number), number), pc.less(pc.abs(number), 2.0**53))
    whole = pc.if_else(is_whole, number, pa.scalar(None, pa.float64())).cast(pa.int64()).cast(pa.string())
    return pc.coalesce(whole, values.cast(pa.string()))


def _as_keys(values: pa.Array, side: Side) -> pa.Array:
    """The values as trimmed text; null where there is no key."""
    try:
        text = _text(values)
    except (pa.ArrowNotImplementedError, pa.ArrowInvalid):
        raise RunRefused(
            f"The column {side.key!r} of {side.name} is of type {values.type}, which has no text to compare.",
            "Choose a key column of text, numbers, dates or booleans.",
            reason="key_type",
        ) from None
    trimmed = pc.utf8_trim_whitespace(text)
    return pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed)
