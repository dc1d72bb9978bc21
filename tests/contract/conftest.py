"""Fixtures of the contract suites: every test runs once for each backend."""

from __future__ import annotations

import multiprocessing
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from app.ledger import Ledger
from app.objects import ObjectStore
from tests.contract.ledgers import BACKENDS, in_process
from tests.contract.stores import STORES, Backend

CROWD = 4


@pytest.fixture(params=STORES)
def backend(request: pytest.FixtureRequest) -> Backend:
    return STORES[request.param]


@pytest.fixture
async def store(backend: Backend, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    async with backend.open(tmp_path) as opened:
        yield opened


@pytest.fixture(params=sorted(BACKENDS))
def ledger_backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
async def _ledger_url(request: pytest.FixtureRequest, ledger_backend: str, tmp_path: Path) -> AsyncIterator[str]:
    async with BACKENDS[ledger_backend].fresh(tmp_path, "ledger_url" in request.fixturenames) as url:
        yield url


@pytest.fixture
def empty_ledger_url(_ledger_url: str) -> str:
    """A ledger that nobody has migrated yet."""
    return _ledger_url


@pytest.fixture
def ledger_url(_ledger_url: str) -> str:
    """A migrated ledger without entries."""
    return _ledger_url


@pytest.fixture
async def ledger(ledger_backend: str, ledger_url: str) -> AsyncIterator[Ledger]:
    async with BACKENDS[ledger_backend].open(ledger_url) as opened:
        yield opened


@pytest.fixture(scope="session")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(CROWD, mp_context=multiprocessing.get_context("spawn")) as pool:
        yield pool


Crowd = Callable[..., Awaitable[list[list[Any]]]]


@pytest.fixture
def crowd(processes: ProcessPoolExecutor, ledger_backend: str, _ledger_url: str, tmp_path: Path) -> Crowd:
    """Run a work of `ledgers.WORK` in several real processes at once; what each of them returned."""
    gates = iter(range(100))

    async def run(work: str, *names: str) -> list[list[Any]]:
        gate = tmp_path / f"gate-{next(gates)}"
        gate.mkdir()
        jobs = [
            processes.submit(in_process, ledger_backend, _ledger_url, gate, CROWD, work, names) for _ in range(CROWD)
        ]
        return await anyio.to_thread.run_sync(lambda: [job.result(timeout=120) for job in jobs])

    return run
