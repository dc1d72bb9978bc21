"""Sorting by runs in scratch files: small runs here, so that several levels of them are merged."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from app.pipelines.vector.engines import external_sort
from app.pipelines.vector.engines.external_sort import Keys, Spool, sort_batches

KINDS = {
    "number": pa.int64(), "text": pa.string(), "list": pa.list_(pa.int8()),
    "category": pa.dictionary(pa.int8(), pa.string()), "bytes": pa.large_binary(),
    "when": pa.timestamp("ns", "Europe/Berlin"), "exact": pa.decimal128(38, 3),
    "struct": pa.struct([("a", pa.float32())]), "nothing": pa.null(),
}  # fmt: skip


def batches(rows: int, size: int) -> list[pa.RecordBatch]:
    rng = np.random.default_rng(rows)
    numbers = rng.integers(0, 50, rows).tolist()
    columns = {
        "number": [None if n == 7 else n for n in numbers],
        "text": [f"ä{n}" * (n % 5) for n in numbers],
        "list": [[n, None] if n % 3 else None for n in numbers],
        "category": [str(n % 4) for n in numbers],
        "bytes": [bytes(n) for n in numbers],
        "when": [n * 1_000_000_007 for n in numbers],
        "exact": list(numbers),
        "struct": [{"a": n / 2} for n in numbers],
        "nothing": [None] * rows,
    }
    table = pa.table({name: pa.array(columns[name], kind) for name, kind in KINDS.items()})
    return table.to_batches(max_chunksize=size)


@pytest.mark.parametrize(("rows", "size"), [(0, 10), (1, 10), (3_000, 7), (3_000, 1_000), (3_000, 3_000)])
@pytest.mark.parametrize("run_bytes", [1, 20_000, 1 << 30])
def test_the_rows_of_all_batches_in_the_order_of_their_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int, size: int, run_bytes: int
) -> None:
    monkeypatch.setattr(external_sort, "RUN_BYTES", run_bytes)
    monkeypatch.setattr(external_sort, "PIECE_BYTES", 3_000)
    monkeypatch.setattr(external_sort, "MOST_RUNS", 4)
    keys = np.random.default_rng(1).permutation(rows).astype(np.uint64) << np.uint64(40)
    if size == 7 and run_bytes == 1:
        rows, keys = 300, keys[:300]
    given = batches(rows, size)

    def key(batch: pa.RecordBatch, before: int) -> Keys:
        return keys[before : before + batch.num_rows]

    ticks: list[int] = []
    found = list(sort_batches(given, key, tmp_path, lambda: ticks.append(1)))
    assert sum(batch.num_rows for batch in found) == rows
    if rows:
        wanted = pa.Table.from_batches(given).take(pa.array(np.argsort(keys)))
        assert pa.Table.from_batches(found).combine_chunks().unify_dictionaries().to_pylist() == wanted.to_pylist()
        assert pa.Table.from_batches(found).schema == wanted.schema
        assert all(batch.nbytes < 20_000 or size > 100 for batch in found)
        assert len(ticks) >= len(given)
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_is_removed(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "a", pa.schema([("n", pa.int64())]))
    assert list(spool.read()) == []
    for n in range(3):
        spool.write(pa.record_batch([pa.array([n], pa.int64())], schema=spool.schema))
    assert [batch.column(0).to_pylist() for batch in spool.read()] == [[0], [1], [2]]
    assert list(tmp_path.iterdir()) == []
