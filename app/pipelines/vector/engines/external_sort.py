"""Sorting more rows than memory holds: sorted runs in scratch files, merged a few at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.settings import MiB

# Bytes of a run, which is sorted in memory; of the pieces in which it is read again; runs that are merged at a time.
RUN_BYTES = 64 * MiB
PIECE_BYTES = MiB
MOST_RUNS = 64

Keys = npt.NDArray[np.uint64]
_OPTIONS = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(slots=True)
class Spool:
    """Record batches of one schema in a scratch file: written once, then read in order."""

    path: Path
    schema: pa.Schema
    rows: int = 0
    _writer: pa.ipc.RecordBatchStreamWriter | None = None

    def write(self, batch: pa.RecordBatch) -> None:
        """Append rows."""
        if self._writer is None:
            self._writer = pa.ipc.new_stream(pa.OSFile(str(self.path), "wb"), self.schema, options=_OPTIONS)
        self._writer.write_batch(batch)
        self.rows += batch.num_rows

    def read(self, *, remove: bool = True) -> Iterator[pa.RecordBatch]:
        """All batches, as they were written. remove: the file, after the last one."""
        if self._writer is None:
            return
        self.close()
        with pa.OSFile(str(self.path)) as file, pa.ipc.open_stream(file) as stream:
            yield from stream
        if remove:
            self.path.unlink()

    def close(self) -> None:
        """Finish writing."""
        if self._writer is not None:
            self._writer.close()


def sort_batches(
    batches: Iterable[pa.RecordBatch],
    key: Callable[[pa.RecordBatch, int], Keys],
    folder: Path,
    tick: Callable[[], None],
) -> Iterator[pa.RecordBatch]:
    """The rows of all batches by their keys. Memory is bounded by the runs above, not by the number of rows.

    Args:
        batches: of one schema.
        key: returns the keys of a batch; no two rows of all batches may have the same. It is given the number of rows
            before the batch.
        folder: an existing directory for runs, of about the size of the batches; they are removed once they are read.
        tick: called now and then; what it raises ends the sort.

    Yields:
        Batches in the order of the keys.
    """
    sorter = _Sorter(folder, tick)
    rows = 0
    for batch in batches:
        sorter.add(batch, key(batch, rows))
        rows += batch.num_rows
    yield from sorter.merged()


@dataclass(slots=True)
class _Sorter:
    folder: Path
    tick: Callable[[], None]
    _pending: list[tuple[pa.RecordBatch, Keys]] = field(default_factory=list)
    _bytes: int = 0
    _runs: list[Spool] = field(default_factory=list)
    _made: int = 0

    def add(self, batch: pa.RecordBatch, keys: Keys) -> None:
        if self._pending and self._bytes + batch.nbytes > RUN_BYTES:
            self._runs.append(self._store(self._sorted()))
        self._pending.append((batch, keys))
        self._bytes += batch.nbytes
        self.tick()

    def merged(self) -> Iterator[pa.RecordBatch]:
        if not self._runs:
            for batch, _ in self._sorted():
                yield batch
            return
        self._runs.append(self._store(self._sorted()))
        while len(self._runs) > MOST_RUNS:
            some, self._runs = self._runs[:MOST_RUNS], self._runs[MOST_RUNS:]
            self._runs.append(self._store(_merge([_Run(run.read()) for run in some], self.tick)))
        for batch, _ in _merge([_Run(run.read()) for run in self._runs], self.tick):
            yield batch

    def _sorted(self) -> Iterator[tuple[pa.RecordBatch, Keys]]:
        """The pending rows in order, in pieces."""
        if not self._pending:
            return
        found = _in_order(self._pending)
        self._pending, self._bytes = [], 0
        yield from _pieces(*found)

    def _store(self, pieces: Iterable[tuple[pa.RecordBatch, Keys]]) -> Spool:
        self._made += 1
        run: Spool | None = None
        for batch, keys in pieces:
            run = run or Spool(self.folder / f"run{self._made}", batch.schema.append(_KEY))
            run.write(pa.record_batch([*batch.columns, pa.array(keys)], schema=run.schema))
        if run is None:
            raise RuntimeError("a run has no rows")
        run.close()
        return run


_KEY = pa.field("", pa.uint64())


@dataclass(slots=True)
class _Run:
    """What is read of one run and was not given away yet. keys: ascending; empty when the run has ended."""

    pieces: Iterator[pa.RecordBatch]
    batch: pa.RecordBatch | None = None
    keys: Keys = field(default_factory=lambda: np.empty(0, np.uint64))

    def fill(self) -> bool:
        """Read on where nothing is left; whether there is anything."""
        while not len(self.keys) and (found := next(self.pieces, None)) is not None:
            self.keys = found.column(found.num_columns - 1).to_numpy()
            self.batch = found.remove_column(found.num_columns - 1)
        return len(self.keys) > 0

    def take(self, limit: np.uint64) -> tuple[pa.RecordBatch, Keys]:
        """The rows with keys up to the limit."""
        if self.batch is None:
            raise RuntimeError("nothing was read")
        stop = int(np.searchsorted(self.keys, limit, side="right"))
        found = self.batch.slice(0, stop), self.keys[:stop]
        self.batch, self.keys = self.batch.slice(stop), self.keys[stop:]
        return found


def _merge(runs: Sequence[_Run], tick: Callable[[], None]) -> Iterator[tuple[pa.RecordBatch, Keys]]:
    """The rows of sorted runs in one order. What is up to the smallest last key of all runs is complete."""
    while left := [run for run in runs if run.fill()]:
        limit = min(run.keys[-1] for run in left)
        found = [run.take(limit) for run in left if run.keys[0] <= limit]
        tick()
        yield from _pieces(*_in_order(found))


def _in_order(parts: Sequence[tuple[pa.RecordBatch, Keys]]) -> tuple[pa.RecordBatch, Keys]:
    batch = parts[0][0] if len(parts) == 1 else pa.concat_batches([batch for batch, _ in parts])
    keys = np.concatenate([keys for _, keys in parts])
    order = np.argsort(keys)
    return batch.take(pa.array(order)), keys[order]


def _pieces(batch: pa.RecordBatch, keys: Keys) -> Iterator[tuple[pa.RecordBatch, Keys]]:
    rows = max(1, batch.num_rows * PIECE_BYTES // max(batch.nbytes, 1))
    for start in range(0, batch.num_rows, rows):
        yield batch.slice(start, rows), keys[start : start + rows]
