"""A large folder is read once for all pages of its listing, and the landing scan reads nothing twice."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from app.clients import Clients, open_clients
from app.errors import StoreUnavailable
from app.models.intents import LANES
from app.models.manifests.manifest import LANDING_BUCKET
from app.services.intake.dropped_manifests import IntakeConfig
from app.services.intake.landing_scan import LandingScanner
from app.settings import Settings
from app.storage.local import bucket_files
from app.storage.local.store import LocalObjectStore

pytestmark = pytest.mark.anyio

NAMES = 2500


@pytest.fixture
async def clients(tmp_path: Path) -> AsyncIterator[Clients]:
    async with open_clients(Settings(data_dir=tmp_path)) as opened:
        await opened.ledger.migrate()
        yield opened


def filled(folder: Path, suffix: str, count: int = NAMES) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        (folder / f"{n:05d}{suffix}").touch()
    settle(folder)
    return folder


def settle(folder: Path) -> None:
    """As if it had been written a minute ago."""
    os.utime(folder, (time.time() - 60,) * 2)


class Counted:
    """Counts the calls of a function."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        self.calls = 0
        original = getattr(owner, name)

        def counting(*args: Any, **options: Any) -> Any:
            self.calls += 1
            return original(*args, **options)

        monkeypatch.setattr(owner, name, counting)


async def listed(store: LocalObjectStore, prefix: str = "", limit: int = 100) -> list[str]:
    found, after = [], ""
    while True:
        page = await store.list_objects(LANDING_BUCKET, prefix, after, limit)
        found += [info.key for info in page.objects]
        if page.next_after is None:
            return found
        after = page.next_after


async def test_pages_of_a_large_folder_read_it_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = filled(tmp_path / LANDING_BUCKET / "big", ".bin")
    store = LocalObjectStore(tmp_path)
    scans = Counted(monkeypatch, bucket_files.os, "scandir")
    checks = Counted(monkeypatch, bucket_files, "check_key")
    wanted = [f"big/{n:05d}.bin" for n in range(NAMES)]
    assert await listed(store) == wanted
    assert scans.calls <= 2 + NAMES / 100, "the small folder above it with every page, the large one once"
    assert checks.calls < 5 * NAMES
    (folder / "new.bin").touch()
    assert (await listed(store))[-1] == "big/new.bin"
    settle(folder)
    assert len(await listed(store, "big/0100", 3)) == 10
    (folder / "00000.bin").unlink()
    assert (await listed(store))[0] == "big/00001.bin"


async def test_other_files_below_manifests_are_not_opened(
    clients: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await clients.objects.ping()
    filled(tmp_path / "objects" / LANDING_BUCKET / "manifests", ".bin")
    scanner = LandingScanner(IntakeConfig(clients, frozenset(LANES), 1024), Clock())
    opened = Counted(monkeypatch, bucket_files.BucketFiles, "open")
    scans = Counted(monkeypatch, bucket_files.os, "scandir")
    for _ in range(3):
        assert await scanner.once() == ()
    assert (opened.calls, scans.calls) == (0, 1)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_unchanged_objects_are_read_once(
    clients: Clients, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await clients.objects.ping()
    folder = tmp_path / "objects" / LANDING_BUCKET / "manifests"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "half.json").write_bytes(b'{"batch_id": ')
    (folder / "large.json").write_bytes(b"x" * 2000)
    scanner = LandingScanner(IntakeConfig(clients, frozenset(LANES), 1024), clock := Clock())
    read: list[str] = []
    original = clients.objects.fetch

    async def fetch(bucket: str, key: str, *args: Any, **options: Any) -> Any:
        read.append(key)
        if key.endswith("locked.json"):
            raise StoreUnavailable("No right to read it.", "Give it.")
        return await original(bucket, key, *args, **options)

    monkeypatch.setattr(clients.objects, "fetch", fetch)
    (folder / "locked.json").write_bytes(b"{}")
    for _ in range(5):
        clock.now += 5
        await scanner.once()
    assert sorted(set(read)) == ["manifests/half.json", "manifests/large.json", "manifests/locked.json"]
    # The first scan sees them, and the second one is the first to read: they were young before.
    assert (read.count("manifests/half.json"), read.count("manifests/large.json")) == (1, 1)
    assert read.count("manifests/locked.json") <= 4
    (folder / "half.json").write_bytes(b'{"batch_id": 1')
    for _ in range(2):
        clock.now += 5
        await scanner.once()
    assert read.count("manifests/half.json") == 2
    for _ in range(60):
        clock.now += 5
        await scanner.once()
    assert read.count("manifests/locked.json") <= 10, "less and less often"
    assert read.count("manifests/large.json") == 1


async def test_a_slow_scan_pauses_longer(clients: Clients) -> None:
    class Slow(Clock):
        def __call__(self) -> float:
            self.now += 1.0
            return self.now

    scanner = LandingScanner(IntakeConfig(clients, frozenset(LANES), 1024), clock := Slow())
    listings = 0
    original = scanner._list

    async def listing() -> Any:
        nonlocal listings
        listings += 1
        clock.now += 20
        return await original()

    scanner._list = listing  # type: ignore[method-assign] # counted
    for _ in range(10):
        clock.now += 5
        await scanner.once()
    assert listings == 1, "20 s of scan are followed by three minutes without"
