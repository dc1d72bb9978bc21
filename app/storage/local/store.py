"""Object store in a local directory: one folder per bucket, one file per object, and no database beside them.

A file that is copied into a bucket by hand is an object like any other. `bucket_files` says what is not an object.

An upload is written beside its bucket in `.{bucket}.partial/` (same file system, never listed), synced, and then
renamed or linked into place: readers have the whole old object or the whole new one. The sha256 of an upload is stored
in an extended attribute, together with the size and time of the file, so that an edit by hand makes it invalid. Without
one (a file copied by hand, a file system without attributes) the etag is made of size, modification time and inode.
"""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO, Literal, TypeVar, TypeVarTuple

import anyio
from anyio import to_thread

from app.errors import BodyTooLarge, NotFound, RangeNotSatisfiable
from app.objects import Listing, ObjectInfo, PresignedUrl, Progress, check_key
from app.storage.local.bucket_files import BUCKETS, BucketFiles
from app.storage.local.files import (
    CHUNK_BYTES,
    HashedFile,
    Upload,
    copy_chunk,
    describe,
    object_changed,
    remove_stale_uploads,
    to_domain_error,
)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class LocalObjectStore:
    """`app.objects.ObjectStore` in the directory `root`, which any number of processes may use at once."""

    def __init__(self, root: Path) -> None:
        self._files = BucketFiles(root)

    async def put(
        self,
        bucket: str,
        key: str,
        body: AsyncIterator[bytes],
        *,
        create_only: bool = False,
        max_bytes: int | None = None,
    ) -> ObjectInfo:
        await _in_thread(self._files.check_target, bucket, key, create_only)
        upload = Upload(self._files.partial_folder(bucket))
        try:
            await _in_thread(upload.open)
            waiting, total = bytearray(), 0
            async for chunk in body:
                total += len(chunk)
                if max_bytes is not None and total > max_bytes:
                    raise _too_large(key, f"more than {max_bytes}", max_bytes)
                waiting += chunk
                if len(waiting) >= CHUNK_BYTES:
                    await _in_thread(upload.write, waiting)
                    waiting = bytearray()
            await _in_thread(upload.write, waiting)
            return await _in_thread(self._files.move_into_place, upload, bucket, key, create_only)
        except BaseException:
            await _shielded(upload.discard)
            raise

    async def put_file(
        self, bucket: str, key: str, path: Path, *, create_only: bool = False, progress: Progress | None = None
    ) -> ObjectInfo:
        await _in_thread(self._files.check_target, bucket, key, create_only)
        upload = Upload(self._files.partial_folder(bucket))
        try:
            await _in_thread(upload.open)
            source = await _in_thread(lambda: path.open("rb"))
            try:
                while await _in_thread(copy_chunk, source, upload):
                    if progress is not None:
                        progress(upload.size)
            finally:
                await _shielded(source.close)
            return await _in_thread(self._files.move_into_place, upload, bucket, key, create_only)
        except BaseException:
            await _shielded(upload.discard)
            raise

    async def fetch(
        self,
        bucket: str,
        key: str,
        path: Path,
        *,
        max_bytes: int | None = None,
        progress: Progress | None = None,
    ) -> ObjectInfo:
        source, info = await _in_thread(self._files.open, bucket, key)
        target = HashedFile(path)
        try:
            if max_bytes is not None and info.size > max_bytes:
                raise _too_large(key, str(info.size), max_bytes)
            await _in_thread(target.open)
            while await _in_thread(copy_chunk, source, target) and target.size <= info.size:
                if progress is not None:
                    progress(target.size)
            await _in_thread(_check_unchanged, source, info, target)
            return replace(info, sha256=await _in_thread(target.close))
        except BaseException:
            await _shielded(target.discard)
            raise
        finally:
            await _shielded(source.close)

    async def read(
        self, bucket: str, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None
    ) -> AsyncIterator[bytes]:
        source, info = await _in_thread(self._files.open, bucket, key)
        try:
            if etag not in (None, info.etag):
                raise object_changed(key)
            stop = info.size if end is None else min(end, info.size)
            if start < 0 or (end is not None and end < start) or start >= max(info.size, 1):
                detail = (
                    f"Bytes {start} to {'the end' if end is None else end} of {key!r}, which has {info.size} bytes."
                )
                raise RangeNotSatisfiable(detail, "Ask for a range that starts inside the object.")
            await _in_thread(source.seek, start)
            while start < stop:
                chunk = await _in_thread(source.read, min(CHUNK_BYTES, stop - start))
                if not chunk:
                    raise object_changed(key)
                start += len(chunk)
                yield chunk
        finally:
            await _shielded(source.close)

    async def stat(self, bucket: str, key: str) -> ObjectInfo | None:
        self._files.bucket_folder(bucket)
        try:
            return await _in_thread(self._files.stat, bucket, key)
        except NotFound:
            return None

    async def list_objects(
        self,
        bucket: str,
        prefix: str = "",
        after: str = "",
        limit: int = 1000,
        *,
        only: Callable[[str], bool] | None = None,
    ) -> Listing:
        def list_page() -> Listing:
            infos: list[ObjectInfo] = []
            last = None
            # The files of other keys are not opened.
            for seen, key in enumerate(filter(only, self._files.keys(bucket, prefix, after))):
                if seen == limit:
                    return Listing(tuple(infos), next_after=last)
                with suppress(NotFound):  # deleted since its folder was read
                    infos.append(self._files.stat(bucket, key))
                last = key
            return Listing(tuple(infos))

        self._files.bucket_folder(bucket)
        return await _in_thread(list_page)

    async def delete(self, bucket: str, key: str, *, etag: str | None = None) -> bool:
        self._files.bucket_folder(bucket)
        return await _in_thread(self._files.delete, bucket, key, etag)

    async def presign(self, method: Literal["GET", "PUT"], bucket: str, key: str) -> PresignedUrl | None:
        self._files.bucket_folder(bucket)
        check_key(key)
        if method == "PUT":
            await _in_thread(self._files.check_target, bucket, key, False)
        return None

    async def presign_post(self, bucket: str, key: str, max_bytes: int) -> PresignedUrl | None:  # noqa: ARG002 # the signature of the protocol
        await _in_thread(self._files.check_target, bucket, key, False)
        return None

    async def make_buckets(self) -> tuple[str, ...]:
        def make() -> tuple[str, ...]:
            made = tuple(bucket for bucket in BUCKETS if not self._files.bucket_folder(bucket).is_dir())
            for bucket in BUCKETS:
                self._files.make_bucket(bucket)
            return made

        return await _in_thread(make)

    async def ping(self) -> dict[str, str]:
        """Check the store; also creates the buckets, so that files can be copied into them."""

        def check() -> dict[str, str]:
            for bucket in BUCKETS:
                self._files.make_bucket(bucket)
                trial = Upload(self._files.partial_folder(bucket))
                try:
                    trial.open()
                    trial.write(b"ping")
                finally:
                    trial.discard()
            space = os.statvfs(self._files.root)
            return {
                "backend": "local",
                "root": str(self._files.root),
                "free_bytes": str(space.f_bavail * space.f_frsize),
            }

        return await _in_thread(check)

    async def bucket_warnings(self) -> tuple[str, ...]:
        return ()

    async def remove_stale_uploads(self, older_than_seconds: float, *, dry_run: bool = False) -> int:
        """Remove uploads whose writer is dead. Those of a living writer are kept, however old."""
        before = time.time() - older_than_seconds
        folders = [self._files.partial_folder(bucket) for bucket in BUCKETS]
        return sum([await _in_thread(remove_stale_uploads, folder, before, dry_run) for folder in folders])


async def _in_thread(work: Callable[[*Ts], T], *args: *Ts) -> T:
    try:
        return await to_thread.run_sync(work, *args)
    except OSError as error:
        raise to_domain_error(error) from error


async def _shielded(work: Callable[[], object]) -> None:
    """Clean up even when canceled. What cannot be removed now is left to `remove_stale_uploads`."""
    with anyio.CancelScope(shield=True), suppress(OSError):
        await to_thread.run_sync(work)


def _check_unchanged(source: BinaryIO, info: ObjectInfo, target: HashedFile) -> None:
    now = describe(info.key, None, os.fstat(source.fileno()))
    if (now.size, now.modified_at) != (info.size, info.modified_at) or target.size != info.size:
        raise object_changed(info.key)


def _too_large(key: str, size: str, limit: int) -> BodyTooLarge:
    return BodyTooLarge(f"{key!r} has {size} bytes; the limit is {limit}.", "Split the file, or raise the limit.")
