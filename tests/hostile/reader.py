"""One file through its pipeline in a forked process with the limits and the sandbox of a job, and how that ended.

For a process that has imported the pipelines and not used them: GDAL and Arrow hang in a child that is forked later.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import select
import shutil
import signal
import time
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from app.errors import RunRefused
from app.jobs.sandbox import sandbox_reader
from app.jobs.seccomp import deny_ways_out
from app.pipelines.common import gdal
from app.pipelines.raster import gdal as raster_gdal
from app.pipelines.raster import pipeline as raster
from app.pipelines.tabular import pipeline as tabular
from app.pipelines.vector import pipeline as vector
from app.settings import Limits
from tests.pipelines.conftest import Bench

PIPELINES = {"vector": vector.run, "raster": raster.run, "tabular": tabular.run}
INTENTS = {"vector": "ingest_vector", "raster": "ingest_raster", "tabular": "ingest_tabular"}
MEMORY = 1 << 30
# A megabyte of small numbers can be a long row of work; far above what any sample needs.
SMALL = Limits(archive_bytes=64 << 20, pixels=100_000_000, rows=2_000_000)


@dataclass(frozen=True, slots=True)
class Ended:
    """how: `rows` (it was read), `refused`, or what must not be: `defect`, `crashed`, `hung`. what: the number of
    rows, the code of the refusal, the traceback, the signal."""

    how: Literal["rows", "refused", "defect", "crashed", "hung"]
    what: Any
    detail: str = ""
    seconds: float = 0.0


def read(files: Mapping[str, bytes], kind: str, fmt: str, more: Mapping[str, Any], root: Path, seconds: float) -> Ended:
    """`files`: by name; the first is the source. root: a directory that does not exist, and does not afterwards."""
    began = time.monotonic()
    taken, given = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(taken)
        with contextlib.suppress(BaseException):
            _answer(given, _carry(files, kind, fmt, more, root))
        os._exit(0)
    os.close(given)
    told = _told(taken, seconds)
    if told is None:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    shutil.rmtree(root, ignore_errors=True)
    took = time.monotonic() - began
    if told is None:
        return Ended("hung", seconds, seconds=took)
    if not told:
        return Ended("crashed", os.waitstatus_to_exitcode(status), seconds=took)
    found = json.loads(told)
    return Ended(found["how"], found["what"], found["detail"], took)


def _answer(to: int, ended: Ended) -> None:
    body = json.dumps({"how": ended.how, "what": ended.what, "detail": ended.detail}).encode()
    while body:
        body = body[os.write(to, body) :]


def _told(taken: int, seconds: float) -> bytes | None:
    """All that the child says until it ends; None when it takes longer."""
    told, until = b"", time.monotonic() + seconds
    with os.fdopen(taken, "rb", buffering=0) as stream:
        while True:
            ready, _, _ = select.select([stream], [], [], max(0.0, until - time.monotonic()))
            if not ready:
                return None
            block = stream.read(65_536)
            if not block:
                return told
            told += block


def _carry(files: Mapping[str, bytes], kind: str, fmt: str, more: Mapping[str, Any], root: Path) -> Ended:
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    root.mkdir()
    bench = Bench(root)
    for name, body in files.items():
        bench.write(name, body)
    entry = {"path": next(iter(files)), "type": kind, "format": fmt, **more}
    context = bench.context(entry, intent=INTENTS[kind], limits=SMALL)
    gdal.forget_other_drivers()
    raster_gdal.forget_other_drivers()
    sandbox_reader(root)
    deny_ways_out()
    try:
        PIPELINES[kind](context)
    except RunRefused as err:
        if str(root) in str(err) or not err.fix or not err.file:
            return Ended("defect", f"a refusal without file or fix, or with our path: {err} {err.file}")
        return Ended("refused", err.reason, str(err))
    except MemoryError:
        return Ended("refused", "memory_limit", "memory")
    except Exception:
        return Ended("defect", traceback.format_exc())
    assert context.product is not None
    counts = context.product.counts
    return Ended("rows", counts["rows_out"], json.dumps(dict(counts)))
