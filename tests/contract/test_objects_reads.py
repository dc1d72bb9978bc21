"""What every object store promises of reading."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import anyio
import httpx
import pytest
from fastapi.responses import Response, StreamingResponse

from app.errors import (
    InvalidKey,
    NotFound,
    RangeNotSatisfiable,
    StoreUnavailable,
)
from app.http.streaming import object_response
from app.models.base import utcnow
from app.models.manifests.manifest import LANDING_BUCKET as LANDING
from app.objects import ObjectInfo, ObjectStore
from tests.contract.stores import Backend, MiB, content, keys, stream

pytestmark = pytest.mark.anyio


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

    async def test_only_the_content_that_was_looked_at(self, store: ObjectStore) -> None:
        old = await store.put(LANDING, "k", stream(b"old"))
        new = await store.put(LANDING, "k", stream(b"new!"))
        with pytest.raises(StoreUnavailable, match="changed while it was read"):
            [chunk async for chunk in store.read(LANDING, "k", end=3, etag=old.etag)]
        assert b"".join([chunk async for chunk in store.read(LANDING, "k", etag=new.etag)]) == b"new!"

    async def test_an_answer_never_has_the_etag_of_other_bytes(self, store: ObjectStore) -> None:
        async def answer(info: ObjectInfo) -> Response:
            return await object_response(
                store,
                LANDING,
                info,
                etag=info.etag,
                media_type="text/plain",
                file_name="k",
                range_header=None,
                if_none_match=None,
            )

        looked_at = await store.put(LANDING, "k", stream(b"old"))
        new = await store.put(LANDING, "k", stream(b"new!"))
        with pytest.raises(StoreUnavailable, match="changed while it was read"):
            await answer(looked_at)
        sent = await answer(new)
        assert isinstance(sent, StreamingResponse)
        assert b"".join([bytes(chunk) async for chunk in sent.body_iterator]) == b"new!"  # type: ignore[arg-type] # bytes


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
