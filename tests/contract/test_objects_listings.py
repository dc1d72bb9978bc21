"""What every object store promises of keys, listings and deletions."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from app.errors import (
    InvalidKey,
    NotFound,
)
from app.models.manifest import LANDING_BUCKET as LANDING
from app.objects import ObjectStore
from tests.contract.stores import HOSTILE_KEYS, ODD_KEYS, Backend, content, files_below, fill, keys, stream

pytestmark = pytest.mark.anyio


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
