"""DuckDB's extension for spatial data in a process of its own: its GDAL shares none with that of the campaign."""

from __future__ import annotations

import atexit
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from pathlib import Path

import duckdb
import duckdb_ext


def read_layer(path: str) -> bytes:
    """The first layer of a file as an Arrow stream, geometries as WKB."""
    with duckdb_ext.init(duckdb.connect(config={"autoload_known_extensions": False})) as opened:
        opened.execute("LOAD spatial")
        table = opened.execute("SELECT * FROM ST_Read(?, keep_wkb=true)", [path]).fetch_arrow_table()
    import pyarrow as pa

    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)
    found: bytes = sink.getvalue().to_pybytes()
    return found


def read_apart(path: Path | str) -> bytes:
    """`read_layer` in the other process. Raises BrokenProcessPool when it ends that process."""
    try:
        return _process().submit(read_layer, str(path)).result()
    except BaseException:
        _process().shutdown(wait=False)
        _process.cache_clear()
        raise


@cache
def _process() -> ProcessPoolExecutor:
    made = ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn"))
    atexit.register(made.shutdown, wait=False)
    return made
