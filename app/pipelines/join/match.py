"""Finds which rows of two tables have the same key, with DuckDB, in limited memory."""

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

from app.messages.join import JOIN_MEMORY, KEY_TYPE
from app.pipelines.join.keys import as_keys, can_be_key, is_number
from app.pipelines.join.rows import batches_of
from app.settings import MiB

T = TypeVar("T")
How = Literal["left", "inner", "right", "outer"]
Tick = Callable[[], None]

BATCH_ROWS = 65_536
_READ_ROWS = 131_072
_SAMPLES = 5
# Seconds between two calls of `tick` while DuckDB works.
_CHECK_SECONDS = 0.1
_JOINS: Mapping[str, str] = {"left": "LEFT", "inner": "INNER", "right": "RIGHT", "outer": "FULL"}
# DuckDB reads only the rows that it is given: no files, no extensions, no network.
_SANDBOX_SETTINGS = (
    "python_enable_replacements = false",
    "enable_external_access = false",
    "lock_configuration = true",
)
# More bytes than characters: only then can a text have several Unicode forms.
_NOT_ASCII = "strlen(key) > length(key)"
_KEYS = pa.schema([("row", pa.int64()), ("key", pa.string())])


@dataclass(frozen=True, slots=True)
class KeyColumn:
    """The Parquet file of one side, and its key column."""

    name: str
    path: Path
    key: str
    kind: pa.DataType


@dataclass(frozen=True, slots=True)
class KeyReport:
    """What was found about the keys of one side.

    Attributes:
        missing: rows without a key (null, blank or NaN), which match nothing.
        unmatched: rows with a key that the other side does not have.
        duplicated: keys in more than one row.
        other_form: unmatched rows whose key the other side has in another Unicode form (NFC or NFD).
        unmatched_samples: a few of them, in alphabetical order.
        duplicated_samples: a few of them, the most frequent first.
    """

    missing: int
    unmatched: int
    duplicated: int
    unmatched_samples: tuple[str, ...]
    duplicated_samples: tuple[str, ...]
    other_form: int = 0
    other_form_samples: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class JoinResources:
    """What matching may use.

    Attributes:
        tick: called a few times a second; an exception that it raises stops the query and passes through.
    """

    scratch: Path
    threads: int
    memory_bytes: int
    tick: Tick


