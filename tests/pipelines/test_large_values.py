"""A value that does not fit into memory is a limit that was reached, not damage."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import geopandas
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import shapely

from app.settings import MiB

_READ = """
import resource, sys
from pathlib import Path
from app.errors import RunRefused
from tests.pipelines.conftest import Bench
from tests.pipelines.tables import ingest

path, fmt, room = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
root = path.parent / "bench"
root.mkdir()
bench = Bench(root)
def read(name, body):
    return bench.one(bench.write(name, body), fmt) if fmt == "GeoParquet" else ingest(bench, body, fmt, name=name)

read("small", path.with_name("small").read_bytes())  # what is imported at the first use
held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (held + room, held + room))
try:
    read("large", path.read_bytes())
except MemoryError:
    print("memory")
except RunRefused as err:
    print(err.reason)
else:
    print("read")
"""


@pytest.mark.parametrize("fmt", ["Parquet", "GeoParquet"])
def test_a_value_too_large_for_memory(tmp_path: Path, fmt: str) -> None:
    for name, size in (("small", 1), ("large", 150 * MiB)):
        table = pa.table({"text": pa.array(["x" * size])})
        if fmt == "GeoParquet":
            geopandas.GeoDataFrame(geometry=[shapely.Point(9, 48)], crs=4326).to_parquet(tmp_path / name)
            table = pq.read_table(tmp_path / name).append_column("text", table["text"])
        pq.write_table(table, tmp_path / name, compression="zstd", use_dictionary=False, write_statistics=False)
    assert (tmp_path / "large").stat().st_size < MiB
    command = [sys.executable, "-c", _READ, str(tmp_path / "large"), fmt, str(100 * MiB)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=Path(__file__).parents[2])
    assert done.stdout.split()[-1:] == ["memory"], done.stderr
