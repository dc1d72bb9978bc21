"""A run that is over for this attempt ends in the middle of its transfers, not after them."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal

from app.clients import Clients, open_clients
from app.errors import DomainError, RunCanceled, StaleAttempt, TimeLimitExceeded
from app.ledger import Guard
from app.models.manifests.manifest import LAKE_BUCKET, Manifest
from app.models.runs.run import RunStatus
from app.pipelines.job import attempt as attempts
from app.pipelines.job.attempt import Attempt
from app.settings import MiB, Settings
from tests.contract.ledgers import put_running
from tests.service import manifest


@pytest.fixture
def portal() -> Iterator[BlockingPortal]:
    with start_blocking_portal() as started:
        yield started


@pytest.fixture
def clients(portal: BlockingPortal, tmp_path: Path) -> Iterator[Clients]:
    with portal.wrap_async_context_manager(open_clients(Settings(data_dir=tmp_path))) as opened:
        portal.call(opened.ledger.migrate)
        yield opened


@pytest.mark.parametrize(
    ("changes", "error"), [({"status": RunStatus.CANCELING}, RunCanceled), ({"attempt": 2}, StaleAttempt)]
)
def test_upload_of_a_run_that_is_over(
    portal: BlockingPortal,
    clients: Clients,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    changes: dict[str, Any],
    error: type[DomainError],
) -> None:
    monkeypatch.setattr(attempts, "_CHECK_EVERY", 0)
    run = portal.call(put_running, clients.ledger)

    async def change() -> None:
        assert await clients.ledger.change_run(run.run_id, Guard(frozenset({RunStatus.RUNNING})), **changes)

    path = tmp_path / "product"
    with path.open("wb") as file:
        file.truncate(128 * MiB)
    document = Manifest.model_validate(manifest("b", ("k.gpkg", "GPKG")))
    parts: dict[str, Any] = {"limits": Settings().limits, "threads": 1, "memory_bytes": 1, "job_id": run.run_id}
    parts["scratch_limit"] = 1024 * MiB
    attempt = Attempt(run=run, manifest=document, clients=clients, call=portal.call, scratch=tmp_path, **parts)
    attempt._upload(path, "d/v1/whole", 128 * MiB)
    portal.call(change)
    with pytest.raises(error):
        attempt._upload(path, "d/v1/k", 128 * MiB)
    assert portal.call(clients.objects.stat, LAKE_BUCKET, "d/v1/k") is None


def test_an_alarm_waits_until_the_commit_is_over(portal: BlockingPortal) -> None:
    """Also beside other threads, which have the signal unblocked and may be the ones that receive it."""

    def time_limit(_number: int, _frame: Any) -> None:
        raise TimeLimitExceeded("too long")

    async def commit() -> str:
        # To the process, as setitimer does: the event loop's thread is one of those that may receive it.
        for _ in range(20):
            os.kill(os.getpid(), signal.SIGALRM)
            await asyncio.sleep(0.01)
        return "committed"

    before = signal.signal(signal.SIGALRM, time_limit)
    committed = None
    try:
        with pytest.raises(TimeLimitExceeded), attempts._time_limit_held_back():
            committed = portal.call(commit)
        assert committed == "committed"
        assert signal.getsignal(signal.SIGALRM) is time_limit
        with attempts._time_limit_held_back():
            pass
    finally:
        signal.signal(signal.SIGALRM, before)