class KeyMatches:
    """The join of two key columns as pairs of row numbers.

    A context manager that owns an in-memory DuckDB.
    """

    def __init__(self, left: KeyColumn, right: KeyColumn, how: How, resources: JoinResources) -> None:
        """Read both key columns.

        Raises:
            RunRefused: key_type, for a column whose values cannot be compared as text; memory_limit.
        """
        for side in (left, right):
            if not can_be_key(side.kind):
                raise KEY_TYPE(column=side.key, table=side.name, type=side.kind)
        self._how = _JOINS[how]
        self._resources = resources
        numbers = is_number(left.kind) and is_number(right.kind)
        self._db = _database(resources)
        # DuckDB works in a second thread, so that this one can interrupt it.
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="key-matches")
        try:
            for setting in _SANDBOX_SETTINGS:
                self._query(f"SET {setting}")
            for table, side in (("l", left), ("r", right)):
                self._load(table, side, numbers=numbers)
            # Every key once, with its number of rows on each side, for counts and reports. Nulls do not match.
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
        """Number of rows of the result."""
        both, left, right = self._row("SELECT sum(l * r), sum(l) FILTER (r IS NULL), sum(r) FILTER (l IS NULL) FROM k")
        return both + left * (self._how in ("LEFT", "FULL")) + right * (self._how in ("RIGHT", "FULL"))

    def largest_key(self) -> tuple[str, int, int]:
        """(key with the most rows in the result, its rows on the left, its rows on the right)."""
        query = "SELECT key, l, r FROM k WHERE l * r > 0 ORDER BY l * r DESC, key LIMIT 1"
        key, left, right = self._query(query)[0]
        return str(key), int(left), int(right)

    def batches(self) -> Iterator[tuple[pa.Array, pa.Array]]:
        """Yield (row of the left, row of the right), null where a side has none.

        Pairs are in the order of the left, then of the right. Rows of the right without a match come last, in their
        order.
        """
        query = (
            f"SELECT l.row, r.row FROM l {self._how} JOIN r ON l.key = r.key "  # noqa: S608 - fixed words
            "ORDER BY l.row NULLS LAST, r.row"
        )
        reader = self._wait(lambda: self._db.execute(query).fetch_record_batch(BATCH_ROWS))
        while (batch := self._wait(lambda: next(reader, None))) is not None:
            yield batch.column(0), batch.column(1)

    def report(self, side: Literal["l", "r"]) -> KeyReport:
        """What was found about the keys of the left (l) or right (r) side."""
        other = "r" if side == "l" else "l"
        unmatched, twice = f"key IS NOT NULL AND {side} > 0 AND {other} IS NULL", f"key IS NOT NULL AND {side} > 1"
        counts = f"sum({side}) FILTER (key IS NULL), sum({side}) FILTER ({unmatched}), count(*) FILTER ({twice})"
        missing, alone, shared = self._row(f"SELECT {counts} FROM k")  # noqa: S608 - fixed words
        others = f"SELECT nfc_normalize(key) FROM k WHERE {other} > 0 AND {_NOT_ASCII}"  # noqa: S608 - fixed words
        form = f"{unmatched} AND {_NOT_ASCII} AND nfc_normalize(key) IN ({others})"
        (other_form,) = self._row(f"SELECT sum({side}) FROM k WHERE {form}") if alone else (0,)  # noqa: S608 - fixed words
        return KeyReport(
            missing=missing,
            unmatched=alone,
            duplicated=shared,
            unmatched_samples=self._texts(f"{unmatched} ORDER BY key"),
            duplicated_samples=self._texts(f"{twice} ORDER BY {side} DESC, key"),
            other_form=other_form,
            other_form_samples=self._texts(f"{form} ORDER BY key") if other_form else (),
        )

    def _load(self, table: str, side: KeyColumn, *, numbers: bool) -> None:
        # One statement with a stream of batches: an INSERT for each batch takes six times as long.
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
        """Run `work` in the other thread. An exception of `tick` interrupts the query."""
        future = self._thread.submit(work)
        try:
            while not wait([future], _CHECK_SECONDS).done:
                self._resources.tick()
        except BaseException:
            # Repeated, because an interrupt before the query has begun has no effect.
            while not wait([future], _CHECK_SECONDS).done:
                self._db.interrupt()
            raise
        self._resources.tick()
        try:
            return future.result()
        except duckdb.OutOfMemoryException:
            raise JOIN_MEMORY(limit=self._resources.memory_bytes // MiB) from None

    def _close(self) -> None:
        self._thread.shutdown()
        self._db.close()


def _numbered_keys(side: KeyColumn, *, numbers: bool) -> Iterator[pa.RecordBatch]:
    done = 0
    with pq.ParquetFile(side.path) as source:
        for batch in batches_of(source, [side.key], _READ_ROWS):
            rows = pa.array(np.arange(done, done + batch.num_rows, dtype=np.int64))
            yield pa.record_batch([rows, as_keys(batch.column(0), numbers=numbers)], schema=_KEYS)
            done += batch.num_rows


def _database(resources: JoinResources) -> duckdb.DuckDBPyConnection:
    return duckdb.connect(
        config={
            "memory_limit": f"{resources.memory_bytes // MiB}MiB",
            "threads": resources.threads,
            "temp_directory": str(resources.scratch / "duckdb"),
            "preserve_insertion_order": False,
            "autoinstall_known_extensions": False,
            "autoload_known_extensions": False,
        }
    )
