"""What every object store promises of writing."""

from __future__ import annotations

import asyncio
import hashlib
import random
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import pytest

from app.errors import (
    BodyTooLarge,
    ObjectExists,
    RunCanceled,
)
from app.models.manifests.manifest import LAKE_BUCKET as LAKE
from app.models.manifests.manifest import LANDING_BUCKET as LANDING
from app.objects import ObjectInfo, ObjectStore
from tests.contract.stores import Backend, MiB, content, files_below, keys, stream

pytestmark = pytest.mark.anyio


class TestPut:
    async def test_reads_back_with_hash(self, store: ObjectStore) -> None:
        info = await store.put(LANDING, "a/b.bin", stream(b"one ", b"", b"two"))
        assert (info.key, info.size, info.sha256) == ("a/b.bin", 7, hashlib.sha256(b"one two").hexdigest())
        assert await content(store, "a/b.bin") == b"one two"
        assert await store.stat(LANDING, "a/b.bin") in (
            info,
            ObjectInfo(info.key, 7, info.etag, info.modified_at, None),
        )

    async def test_empty_object(self, store: ObjectStore) -> None:
        assert (await store.put(LANDING, "empty", stream())).size == 0
        assert await content(store, "empty") == b""

    async def test_etag_follows_content(self, store: ObjectStore) -> None:
        first = await store.put(LANDING, "k", stream(b"same length 1"))
        second = await store.put(LANDING, "k", stream(b"same length 2"))
        stat = await store.stat(LANDING, "k")
        assert stat is not None
        assert first.etag != second.etag == stat.etag

    async def test_buckets_are_apart(self, store: ObjectStore) -> None:
        await store.put(LANDING, "k", stream(b"landing"))
        await store.put(LAKE, "k", stream(b"lake"))
        assert (await content(store, "k"), await content(store, "k", bucket=LAKE)) == (b"landing", b"lake")

    async def test_create_only_keeps_what_is_there(self, store: ObjectStore) -> None:
        await store.put(LANDING, "k", stream(b"first"), create_only=True)
        with pytest.raises(ObjectExists):
            await store.put(LANDING, "k", stream(b"second"), create_only=True)
        assert await content(store, "k") == b"first"

    async def test_of_fifty_create_only_puts_one_wins(self, store: ObjectStore, backend: Backend) -> None:
        if not backend.strict:
            pytest.skip("moto looks and writes in two steps")
        won: list[bytes] = []
        lost: list[int] = []

        async def compete(number: int) -> None:
            body = str(number).encode() * 1000
            try:
                await store.put(LANDING, "new/folder/one", stream(body[:10], body[10:]), create_only=True)
                won.append(body)
            except ObjectExists:
                lost.append(number)

        async with anyio.create_task_group() as tasks:
            for number in range(50):
                tasks.start_soon(compete, number)
        assert (len(won), len(lost)) == (1, 49)
        assert await content(store, "new/folder/one") == won[0]

    async def test_max_bytes(self, store: ObjectStore) -> None:
        await store.put(LANDING, "exact", stream(b"x" * 10), max_bytes=10)
        with pytest.raises(BodyTooLarge) as refused:
            await store.put(LANDING, "over", stream(b"x" * 10, b"x"), max_bytes=10)
        assert "'over'" in refused.value.detail
        assert "10" in refused.value.detail
        assert await keys(store) == ["exact"]

    async def test_too_large_keeps_the_old_object(self, store: ObjectStore) -> None:
        await store.put(LANDING, "k", stream(b"old"))
        with pytest.raises(BodyTooLarge):
            await store.put(LANDING, "k", stream(b"newer"), max_bytes=4)
        assert await content(store, "k") == b"old"

    async def test_body_that_fails_leaves_nothing(self, store: ObjectStore, tmp_path: Path) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield b"x" * 3 * MiB
            raise ConnectionResetError("the client went away")

        with pytest.raises(ConnectionResetError):
            await store.put(LANDING, "a/k", broken())
        assert await store.stat(LANDING, "a/k") is None
        assert files_below(tmp_path) == []

    @pytest.mark.parametrize("seconds", [0.0, 0.001, 0.01, 0.05])
    async def test_cancelled_upload_leaves_nothing(self, store: ObjectStore, tmp_path: Path, seconds: float) -> None:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * MiB

        with anyio.move_on_after(seconds) as scope:
            await store.put(LANDING, "a/k", endless())
        assert scope.cancelled_caught
        assert await store.stat(LANDING, "a/k") is None
        assert files_below(tmp_path) == []

    async def test_task_cancelled_by_asyncio_leaves_nothing(self, store: ObjectStore, tmp_path: Path) -> None:
        async def endless() -> AsyncIterator[bytes]:
            while True:
                yield b"x" * MiB

        for turns in range(0, 60, 3):
            task = asyncio.create_task(store.put(LANDING, "a/k", endless()))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert await store.stat(LANDING, "a/k") is None
        assert files_below(tmp_path) == []

    async def test_stream_of_64_mib_stays_in_little_memory(
        self, store: ObjectStore, backend: Backend, tmp_path: Path
    ) -> None:
        async def body() -> AsyncIterator[bytes]:
            for number in range(1024):
                yield number.to_bytes(2, "big") * 32768

        await store.put(LANDING, "warm", stream(b"x"))
        tracemalloc.start()
        try:
            await store.put(LANDING, "big", body())
            await store.fetch(LANDING, "big", tmp_path / "copy")
            async for chunk in store.read(LANDING, "big"):
                assert len(chunk) <= 8 * MiB
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < backend.memory
        assert (tmp_path / "copy").stat().st_size == 64 * MiB


