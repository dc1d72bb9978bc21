"""What every object store promises. A new store joins by one row in STORES."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import os
import random
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import anyio
import httpx
import pytest

from app.errors import (
    BodyTooLarge,
    DomainError,
    InvalidKey,
    NotFound,
    ObjectExists,
    RangeNotSatisfiable,
    RunCanceled,
    StoreUnavailable,
)
from app.models.base import utcnow
from app.models.manifest import LAKE_BUCKET as LAKE
from app.models.manifest import LANDING_BUCKET as LANDING
from app.objects import ObjectInfo, ObjectStore
from app.storage import local_files
from app.storage.objects_local import LocalObjectStore
from tests.servers import s3

pytestmark = pytest.mark.anyio

REPOSITORY = Path(__file__).parents[2]
MiB = 1024 * 1024
ODD_KEYS = (
    "über/Größe - 東京.gpkg",
    "a b/c  d.txt",
    "100%/%2e%2e/50%20off+x&y=z?#.csv",
    "~",
    "a'b\"c`$(d);e",
    ".hidden/.x",
    "🗺",
)
HOSTILE_KEYS = (
    "",
    "/",
    "/etc/passwd",
    "..",
    "a/../b",
    "../../x",
    "a//b",
    "a/",
    "./a",
    "a\\b",
    "a\0b",
    "a\nb",
    "\ud800",
    "x" * 256,
)


@dataclass(frozen=True)
class Backend:
    """folders: a key cannot be an object and a folder of other objects at once. memory: bytes of a large transfer.

    urls: it has presigned URLs. strict: it refuses what they do not allow, and lets one of several creators win (moto
    lets anybody do anything, and looks and writes in two steps).
    """

    open: Callable[[Path], AbstractAsyncContextManager[ObjectStore]]
    folders: bool
    memory: int
    urls: bool
    strict: bool = True


@asynccontextmanager
async def open_local(folder: Path) -> AsyncIterator[ObjectStore]:
    yield LocalObjectStore(folder / "objects")


def open_s3(name: str) -> Callable[[Path], AbstractAsyncContextManager[ObjectStore]]:
    return lambda _: s3.fresh_store(s3.server(name).settings())


STORES = {
    "local": Backend(open_local, folders=True, memory=16 * MiB, urls=False),
    # The parts under way, the one that fills meanwhile, and what the client needs.
    **{
        name: Backend(open_s3(name), folders=False, memory=32 * MiB, urls=True, strict=name != "moto")
        for name in s3.SERVERS
    },
}


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(params=STORES)
def backend(request: pytest.FixtureRequest) -> Backend:
    return STORES[request.param]


@pytest.fixture
async def store(backend: Backend, tmp_path: Path) -> AsyncIterator[ObjectStore]:
    async with backend.open(tmp_path) as opened:
        yield opened


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def content(store: ObjectStore, key: str, start: int = 0, end: int | None = None, bucket: str = LANDING) -> bytes:
    return b"".join([chunk async for chunk in store.read(bucket, key, start=start, end=end)])


async def fill(store: ObjectStore, keys: Iterable[str]) -> None:
    for key in keys:
        await store.put(LANDING, key, stream(key.encode()))


async def keys(store: ObjectStore, prefix: str = "", after: str = "", limit: int = 1000) -> list[str]:
    return [info.key for info in (await store.list_objects(LANDING, prefix, after, limit)).objects]


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


class TestRead:
    @pytest.mark.parametrize(("start", "end"), [(0, None), (0, 4), (3, 4), (9, None), (2, 1000), (4, 4), (0, 0)])
    async def test_ranges(self, store: ObjectStore, start: int, end: int | None) -> None:
        await store.put(LANDING, "k", stream(b"0123456789"))
        assert await content(store, "k", start, end) == b"0123456789"[start:end]

    async def test_range_over_several_chunks(self, store: ObjectStore) -> None:
        data = bytes(range(256)) * 12 * 1024
        await store.put(LANDING, "k", stream(data))
        assert await content(store, "k", MiB - 3, 2 * MiB + 5) == data[MiB - 3 : 2 * MiB + 5]

    @pytest.mark.parametrize(("start", "end"), [(10, None), (11, 20), (-1, None), (5, 4)])
    async def test_range_outside(self, store: ObjectStore, start: int, end: int | None) -> None:
        await store.put(LANDING, "k", stream(b"0123456789"))
        with pytest.raises(RangeNotSatisfiable):
            await content(store, "k", start, end)

    async def test_overwrite_shows_whole_old_or_whole_new(self, store: ObjectStore, backend: Backend) -> None:
        bodies = [bytes([letter]) * (2 * MiB + letter) for letter in b"abcdef"]
        await store.put(LANDING, "k", stream(bodies[0]))
        seen: set[bytes] = set()
        refused: list[str] = []

        async def overwrite() -> None:
            for body in bodies[1:] * 3:
                await store.put(LANDING, "k", stream(body[:1000], body[1000:]))
            done.set()

        async def look() -> None:
            try:
                body = await content(store, "k")
            except StoreUnavailable as error:  # an object store may be overwritten faster than it is read
                refused.append(str(error))
            else:
                assert body in bodies
                seen.add(body[:1])

        async def watch() -> None:
            while not done.is_set():
                await look()

        done = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch)
            tasks.start_soon(watch)
            tasks.start_soon(overwrite)
        assert await content(store, "k") == bodies[-1]
        assert seen
        assert not (refused and backend.folders)
        assert all("changed while it was read" in detail for detail in refused)

    async def test_reader_keeps_what_it_has_opened(self, store: ObjectStore) -> None:
        await store.put(LANDING, "k", stream(b"a" * 3 * MiB))
        reader = aiter(store.read(LANDING, "k"))
        parts = [await anext(reader)]
        await store.put(LANDING, "k", stream(b"b" * 3 * MiB))
        parts += [chunk async for chunk in reader]
        assert b"".join(parts) == b"a" * 3 * MiB


class TestMissing:
    async def test_object(self, store: ObjectStore, tmp_path: Path) -> None:
        assert await store.stat(LANDING, "no/such") is None
        assert await store.delete(LANDING, "no/such") is False
        with pytest.raises(NotFound, match="no/such"):
            await content(store, "no/such")
        with pytest.raises(NotFound, match="no/such"):
            await store.fetch(LANDING, "no/such", tmp_path / "target")
        assert not (tmp_path / "target").exists()
        assert await keys(store) == []

    async def test_bucket(self, store: ObjectStore, tmp_path: Path) -> None:
        (tmp_path / "source").write_bytes(b"x")
        for call in (
            lambda: store.put("other", "k", stream(b"x")),
            lambda: store.put_file("other", "k", tmp_path / "source"),
            lambda: store.fetch("other", "k", tmp_path / "target"),
            lambda: anext(aiter(store.read("other", "k"))),
            lambda: store.stat("other", "k"),
            lambda: store.list_objects("../objects"),
            lambda: store.delete("other", "k"),
        ):
            with pytest.raises(NotFound, match="bucket"):
                await call()


class TestKeys:
    @pytest.mark.parametrize("key", HOSTILE_KEYS, ids=ascii)
    async def test_hostile_keys_are_refused(self, store: ObjectStore, tmp_path: Path, key: str) -> None:
        (tmp_path / "source").write_bytes(b"x")
        for call in (
            lambda: store.put(LANDING, key, stream(b"x")),
            lambda: store.put_file(LANDING, key, tmp_path / "source"),
            lambda: store.fetch(LANDING, key, tmp_path / "target"),
            lambda: anext(aiter(store.read(LANDING, key))),
            lambda: store.stat(LANDING, key),
            lambda: store.delete(LANDING, key),
        ):
            with pytest.raises(InvalidKey):
                await call()
        assert files_below(tmp_path) == ["source"]

    @pytest.mark.parametrize("key", ODD_KEYS)
    async def test_odd_keys_are_kept_as_they_are(self, store: ObjectStore, key: str) -> None:
        await store.put(LANDING, key, stream(b"x"))
        assert await keys(store) == [key]
        assert await content(store, key) == b"x"
        assert await store.delete(LANDING, key) is True
        assert await keys(store) == []

    async def test_longest_key(self, store: ObjectStore) -> None:
        key = "/".join(["é" * 100] * 5) + "/" + "k" * 19
        assert len(key.encode()) == 1024
        await store.put(LANDING, key, stream(b"x"))
        assert await keys(store) == [key]

    async def test_deepest_key(self, store: ObjectStore) -> None:
        key = "/".join("d" * 512)
        await store.put(LANDING, key, stream(b"x"))
        assert await keys(store, "d/d/d/") == [key]
        assert await store.delete(LANDING, key)


class TestFolders:
    """Only where a key cannot be an object and a folder of other objects at once."""

    @pytest.fixture(autouse=True)
    def _only_with_folders(self, backend: Backend) -> None:
        if not backend.folders:
            pytest.skip("this store has no folders")

    @pytest.mark.parametrize("create_only", [False, True])
    async def test_key_that_is_a_folder(self, store: ObjectStore, tmp_path: Path, create_only: bool) -> None:
        await fill(store, ["a/b/c"])
        with pytest.raises(InvalidKey, match="objects below 'a/b/'"):
            await store.put(LANDING, "a/b", stream(b"x"), create_only=create_only)
        assert await store.stat(LANDING, "a/b") is None
        assert await store.delete(LANDING, "a/b") is False
        with pytest.raises(NotFound):
            await content(store, "a/b")
        with pytest.raises(NotFound):
            await store.fetch(LANDING, "a/b", tmp_path / "target")
        assert await keys(store) == ["a/b/c"]

    @pytest.mark.parametrize("create_only", [False, True])
    async def test_key_below_an_object(self, store: ObjectStore, create_only: bool) -> None:
        await fill(store, ["a/b"])
        with pytest.raises(InvalidKey, match="'a/b/c/d'"):
            await store.put(LANDING, "a/b/c/d", stream(b"x"), create_only=create_only)
        assert await store.stat(LANDING, "a/b/c") is None
        assert await store.delete(LANDING, "a/b/c") is False
        assert await keys(store) == ["a/b"]

    async def test_folder_that_comes_while_the_body_does(self, store: ObjectStore, tmp_path: Path) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield b"x"
            await store.put(LANDING, "a/b", stream(b"first"))

        for create_only in (False, True):
            with pytest.raises(InvalidKey):
                await store.put(LANDING, "a", body(), create_only=create_only)
        assert files_below(tmp_path) == ["objects/landing-zone/a/b"]


class TestList:
    KEYS = (
        "B",
        "a",
        "a b",
        "a-b/x",
        "a.txt",
        "a0/1",
        "ab/c/d",
        "ab/c/e",
        "ab/d",
        "demo/10",
        "demo/9",
        "z/",
        "ä",
        "東",
        "🗺/x",
    )

    async def test_order_is_that_of_code_points_of_whole_keys(self, store: ObjectStore) -> None:
        names = [key.rstrip("/") for key in self.KEYS]
        await fill(store, random.Random(1).sample(names, len(names)))  # noqa: S311 # test data
        assert await keys(store) == sorted(names)

    async def test_folder_sorts_by_its_keys(self, store: ObjectStore) -> None:
        await fill(store, ["x/b", "x-a", "x.c", "x0", "x/a/z"])
        assert await keys(store) == ["x-a", "x.c", "x/a/z", "x/b", "x0"]

    @pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
    @pytest.mark.parametrize("prefix", ["", "a", "ab/", "ab/c", "ab/c/", "no"])
    async def test_pages_give_everything_once(self, store: ObjectStore, limit: int, prefix: str) -> None:
        names = sorted(key.rstrip("/") for key in self.KEYS)
        await fill(store, names)
        found: list[str] = []
        after: str | None = ""
        while after is not None:
            page = await store.list_objects(LANDING, prefix, after, limit)
            assert len(page.objects) <= limit
            found += [info.key for info in page.objects]
            after = page.next_after
        assert found == [name for name in names if name.startswith(prefix)]

    async def test_after_need_not_exist(self, store: ObjectStore) -> None:
        names = sorted(key.rstrip("/") for key in self.KEYS)
        await fill(store, names)
        for after in ("a", "a!", "ab", "ab/", "ab/c", "ab/c/d/x", "ab0", "zz", "\U0010ffff"):
            assert await keys(store, "", after) == [name for name in names if name > after]
        assert await keys(store, "ab/", "ab/c/d") == ["ab/c/e", "ab/d"]

    async def test_last_page_says_so(self, store: ObjectStore) -> None:
        await fill(store, "ab")
        assert (await store.list_objects(LANDING, limit=2)).next_after is None
        assert (await store.list_objects(LANDING, limit=1)).next_after == "a"

    @pytest.mark.parametrize("prefix", ["../", "/", "a/../", "//", "..", "\0", "a\0/", "\ud800/", "a/./"])
    async def test_prefix_stays_in_the_bucket(self, store: ObjectStore, tmp_path: Path, prefix: str) -> None:
        (tmp_path / "secret").write_bytes(b"x")
        await fill(store, ["a/b"])
        assert await keys(store, prefix) == []

    async def test_says_what_stat_says(self, store: ObjectStore) -> None:
        await fill(store, ["a/b", "c"])
        listed = (await store.list_objects(LANDING)).objects
        stats = [await store.stat(LANDING, info.key) for info in listed]
        assert list(listed) == [
            stat and replace(stat, sha256=info.sha256) for stat, info in zip(stats, listed, strict=True)
        ]
        assert {info.sha256 for info in listed} <= {None, *(stat and stat.sha256 for stat in stats)}

    async def test_while_others_write_and_delete(self, store: ObjectStore) -> None:
        await fill(store, ["keep/1", "keep/2"])

        async def churn(name: str) -> None:
            for _ in range(20):
                await store.put(LANDING, f"{name}/x/y", stream(b"x"))
                await store.delete(LANDING, f"{name}/x/y")

        async with anyio.create_task_group() as tasks:
            for name in ("a", "keep", "z"):
                tasks.start_soon(churn, name)
            for _ in range(20):
                assert {"keep/1", "keep/2"} <= set(await keys(store))


class TestDelete:
    async def test_says_whether_there_was_something(self, store: ObjectStore) -> None:
        await fill(store, ["a/b/c", "a/d"])
        assert await store.delete(LANDING, "a/b/c") is True
        assert await store.delete(LANDING, "a/b/c") is False
        assert await keys(store) == ["a/d"]

    async def test_of_one_content_only(self, store: ObjectStore) -> None:
        old = await store.put(LANDING, "k", stream(b"old"))
        new = await store.put(LANDING, "k", stream(b"newer"))
        assert await store.delete(LANDING, "k", etag=old.etag) is False
        assert await content(store, "k") == b"newer"
        assert await store.delete(LANDING, "k", etag=new.etag) is True
        assert await store.delete(LANDING, "k", etag=new.etag) is False
        assert await keys(store) == []

    async def test_frees_the_keys_above(self, store: ObjectStore) -> None:
        await fill(store, ["a/b/c"])
        await store.delete(LANDING, "a/b/c")
        await store.put(LANDING, "a", stream(b"now an object"))
        assert await keys(store) == ["a"]

    async def test_never_takes_a_folder_from_a_put(self, store: ObjectStore) -> None:
        async def churn(name: str) -> None:
            for _ in range(40):
                await store.put(LANDING, f"deep/er/{name}", stream(b"x"), create_only=True)
                assert await content(store, f"deep/er/{name}") == b"x"
                assert await store.delete(LANDING, f"deep/er/{name}")

        async with anyio.create_task_group() as tasks:
            for name in "abcd":
                tasks.start_soon(churn, name)
        assert await keys(store) == []


async def test_ping(store: ObjectStore) -> None:
    assert (await store.ping())["backend"]


async def test_buckets_are_made_once(store: ObjectStore) -> None:
    await store.make_buckets()
    assert await store.make_buckets() == ()
    assert await keys(store) == []


class TestUrls:
    """Presigned URLs, used as their holder would."""

    @pytest.fixture
    async def http(self) -> AsyncIterator[httpx.AsyncClient]:
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            yield client

    async def test_read_and_write(self, store: ObjectStore, backend: Backend, http: httpx.AsyncClient) -> None:
        key = "über/a b+c&d=%20.bin"
        put, get = await store.presign("PUT", LANDING, key), await store.presign("GET", LANDING, key)
        assert (put is not None, get is not None) == (backend.urls, backend.urls)
        if put is None or get is None:
            return
        assert (put.method, put.fields) == ("PUT", {})
        assert 0 < (get.expires_at - utcnow()).total_seconds() <= 900
        assert (await http.put(put.url, content=b"0123456789")).status_code == 200
        assert await content(store, key) == b"0123456789"
        assert (await http.get(get.url)).content == b"0123456789"
        assert (await http.get(get.url, headers={"Range": "bytes=2-3"})).content == b"23"

    async def test_form(self, store: ObjectStore, backend: Backend, http: httpx.AsyncClient) -> None:
        form = await store.presign_post(LANDING, "f/ü.bin", 10)
        assert (form is not None) is backend.urls
        if form is None:
            return
        sent = await http.post(form.url, data=dict(form.fields), files={"file": ("other name.bin", b"0123456789")})
        assert sent.status_code in (200, 201, 204), sent.text
        assert await content(store, "f/ü.bin") == b"0123456789"
        if not backend.strict:
            return
        over = await http.post(form.url, data=dict(form.fields), files={"file": ("x", b"0123456789!")})
        assert over.status_code == 400, over.text
        assert await content(store, "f/ü.bin") == b"0123456789"

    async def test_other_buckets_and_keys(self, store: ObjectStore) -> None:
        with pytest.raises(NotFound, match="bucket"):
            await store.presign("GET", "other", "k")
        with pytest.raises(InvalidKey):
            await store.presign_post(LANDING, "../k", 1)
        with pytest.raises(InvalidKey):
            await store.presign("PUT", LANDING, "../k")


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

        monkeypatch.setattr("app.storage.objects_local.copy_chunk", meddle)
        with pytest.raises(StoreUnavailable, match="changed while it was read"):
            await local.fetch(LANDING, "k", tmp_path / "target")
        assert not (tmp_path / "target").exists()

    async def test_the_file_system_decides_who_creates(
        self, local: LocalObjectStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.storage.objects_local.check_free", lambda *_, **__: None)
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
            "from app.storage.objects_local import LocalObjectStore\n"
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


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())
