"""Handing runs to the queue."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.clients import open_clients
from app.models.base import utcnow
from app.models.runs.run import Run
from app.runs.dispatch import dispatch_run
from app.settings import Settings

pytestmark = pytest.mark.anyio


async def test_a_ledger_that_fails_right_after_accepting_is_no_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(run_id="a" * 32, batch_id="b", job_name="j", lane="spatial", partition_key="d", created_at=utcnow())
    async with open_clients(Settings(data_dir=tmp_path)) as clients:  # a ledger without tables
        await dispatch_run(run, clients)
    (line,) = caplog.messages
    assert line.startswith(f"run {run.run_id} waits for the sweep: ")
    assert "no such table" in line