class TestFiles:
    async def test_put_file_and_fetch(self, store: ObjectStore, tmp_path: Path) -> None:
        data = random.Random(7).randbytes(3 * MiB + 17)  # noqa: S311 # test data
        (tmp_path / "source").write_bytes(data)
        put = await store.put_file(LAKE, "d/v1/data.parquet", tmp_path / "source")
        fetched = await store.fetch(LAKE, "d/v1/data.parquet", tmp_path / "target")
        assert put.sha256 == fetched.sha256 == hashlib.sha256(data).hexdigest()
        assert (put.etag, put.size) == (fetched.etag, len(data))
        assert (tmp_path / "target").read_bytes() == data == (tmp_path / "source").read_bytes()

    async def test_put_file_create_only(self, store: ObjectStore, tmp_path: Path) -> None:
        (tmp_path / "source").write_bytes(b"new")
        await store.put(LAKE, "k", stream(b"old"))
        with pytest.raises(ObjectExists):
            await store.put_file(LAKE, "k", tmp_path / "source", create_only=True)
        assert await content(store, "k", bucket=LAKE) == b"old"

    async def test_fetch_over_max_bytes_writes_nothing(self, store: ObjectStore, tmp_path: Path) -> None:
        await store.put(LANDING, "k", stream(b"12345"))
        with pytest.raises(BodyTooLarge):
            await store.fetch(LANDING, "k", tmp_path / "target", max_bytes=4)
        assert not (tmp_path / "target").exists()
        assert (await store.fetch(LANDING, "k", tmp_path / "target", max_bytes=5)).size == 5

    @pytest.mark.parametrize("create_only", [False, True])
    async def test_of_several_parts(self, store: ObjectStore, tmp_path: Path, create_only: bool) -> None:
        data = random.Random(8).randbytes(12 * MiB + 1)  # noqa: S311 # test data
        digest = hashlib.sha256(data).hexdigest()
        (tmp_path / "source").write_bytes(data)
        put = await store.put_file(LAKE, "file", tmp_path / "source", create_only=create_only)
        streamed = await store.put(LAKE, "stream", stream(data[:7], data[7:]), create_only=create_only)
        assert (put.sha256, streamed.sha256 or digest) == (digest, digest)
        for key, info in (("file", put), ("stream", streamed)):
            fetched = await store.fetch(LAKE, key, tmp_path / key)
            assert (fetched.sha256, fetched.size, fetched.etag) == (digest, len(data), info.etag)
            assert (tmp_path / key).read_bytes() == data
        if create_only:
            with pytest.raises(ObjectExists):
                await store.put_file(LAKE, "file", tmp_path / "source", create_only=True)
            with pytest.raises(ObjectExists):
                await store.put(LAKE, "stream", stream(data, data), create_only=True)
            assert await content(store, "stream", 12 * MiB, bucket=LAKE) == data[12 * MiB :]

    async def test_progress_grows_to_the_size(self, store: ObjectStore, tmp_path: Path) -> None:
        (tmp_path / "source").write_bytes(b"x" * (11 * MiB))
        up: list[int] = []
        down: list[int] = []
        await store.put_file(LAKE, "k", tmp_path / "source", progress=up.append)
        await store.fetch(LAKE, "k", tmp_path / "target", progress=down.append)
        for told in (up, down):
            assert told == sorted(told)
            assert told[-1] == 11 * MiB

    async def test_what_progress_raises_ends_the_transfer(self, store: ObjectStore, tmp_path: Path) -> None:
        def stop(bytes_done: int) -> None:
            raise RunCanceled(f"after {bytes_done} bytes")

        (tmp_path / "source").write_bytes(b"x" * (64 * MiB))
        with pytest.raises(RunCanceled):
            await store.put_file(LAKE, "k", tmp_path / "source", progress=stop)
        assert await store.stat(LAKE, "k") is None
        await store.put_file(LAKE, "k", tmp_path / "source")
        with pytest.raises(RunCanceled):
            await store.fetch(LAKE, "k", tmp_path / "target", progress=stop)
        assert not (tmp_path / "target").exists()
