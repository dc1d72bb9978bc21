"""Workers that are told to stop, or cannot be started, at moments when they have no run."""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from app.serve.supervisor import _kept_alive
from app.settings import Settings
from tests.service import children, is_reader_server, wait_for


def test_a_worker_that_is_stopped_while_it_imports_stops_cleanly(tmp_path: Path) -> None:
    """The readers' modules take a second to import; Compose and `serve` may stop it in the middle of that."""
    command = [sys.executable, "-m", "app", "worker", "--data-dir", str(tmp_path)]
    worker = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    process = psutil.Process(worker.pid)
    (server,) = wait_for(lambda: [each for each in children(process) if is_reader_server(each)], "the reader server")
    wait_for(lambda: any("pyarrow" in each.path for each in server.memory_maps()), "the imports to have begun")
    worker.terminate()
    _, said = worker.communicate(timeout=30)
    assert worker.returncode == 0
    # It may have come so far that it waits for a queue; nothing else is to be said.
    assert all("the worker waits" in line for line in said.splitlines()), said
    wait_for(lambda: not server.is_running(), "the reader server to end with it")


@pytest.mark.anyio
async def test_a_child_that_cannot_be_started_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As when the system has no room for another process: a missing interpreter stands for it."""
    interpreter, sign = sys.executable, tmp_path / "sign"
    monkeypatch.setattr(sys, "executable", str(tmp_path / "missing"))
    with caplog.at_level(logging.WARNING, "app.serve.supervisor"):
        async with _kept_alive([["touch", str(sign)]], Settings(data_dir=tmp_path), "toucher"):
            async with asyncio.timeout(10):
                while "toucher could not be started" not in caplog.text:  # noqa: ASYNC110 # a log has no event
                    await asyncio.sleep(0.01)
                monkeypatch.setattr(sys, "executable", interpreter)
                while not sign.exists():  # noqa: ASYNC110 # nor has a file
                    await asyncio.sleep(0.01)
