"""What only the local object store has to stand: moments between two system calls."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from app.models.manifests.manifest import LANDING_BUCKET
from app.objects import ObjectInfo
from app.storage.local.store import LocalObjectStore

pytestmark = pytest.mark.anyio


async def stream(data: bytes) -> AsyncIterator[bytes]:
    yield data


async def test_an_overwrite_after_the_look_is_not_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The moment cannot be hit from outside, so the overwrite is put into it."""
    store = LocalObjectStore(tmp_path)
    old = await store.put(LANDING_BUCKET, "manifests/a.json", stream(b"old"))
    look = store._files.stat

    def look_and_overwrite(bucket: str, key: str) -> ObjectInfo:
        info = look(bucket, key)
        new = tmp_path / "new"
        new.write_bytes(b"a newer one")
        new.rename(tmp_path / bucket / key)
        return info

    monkeypatch.setattr(store._files, "stat", look_and_overwrite)
    assert await store.delete(LANDING_BUCKET, "manifests/a.json", etag=old.etag) is False
    assert (tmp_path / LANDING_BUCKET / "manifests" / "a.json").read_bytes() == b"a newer one"
    assert list((tmp_path / f".{LANDING_BUCKET}.partial").iterdir()) == []
    monkeypatch.undo()
    info = await store.stat(LANDING_BUCKET, "manifests/a.json")
    assert info is not None
    assert await store.delete(LANDING_BUCKET, "manifests/a.json", etag=info.etag) is True
    assert list((tmp_path / f".{LANDING_BUCKET}.partial").iterdir()) == []


async def test_the_folder_for_manifests_is_there_and_stays(tmp_path: Path) -> None:
    """People copy manifests into it with `cp`, which makes no folder."""
    store = LocalObjectStore(tmp_path)
    await store.make_buckets()
    dropped = tmp_path / LANDING_BUCKET / "manifests" / "a.json"
    dropped.write_bytes(b"{}")
    assert await store.delete(LANDING_BUCKET, "manifests/a.json")
    assert dropped.parent.is_dir()
    await store.put(LANDING_BUCKET, "manifests/deeper/a.json", stream(b"{}"))
    assert await store.delete(LANDING_BUCKET, "manifests/deeper/a.json")
    assert list(dropped.parent.iterdir()) == []
    await store.put(LANDING_BUCKET, "other/a.json", stream(b"{}"))
    assert await store.delete(LANDING_BUCKET, "other/a.json")
    assert not (tmp_path / LANDING_BUCKET / "other").exists()


async def test_an_object_with_the_name_of_that_folder_harms_nothing(tmp_path: Path) -> None:
    store = LocalObjectStore(tmp_path)
    await store.put(LANDING_BUCKET, "manifests", stream(b"x"))
    assert (await store.ping())["backend"] == "local"
