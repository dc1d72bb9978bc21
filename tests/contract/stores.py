"""The object stores that must keep the contract, and what its tests do with them.

A new store joins by one row in STORES.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from app.models.manifests.manifest import LANDING_BUCKET as LANDING
from app.objects import ObjectStore
from app.storage.local.store import LocalObjectStore
from tests.servers import s3

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
    """What is known of a store.

    folders: a reader keeps the content that it has opened. memory: bytes of a large transfer. urls: it has presigned
    URLs. strict: it refuses what they do not allow, and lets one of several creators win (moto lets anybody do
    anything, and looks and writes in two steps). refused_names: valid keys that it refuses.
    """

    open: Callable[[Path], AbstractAsyncContextManager[ObjectStore]]
    folders: bool
    memory: int
    urls: bool
    strict: bool = True
    refused_names: tuple[str, ...] = ()


@asynccontextmanager
async def open_local(folder: Path) -> AsyncIterator[ObjectStore]:
    yield LocalObjectStore(folder / "objects")


def open_s3(name: str) -> Callable[[Path], AbstractAsyncContextManager[ObjectStore]]:
    return lambda _: s3.fresh_store(s3.server(name).settings())


# MinIO takes white space away before it looks for `.` and `..`.
NAMES_OF_DOTS = (" .", "a/.. /b", "a/ . ")
# What the raw client may not put into MinIO, and so no test can: names that are no keys of this service either.
MINIO_REFUSES = ("folder//x", "a//b")
# MinIO does not list its unfinished uploads, and removes stale ones by itself (`stale_uploads_expiry`).
LISTS_NO_UPLOADS = frozenset({"minio"})

STORES = {
    "local": Backend(open_local, folders=True, memory=16 * MiB, urls=False),
    # The parts under way, the one that fills meanwhile, and what the client needs.
    **{
        name: Backend(
            open_s3(name),
            folders=False,
            memory=32 * MiB,
            urls=True,
            strict=name != "moto",
            refused_names=NAMES_OF_DOTS if name == "minio" else (),
        )
        for name in s3.SERVERS
    },
}


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


async def all_keys(store: ObjectStore, prefix: str, limit: int) -> list[str]:
    """Page by page, each of which is no longer than the limit."""
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await store.list_objects(LANDING, prefix, after, limit)
        assert len(page.objects) <= limit
        found += [info.key for info in page.objects]
        after = page.next_after
    return found


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())
