"""Which rows of two tables belong together: keys compared as trimmed text, out of core."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Self, TypeVar

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from app.errors import RunRefused
from app.pipelines.join_keys import as_keys, can_be_key, is_number
from app.pipelines.join_rows import batches_of
from app.settings import MiB

T = TypeVar("T")
How = Literal["left", "inner", "right", "outer"]
Tick = Callable[[], None]

BATCH_ROWS = 65_536
_READ_ROWS = 131_072
_SAMPLES = 5
# Seconds between two looks at the run while DuckDB works.
_LOOK_EVERY = 0.1
_JOINS: Mapping[str, str] = {"left": "LEFT", "inner": "INNER", "right": "RIGHT", "outer": "FULL"}
# Nothing is read but the rows that are handed over: no file, no extension, no network.
_CLOSED = ("python_enable_replacements = false", "enable_external_access = false", "lock_configuration = true")
_KEYS = pa.schema([("row", pa.int64()), ("key", pa.string())])


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two tables, as far as pairing needs it: a Parquet file and its key column."""

    name: str
    path: Path
    key: str
    kind: pa.DataType


@dataclass(frozen=True, slots=True)
class KeyReport:
    """What was found about the keys of one side.

    missing: rows without a key (null, nothing but white space, not a number): they match nothing. unmatched: rows with
    a key that the other side does not have. duplicated: keys that several rows share. Samples hold a few keys of each:
    unmatched ones in the order of the alphabet, duplicated ones beginning with the most frequent.
    """

    missing: int
    unmatched: int
    duplicated: int
    unmatched_samples: tuple[str, ...]
    duplicated_samples: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Means:
    """What pairing may use. tick: called a few times a second; what it raises ends the query at work."""

    scratch: Path
    threads: int
    memory_bytes: int
    tick: Tick


class Pairs:
    """The join of two key columns as pairs of row numbers; a context manager that owns an in-memory DuckDB."""

    def __init__(self, left: Side, right: Side, how: How, means: Means) -> None:
        """Read both key columns. Raises RunRefused: key_type for a column that has no text form, memory_limit."""
        for side in (left, right):
            _check_type(side)
        self._how = _JOINS[how]
        self._means = means
        numbers = is_number(left.kind) and is_number(right.kind)
        self._db = _database(means)
        # DuckDB works in a thread of its own, so that the run can be ended from this one meanwhile.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="pairs")
        try:
            for setting in _CLOSED:
                self._query(f"SET {setting}")
            for table, side in (("l", left), ("r", right)):
                self._load(table, side, numbers=numbers)
            # Every key once, with the rows that have it: what is said about keys comes from here. Null equals no null.
            self._query(
                "CREATE TABLE k AS SELECT coalesce(a.key, b.key) AS key, a.n AS l, b.n AS r "
                "FROM (SELECT key, count(*) AS n FROM l GROUP BY key) a "
                "FULL JOIN (SELECT key, count(*) AS n FROM r GROUP BY key) b ON a.key = b.key"
            )
        except BaseException:
            self._close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def count(self) -> int:
        """Rows of the result."""
        both, left, right = self._row("SELECT sum(l * r), sum(l) FILTER (r IS NULL), sum(r) FILTER (l IS NULL) FROM k")
        return both + left * (self._how in ("LEFT", "FULL")) + right * (self._how in ("RIGHT", "FULL"))

    def most(self) -> tuple[str, int, int]:
        """The key that makes most rows of the result, with its rows on either side."""
        query = "SELECT key, l, r FROM k WHERE l * r > 0 ORDER BY l * r DESC, key LIMIT 1"
        key, left, right = self._query(query)[0]
        return str(key), int(left), int(right)

    def batches(self) -> Iterator[tuple[pa.Array, pa.Array]]:
        """(row of the left, row of the right), null where a side has none: in the order of the left, then of the right.

        Rows of the right that match nothing come last, in their own order.
        """
        query = (
            f"SELECT l.row, r.row FROM l {self._how} JOIN r ON l.key = r.key "  # noqa: S608 - fixed words
            "ORDER BY l.row NULLS LAST, r.row"
        )
        reader = self._wait(lambda: self._db.execute(query).fetch_record_batch(BATCH_ROWS))
        while (batch := self._wait(lambda: next(reader, None))) is not None:
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

    def _load(self, table: str, side: Side, *, numbers: bool) -> None:
        # One statement that takes the batches as a stream: an INSERT for each of them takes six times as long.
        rows = pa.RecordBatchReader.from_batches(_KEYS, _numbered_keys(side, numbers=numbers))
        self._db.register("rows", rows)
        self._query(f"CREATE TABLE {table} AS SELECT * FROM rows")  # noqa: S608 - fixed words
        self._db.unregister("rows")

    def _query(self, query: str) -> list[tuple[Any, ...]]:
        return self._wait(lambda: self._db.execute(query).fetchall())

    def _row(self, query: str) -> tuple[int, ...]:
        return tuple(int(number or 0) for number in self._query(query)[0])

    def _texts(self, condition: str) -> tuple[str, ...]:
        query = f"SELECT key FROM k WHERE {condition} LIMIT {_SAMPLES}"  # noqa: S608 - fixed words
        return tuple(str(row[0]) for row in self._query(query))

    def _wait(self, work: Callable[[], T]) -> T:
        """The result of `work`, done in the other thread; what the look at the run raises ends it."""
        future = self._thread.submit(work)
        try:
            while not wait([future], _LOOK_EVERY).done:
                self._means.tick()
        except BaseException:
            # Again and again: an interrupt that comes before the query begins is forgotten.
            while not wait([future], _LOOK_EVERY).done:
                self._db.interrupt()
            raise
        self._means.tick()
        try:
            return future.result()
        except duckdb.OutOfMemoryException:
            raise RunRefused(
                f"Pairing the keys needs more than {self._means.memory_bytes // MiB} MiB of memory.",
                "Raise SPATIAL_ETL_WORKER__MEMORY_BYTES, and keep SPATIAL_ETL_RUN__MEMORY_LIMIT_BYTES well above it.",
                reason="memory_limit",
            ) from None

    def _close(self) -> None:
        self._thread.shutdown()
        self._db.close()


def _numbered_keys(side: Side, *, numbers: bool) -> Iterator[pa.RecordBatch]:
    done = 0
    with pq.ParquetFile(side.path) as source:
        for batch in batches_of(source, [side.key], _READ_ROWS):
            rows = pa.array(np.arange(done, done + batch.num_rows, dtype=np.int64))
            yield pa.record_batch([rows, as_keys(batch.column(0), numbers=numbers)], schema=_KEYS)
            done += batch.num_rows


def _database(means: Means) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        config={
            "memory_limit": f"{means.memory_bytes // MiB}MiB",
            "threads": means.threads,
            "temp_directory": str(means.scratch / "duckdb"),
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )


def _check_type(side: Side) -> None:
    if not can_be_key(side.kind):
        raise RunRefused(
            f"The column {side.key!r} of {side.name} is of type {side.kind}, which has no text to compare.",
            "Choose a key column of text, numbers, dates, times or booleans.",
            reason="key_type",
        )
