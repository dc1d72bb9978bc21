"""What every object store promises of keys, listings and deletions."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from app.errors import InvalidKey, KeyConflict, NotFound
from app.models.manifests.manifest import LANDING_BUCKET as LANDING
from app.objects import Listing, ObjectStore
from tests.contract.stores import (
    HOSTILE_KEYS,
    NAMES_OF_DOTS,
    ODD_KEYS,
    Backend,
    MiB,
    all_keys,
    content,
    files_below,
    fill,
    keys,
    stream,
)

pytestmark = pytest.mark.anyio

NO_PREFIXES = (
    "../", "/", "a/../", "//", "a//", "a//b", "./", "\0", "a\0/", "\x01", "\ud800/", "a/./", "a\\", "\ufffd",
    "x" * 256, "é/" * 341 + "xx", "d/" * 600,
)  # fmt: skip


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

    @pytest.mark.parametrize("key", NAMES_OF_DOTS, ids=ascii)
    async def test_names_that_some_stores_refuse(self, store: ObjectStore, backend: Backend, key: str) -> None:
        if key in backend.refused_names:
            with pytest.raises(InvalidKey, match="cannot hold the name"):
                await store.put(LANDING, key, stream(b"x"))
            assert await keys(store, key) == []
            return
        await store.put(LANDING, key, stream(b"x"))
        assert await keys(store, key) == await keys(store) == [key]

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
    """A key cannot be an object and a folder of other objects at once."""

    @pytest.mark.parametrize("create_only", [False, True])
    async def test_key_that_is_a_folder(self, store: ObjectStore, tmp_path: Path, create_only: bool) -> None:
        await fill(store, ["a/b/c"])
        with pytest.raises(KeyConflict, match="objects below 'a/b/'"):
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
        with pytest.raises(KeyConflict, match=r"object 'a/b'.*'a/b/c/d'"):
            await store.put(LANDING, "a/b/c/d", stream(b"x"), create_only=create_only)
        assert await store.stat(LANDING, "a/b/c") is None
        assert await store.delete(LANDING, "a/b/c") is False
        assert await keys(store) == ["a/b"]

    async def test_folder_that_comes_while_the_body_does(self, store: ObjectStore) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield b"x"
            await store.put(LANDING, "a/b", stream(b"first"))

        for create_only in (False, True):
            with pytest.raises(KeyConflict):
                await store.put(LANDING, "a", body(), create_only=create_only)
        assert await keys(store) == ["a/b"]

    async def test_folder_that_comes_while_a_large_body_does(self, store: ObjectStore) -> None:
        async def body() -> AsyncIterator[bytes]:
            yield b"x" * 11 * MiB
            await store.put(LANDING, "a/b", stream(b"first"))

        for create_only in (False, True):
            with pytest.raises(KeyConflict):
                await store.put(LANDING, "a", body(), create_only=create_only)
            assert await keys(store) == ["a/b"]
            assert await store.delete(LANDING, "a/b")

    async def test_large_body_below_an_object_is_not_read_to_its_end(self, store: ObjectStore) -> None:
        read: list[int] = []

        async def body() -> AsyncIterator[bytes]:
            for number in range(64):
                read.append(number)
                yield b"x" * MiB

        await fill(store, ["a"])
        with pytest.raises(KeyConflict):
            await store.put(LANDING, "a/b", body())
        assert len(read) < 32

    async def test_file(self, store: ObjectStore, tmp_path: Path) -> None:
        (tmp_path / "source").write_bytes(b"x")
        await fill(store, ["a/b"])
        for key in ("a", "a/b/c"):
            with pytest.raises(KeyConflict):
                await store.put_file(LANDING, key, tmp_path / "source", create_only=True)
        assert await keys(store) == ["a/b"]

    async def test_url_to_write(self, store: ObjectStore) -> None:
        await fill(store, ["a/b"])
        for key in ("a", "a/b/c"):
            with pytest.raises(KeyConflict):
                await store.presign("PUT", LANDING, key)
            with pytest.raises(KeyConflict):
                await store.presign_post(LANDING, key, 10)
            await store.presign("GET", LANDING, key)

    async def test_names_that_only_begin_alike(self, store: ObjectStore) -> None:
        names = ["a", "a.b/c", "a b", "ab/c"]
        await fill(store, names)
        assert await keys(store) == sorted(names)


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
        assert await all_keys(store, prefix, limit) == [name for name in names if name.startswith(prefix)]

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

    @pytest.mark.parametrize("prefix", NO_PREFIXES, ids=lambda prefix: ascii(prefix[:20]))
    async def test_prefix_that_no_key_has_gives_an_empty_page(
        self, store: ObjectStore, tmp_path: Path, prefix: str
    ) -> None:
        (tmp_path / "secret").write_bytes(b"x")
        await fill(store, ["a/b"])
        assert await store.list_objects(LANDING, prefix) == Listing(())

    async def test_prefix_that_ends_in_dots(self, store: ObjectStore) -> None:
        names = ["-", ".a", "..b", "...", "a/.b", "a/..c", "a/b"]
        await fill(store, names)
        for prefix in (".", "..", "...", "a/.", "a/.."):
            for limit in (1, 2, 100):
                assert await all_keys(store, prefix, limit) == [key for key in sorted(names) if key.startswith(prefix)]

    async def test_after_outside_the_prefix(self, store: ObjectStore) -> None:
        await fill(store, ["a/1", "b/1", "b/2", "c/1"])
        for after, found in (("a/1", ["b/1", "b/2"]), ("b/", ["b/1", "b/2"]), ("b/1", ["b/2"]), ("c", []), ("b/3", [])):
            assert await keys(store, "b/", after) == found

    @pytest.mark.parametrize(
        "after", ["a/../x", "a//x", "/", "..", "a/./", "a/b\\..\\c", "a/ .. /x", "\x01"], ids=ascii
    )
    async def test_after_that_is_no_key(self, store: ObjectStore, after: str) -> None:
        names = ["!", "0", "a", "b/.x", "b/..y", "c/d"]
        await fill(store, names)
        assert await keys(store, "", after) == [key for key in sorted(names) if key > after]

    @pytest.mark.parametrize("limit", [1, 2])
    async def test_prefix_that_is_a_key(self, store: ObjectStore, limit: int) -> None:
        names = ["in/a", "in/a.json", "in/ab", "in/b"]
        await fill(store, names)
        assert (await store.list_objects(LANDING, "in/a", limit=limit)).next_after == names[limit - 1]
        assert await all_keys(store, "in/a", limit) == names[:3]

    async def test_only_some(self, store: ObjectStore) -> None:
        await fill(store, [f"k{number}" for number in range(9)])
        page = await store.list_objects(LANDING, limit=2, only=lambda key: int(key[1:]) % 4 == 0)
        assert [info.key for info in page.objects] == ["k0", "k4"]
        rest = await store.list_objects(LANDING, "", str(page.next_after), 2, only=lambda key: int(key[1:]) % 4 == 0)
        assert [info.key for info in rest.objects] == ["k8"]
        assert rest.next_after is None

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
