"""The object store: buckets of objects in a local directory or behind the S3 API.

`ObjectStore` is the protocol that the rest of the service uses. `app.storage.local` and `app.storage.s3` implement it,
and tests/contract/test_objects_*.py test each of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal, Protocol

from app.errors import InvalidKey
from app.models.manifests.manifest import MAX_KEY_BYTES


@dataclass(frozen=True, slots=True)
class ObjectInfo:
    """One object.

    Attributes:
        key: within its bucket.
        size: in bytes.
        etag: changes whenever the content changes.
        modified_at: in UTC.
        sha256: hex digits; None when the store does not know it.
    """

    key: str
    size: int
    etag: str
    modified_at: datetime
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """One page of a listing, in key order. next_after: the `after` of the next page; None on the last one."""

    objects: tuple[ObjectInfo, ...]
    next_after: str | None = None


@dataclass(frozen=True, slots=True)
class PresignedUrl:
    """A URL that needs no credentials. fields: what a POST form must send before the file; empty for GET and PUT."""

    url: str
    method: Literal["GET", "PUT", "POST"]
    expires_at: datetime
    fields: Mapping[str, str]


class Progress(Protocol):
    """Receives the number of bytes transferred so far. Called on the event loop, so it must not block."""

    def __call__(self, bytes_done: int) -> None:
        """Receive a number. An error raised here ends the transfer."""
        ...


class ObjectStore(Protocol):
    """Stores files as objects: uploads in the bucket of the landing zone, published versions in that of the lake.

    What every implementation guarantees:

    - An object is replaced as a whole: readers see the old content or the new one, never a mixture. A crash during an
      upload leaves the old content; `remove_stale_uploads` removes the rest.
    - `create_only` is a compare-and-set: of several writers of a key at once, one succeeds. (S3 servers that ignore the
      condition for objects over 5 GiB are an exception; see `app.storage.s3.store`.)
    - Listings are in key order, by code points, on every store. A prefix that no key can have gives an empty page.
    - No object lies below another one, and none has the name of a folder of others: such puts, and URLs for them, are
      refused with `KeyConflict`. Where the store itself allows both, writers of both at the same moment, holders of a
      presigned URL and other programs can make both; in the lake an S3 store does not look. See ADR 13.
    - Driver and file system errors are raised as `StoreUnavailable` or `StoreFull` with a fix.

    Every method raises NotFound for an unknown bucket and InvalidKey for a key that `check_key` refuses.
    """

    async def put(
        self,
        bucket: str,
        key: str,
        body: AsyncIterator[bytes],
        *,
        create_only: bool = False,
        max_bytes: int | None = None,
    ) -> ObjectInfo:
        """Store a stream as an object.

        Args:
            bucket: its name without prefix.
            key: of the object.
            body: the content. An error raised by it ends the upload.
            create_only: refuse to replace an object.
            max_bytes: the largest size.

        Returns:
            The info of the object, with its sha256.

        Raises:
            ObjectExists: the key exists, and `create_only` is set.
            KeyConflict: a folder of the key is an object, or the key is a folder of objects.
            BodyTooLarge: the stream is longer than `max_bytes`. Nothing is stored.
        """
        ...

    async def put_file(
        self, bucket: str, key: str, path: Path, *, create_only: bool = False, progress: Progress | None = None
    ) -> ObjectInfo:
        """Store a local file as an object, as `put` does."""
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
        """Download an object into a local file, which is removed again after an error.

        The bytes are those of one content, even when the object is overwritten meanwhile.

        Returns:
            The info of the object, with the sha256 of the bytes that were read.

        Raises:
            NotFound: there is no such object.
            BodyTooLarge: it is larger than `max_bytes`.
            StoreUnavailable: it changed while it was read.
        """
        ...

    def read(
        self, bucket: str, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None
    ) -> AsyncIterator[bytes]:
        """Stream bytes `start` (inclusive) to `end` (exclusive; None: to the end) of one content.

        Args:
            bucket: its name without prefix.
            key: of the object.
            start: first byte.
            end: behind the last byte.
            etag: read this content only.

        Raises:
            NotFound: there is no such object. Raised with the first chunk, as are the next one and another etag.
            RangeNotSatisfiable: `start` is not inside the object.
            StoreUnavailable: it changed while it was read, or has another etag than the one asked for.
        """
        ...

    async def stat(self, bucket: str, key: str) -> ObjectInfo | None:
        """Describe an object; None when there is no such object."""
        ...

    async def list_objects(
        self,
        bucket: str,
        prefix: str = "",
        after: str = "",
        limit: int = 1000,
        *,
        only: Callable[[str], bool] | None = None,
    ) -> Listing:
        """List objects whose key starts with `prefix` and comes after `after`, in key order (code points).

        only: those whose key it says True of. A store need not look at the others.
        """
        ...

    async def delete(self, bucket: str, key: str, *, etag: str | None = None) -> bool:
        """Delete an object.

        Args:
            bucket: its name without prefix.
            key: of the object.
            etag: delete this content only, and keep another one.

        Returns:
            Whether an object was deleted.
        """
        ...

    async def presign(self, method: Literal["GET", "PUT"], bucket: str, key: str) -> PresignedUrl | None:
        """Return a URL for reading or writing this object for a limited time. None: the store has no URLs.

        Raises:
            KeyConflict: as `put`, for a URL to write.
        """
        ...

    async def presign_post(self, bucket: str, key: str, max_bytes: int) -> PresignedUrl | None:
        """Return a URL for the form of a browser, whose fields fix the key and the largest size.

        None and KeyConflict: as `presign` for PUT.
        """
        ...

    async def make_buckets(self) -> tuple[str, ...]:
        """Create the buckets that are missing.

        Returns:
            The names of the buckets that this call created.

        Raises:
            StoreUnavailable: a bucket is missing, and the service may not create it.
        """
        ...

    async def remove_stale_uploads(self, older_than_seconds: float, *, dry_run: bool = False) -> int:
        """Remove what uploads of dead writers left behind; return how many there were. dry_run: count them only."""
        ...

    async def ping(self) -> dict[str, str]:
        """Check the store and return details for health checks. Raises StoreUnavailable."""
        ...

    async def bucket_warnings(self) -> tuple[str, ...]:
        """Say what the buckets are configured to do that surprises: each a sentence or two, with what to do about it.

        Raises StoreUnavailable.
        """
        ...


def check_key(key: str) -> str:
    """Return the key, if it is valid on every store and stays inside its bucket.

    Raises:
        InvalidKey: the error says what is wrong.
    """
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


def is_key(text: str) -> bool:
    """Return whether the text is a valid key."""
    try:
        return bool(check_key(text))
    except InvalidKey:
        return False


def begins_a_key(prefix: str) -> bool:
    """Return whether a valid key can begin with this text."""
    return is_key(prefix) or is_key(f"{prefix}x")
