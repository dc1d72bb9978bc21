"""What a directory promises besides."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import anyio
import pytest

from app.errors import (
    DomainError,
    InvalidKey,
    NotFound,
    ObjectExists,
    StoreUnavailable,
)
from app.models.manifests.manifest import LANDING_BUCKET as LANDING
from app.storage.local import files as local_files
from app.storage.local.store import LocalObjectStore
from tests.contract.stores import REPOSITORY, MiB, content, files_below, fill, keys, stream

pytestmark = pytest.mark.anyio


class TestLocalOnly:
    """What a directory adds: files copied by hand, symbolic links, full disks, writers that died."""

    @pytest.fixture
    def root(self, tmp_path: Path) -> Path:
        return tmp_path / "objects"

    @pytest.fixture
    def local(self, root: Path) -> LocalObjectStore:
        return LocalObjectStore(root)

    async def test_files_copied_by_hand(self, local: LocalObjectStore, root: Path, tmp_path: Path) -> None:
        await local.ping()
        (root / LANDING / "by hand").mkdir()
        (root / LANDING / "by hand/x.csv").write_bytes(b"1,2")
        assert await keys(local) == ["by hand/x.csv"]
        info = await local.stat(LANDING, "by hand/x.csv")
        assert info is not None
        assert (info.size, info.sha256) == (3, None)
        fetched = await local.fetch(LANDING, "by hand/x.csv", tmp_path / "target")
        assert (fetched.sha256, fetched.etag) == (hashlib.sha256(b"1,2").hexdigest(), info.etag)

    async def test_edit_by_hand_makes_the_remembered_hash_void(self, local: LocalObjectStore, root: Path) -> None:
        before = await local.put(LANDING, "k", stream(b"old"))
        path = root / LANDING / "k"
        path.write_bytes(b"new")
        os.utime(path, ns=(0, 1))
        after = await local.stat(LANDING, "k")
        assert after is not None
        assert after.sha256 is None
        assert after.etag != before.etag

    async def test_without_extended_attributes(self, local: LocalObjectStore, monkeypatch: pytest.MonkeyPatch) -> None:
        def refuse(*_: object) -> None:
            raise OSError(errno.EOPNOTSUPP, "no attributes here")

        monkeypatch.setattr(os, "setxattr", refuse)
        first = await local.put(LANDING, "k", stream(b"1"))
        assert first.sha256 == hashlib.sha256(b"1").hexdigest()
        stat = await local.stat(LANDING, "k")
        assert stat is not None
        assert (stat.etag, stat.sha256) == (first.etag, None)
        assert (await local.put(LANDING, "k", stream(b"2"))).etag != first.etag

    async def test_symbolic_links_are_not_objects(self, local: LocalObjectStore, root: Path, tmp_path: Path) -> None:
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "secret").write_bytes(b"secret")
        await fill(local, ["real"])
        bucket = root / LANDING
        (bucket / "folder").symlink_to(outside)
        (bucket / "file").symlink_to(outside / "secret")
        (bucket / "inside").symlink_to(bucket / "real")
        os.mkfifo(bucket / "fifo")
        assert await keys(local) == ["real"]
        assert await keys(local, "folder/") == []
        for key in ("folder/secret", "file", "inside", "fifo"):
            assert await local.stat(LANDING, key) is None
            assert await local.delete(LANDING, key) is False
            with pytest.raises(NotFound):
                await content(local, key)
            for create_only in (False, True):
                with pytest.raises(InvalidKey):
                    await local.put(LANDING, key, stream(b"x"), create_only=create_only)
        with pytest.raises(InvalidKey):
            await local.put(LANDING, "folder/new", stream(b"x"))
        assert files_below(outside) == ["secret"]
        assert (outside / "secret").read_bytes() == b"secret"

    async def test_names_that_are_no_keys_are_not_listed(self, local: LocalObjectStore, root: Path) -> None:
        await fill(local, ["good"])
        for name in (b"latin-\xe4", b"back\\slash", b"new\nline"):
            (root / LANDING / os.fsdecode(name)).write_bytes(b"x")
        assert await keys(local) == ["good"]

    async def test_uploads_on_their_way_are_never_seen(self, local: LocalObjectStore, root: Path) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield b"x" * 2 * MiB
            yield b"x" * 2 * MiB
            assert await keys(local) == []
            assert files_below(root)[0].startswith(f".{LANDING}.partial/")

        await local.put(LANDING, "k", body())
        assert files_below(root) == [f"{LANDING}/k"]

    async def test_full_disk(self, local: LocalObjectStore, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def full(*_: object) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        await fill(local, ["old"])
        monkeypatch.setattr(os, "fsync", full)  # a small write meets the full disk here
        with pytest.raises(StoreUnavailable) as refused:
            await local.put(LANDING, "old", stream(b"new"))
        assert "disk is full" in refused.value.fix
        assert files_below(root) == [f"{LANDING}/old"]
        assert await content(local, "old") == b"old"

    async def test_root_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_bytes(b"")
        local = LocalObjectStore(tmp_path / "file")
        for call in (local.ping, lambda: local.put(LANDING, "k", stream(b"x"))):
            with pytest.raises(DomainError) as refused:
                await call()
            assert refused.value.fix

    async def test_uploads_of_dead_writers_are_removed(self, local: LocalObjectStore, root: Path) -> None:
        await local.ping()
        dead = root / f".{LANDING}.partial" / "dead"
        dead.write_bytes(b"x")
        assert await local.remove_stale_uploads(3600) == 0

        async def body() -> AsyncIterator[bytes]:
            yield b"x"
            for path in dead.parent.iterdir():
                os.utime(path, (0, 0))
            assert await local.remove_stale_uploads(3600) == 1
            yield b"y"

        await local.put(LANDING, "k", body())
        assert not dead.exists()
        assert await content(local, "k") == b"xy"

    @pytest.mark.parametrize(("mode", "more"), [("ab", b"more"), ("r+b", b"more"), ("wb", b"")])
    async def test_change_during_fetch(
        self,
        local: LocalObjectStore,
        root: Path,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        mode: str,
        more: bytes,
    ) -> None:
        info = await local.put(LANDING, "k", stream(b"x" * 100))
        copy = local_files.copy_chunk

        def meddle(source: BinaryIO, target: local_files.HashedFile) -> bool:
            with (root / LANDING / "k").open(mode) as file:
                file.write(more)
            os.utime(root / LANDING / "k", (0, info.modified_at.timestamp() + 1))
            return copy(source, target)

        monkeypatch.setattr("app.storage.local.store.copy_chunk", meddle)
        with pytest.raises(StoreUnavailable, match="changed while it was read"):
            await local.fetch(LANDING, "k", tmp_path / "target")
        assert not (tmp_path / "target").exists()

    async def test_the_file_system_decides_who_creates(
        self, local: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.storage.local.bucket_files.check_name", lambda *_, **__: None)
        await fill(local, ["k"])
        with pytest.raises(ObjectExists):
            await local.put(LANDING, "k", stream(b"second"), create_only=True)
        assert await content(local, "k") == b"k"

    def test_discarded_before_it_was_opened(self, tmp_path: Path) -> None:
        file = local_files.HashedFile(tmp_path / "file")
        file.discard()
        file.open()
        with pytest.raises(RuntimeError):
            file.write(b"x")
        assert files_below(tmp_path) == []

    async def test_many_processes_create_one(self, root: Path) -> None:
        code = (
            "import sys, anyio\nfrom pathlib import Path\nfrom app.errors import ObjectExists\n"
            "from app.storage.local.store import LocalObjectStore\n"
            "async def body():\n    yield sys.argv[2].encode() * 100000\n"
            "async def main():\n    try:\n"
            "        await LocalObjectStore(Path(sys.argv[1])).put('data-lake', 'd/v1/x', body(), create_only=True)\n"
            "        print('won')\n    except ObjectExists:\n        print('lost')\nanyio.run(main)\n"
        )
        outcomes: list[bytes] = []

        async def run(number: int) -> None:
            done = await anyio.run_process([sys.executable, "-c", code, str(root), str(number)], cwd=REPOSITORY)
            outcomes.append(done.stdout.strip())

        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(run, number)
        assert sorted(outcomes) == [b"lost", b"lost", b"lost", b"won"]
