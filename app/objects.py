"""The object store protocol: buckets of immutable-by-convention objects, locally or behind the S3 API.

Every implementation passes tests/contract/test_objects_*.py. Keys are checked here, once, for all of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from app.errors import InvalidKey
from app.models.manifest import MAX_KEY_BYTES


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object. etag: changes with the content; sha256: hex digest, where the store knows it."""

    key: str
    size: int
    etag: str
    modified_at: datetime
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a listing, in key order; `next_after` is None on the last one."""

    objects: tuple[ObjectInfo, ...]
    next_after: str | None = None


@dataclass(frozen=True, slots=True)
class PresignedUrl:
    """fields: what a POST form must send before the file; empty for GET and PUT."""

    url: str
    method: Literal["GET", "PUT", "POST"]
    expires_at: datetime
    fields: Mapping[str, str]


class Progress(Protocol):
    """Told how many bytes of a transfer are done; on the event loop, so it must not block."""

    def __call__(self, bytes_done: int) -> None: ...


class ObjectStore(Protocol):
    async def put(
        self,
        bucket: str,
        key: str,
        body: AsyncIterator[bytes],
        *,
        create_only: bool = False,
        max_bytes: int | None = None,
    ) -> ObjectInfo:
        """Write a stream; readers see the old object or the whole new one. The result carries the sha256.

        Raises ObjectExists when create_only and the key is taken; BodyTooLarge over max_bytes (nothing is written).
        """
        ...

    async def put_file(
        self, bucket: str, key: str, path: Path, *, create_only: bool = False, progress: Progress | None = None
    ) -> ObjectInfo:
        """Upload a local file, as `put`. progress: told the bytes done so far; what it raises ends the upload."""
        ...

    async def fetch(
        self,
        bucket: str,
        key: str,
        path: Path,
        *,
        max_bytes: int | None = None,
        progress: Progress | None = None,
    ) -> ObjectInfo:
        """Download into a local file; the result carries the sha256 of the bytes that were read.

        The bytes are those of one content, also when the object is overwritten meanwhile. Raises NotFound, or
        BodyTooLarge over max_bytes. progress: as in `put_file`.
        """
        ...

    def read(self, bucket: str, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        """Stream bytes start (inclusive) to end (exclusive). Raises NotFound on the first chunk."""
        ...

    async def stat(self, bucket: str, key: str) -> ObjectInfo | None: ...

    async def list_objects(self, bucket: str, prefix: str = "", after: str = "", limit: int = 1000) -> Listing:
        """Objects whose key starts with `prefix` and comes after `after`, in key order (code points)."""
        ...

    async def delete(self, bucket: str, key: str, *, etag: str | None = None) -> bool:
        """Whether there was something to delete. etag: delete that content only; another one stays (False)."""
        ...

    async def presign(self, method: Literal["GET", "PUT"], bucket: str, key: str) -> PresignedUrl | None:
        """A URL that lets its holder read or write this one object for a while; None: this store has no URLs."""
        ...

    async def presign_post(self, bucket: str, key: str, max_bytes: int) -> PresignedUrl | None:
        """As `presign`, for a browser's form: its fields bind the key and the size. None: this store has no URLs."""
        ...

    async def make_buckets(self) -> tuple[str, ...]:
        """Make the buckets that are missing; which ones. Raises StoreUnavailable with a fix when it may not."""
        ...

    async def remove_stale_uploads(self, older_than_seconds: float, *, dry_run: bool = False) -> int:
        """Remove what uploads of dead writers left unfinished; how many there were. dry_run: count them only."""
        ...

    async def ping(self) -> dict[str, str]:
        """Details for health checks. Raises StoreUnavailable with a fix."""
        ...


def check_key(key: str) -> str:
    """The key, if it stays inside its bucket on every store. Raises InvalidKey naming what is wrong."""
    fix = "Use a relative key such as parcels/2026.gpkg."
    if not key or len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        raise InvalidKey(
            f"A key has 1 to {MAX_KEY_BYTES} bytes; this one has {len(key.encode('utf-8', 'replace'))}.", fix
        )
    if any(ord(char) < 32 or 0xD800 <= ord(char) <= 0xDFFF or char in "\\\x7f" for char in key):
        raise InvalidKey(f"The key {key!r} has a backslash, a control character or a lone surrogate.", fix)
    if "\ufffd" in key:
        raise InvalidKey(f"The key {key!r} has a replacement character: its bytes were not UTF-8.", fix)
    if any(part in ("", ".", "..") for part in key.split("/")):
        raise InvalidKey(f"The key {key!r} has an empty, '.' or '..' part.", fix)
    if any(len(part.encode()) > 255 for part in key.split("/")):
        raise InvalidKey("A part of the key is longer than 255 bytes.", fix)
    return key
