"""One real service for all tests that leave it as they found it; tests that break one start their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.servers import forbid_servers
from tests.service import Service, running_service

# The same examples in every run: what a run finds, the next one finds again.
settings.register_profile("repeatable", derandomize=True, database=None)
settings.load_profile("repeatable")


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--no-servers", action="store_true", help="start no servers: skip the tests that need one")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("no_servers"):
        forbid_servers("--no-servers: it needs a server (`make test` runs it)")


# Their tests mostly wait: for leases, restarts, servers.
WAITING = frozenset(("crash", "e2e", "faults", "hostile", "openapi"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that wait come first: one process of xdist begins with them while the others compute.

    Whoever is done then takes from the end of what is left, so that the cores are never idle because all wait.
    """
    here = Path(__file__).parent
    items.sort(key=lambda item: item.path.relative_to(here).parts[0] not in WAITING)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("service") / "data") as started:
        yield started


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"
