"""Downloads from S3: in parts, of one content, with their hash checked.

Every request for bytes names the ETag that was found first (If-Match), so that bytes of two contents never mix.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread
from botocore.exceptions import ClientError

from app.errors import StoreUnavailable
from app.objects import ObjectInfo, Progress
from app.storage.s3.errors import CONNECTION_ERRORS, Location, code_of
from app.storage.s3.etags import bucket_has_md5s, is_encrypted, may_be_md5
from app.storage.s3.transfer import CHUNK_BYTES, PartFile, gather_or_cancel, with_progress

_TRIES = 5
_FIRST_PAUSE = 0.1
_CHANGED = frozenset({"PreconditionFailed", "412", "NoSuchKey", "404", "InvalidRange", "416"})


class _ContentChangedError(Exception):
    """The object has another ETag than before."""


@dataclass(slots=True)
class _Body:
    """The chunks of a byte range. After a lost connection the download continues where it stopped."""

    client: Any
    location: Location
    etag: str
    start: int
    stop: int
    headers: Mapping[str, Any] = field(default_factory=dict)

    async def chunks(self) -> AsyncIterator[bytes]:
        tries = 0
        while self.start < self.stop:
            try:
                async for chunk in self._request():
                    self.start += len(chunk)
                    tries = 0
                    yield chunk
            except CONNECTION_ERRORS:
                tries += 1
                if tries == _TRIES:
                    raise
                await asyncio.sleep(_FIRST_PAUSE * 2**tries)

    async def _request(self) -> AsyncIterator[bytes]:
        try:
            answer = await self.client.get_object(
                Bucket=self.location.bucket,
                Key=self.location.key,
                Range=f"bytes={self.start}-{self.stop - 1}",
                IfMatch=f'"{self.etag}"',
            )
        except ClientError as error:
            if code_of(error) in _CHANGED:
                raise _ContentChangedError from error
            raise
        self.headers = answer
        body, wanted = answer["Body"], self.stop - self.start
        if answer["ContentLength"] != wanted or answer.get("ETag", "").strip('"') != self.etag:
            body.close()
            raise _ContentChangedError
        try:
            while wanted > 0 and (chunk := await body.read(min(CHUNK_BYTES, wanted))):
                wanted -= len(chunk)
                yield chunk
        finally:
            body.close()
        if wanted:
            raise ConnectionError(f"{wanted} bytes of {self.location.key!r} are missing.")


async def stream(
    client: Any, location: Location, find_range: Callable[[], Awaitable[tuple[ObjectInfo, int, int]]]
) -> AsyncIterator[bytes]:
    """Yield the bytes (start, stop) that `find_range` returns, of the content that it found.

    When the object is overwritten before the first byte arrives, `find_range` is called again.

    Raises:
        StoreUnavailable: the object was overwritten after the first byte.
    """
    for _ in range(_TRIES):
        info, start, stop = await find_range()
        begun = False
        try:
            async for chunk in _Body(client, location, info.etag, start, stop).chunks():
                begun = True
                yield chunk
            return
        except _ContentChangedError:
            if begun:
                break
    raise object_changed(location.key)


async def download(
    client: Any,
    location: Location,
    find: Callable[[], Awaitable[ObjectInfo]],
    path: Path,
    part_bytes: int,
    concurrency: int,
    progress: Progress | None,
) -> ObjectInfo:
    """Download an object into a new file. Begins again when it is overwritten meanwhile, or arrives damaged.

    Args:
        client: the S3 client.
        location: of the object.
        find: returns its current info.
        path: of the file.
        part_bytes: size of a request.
        concurrency: requests at once.
        progress: receives the number of bytes downloaded so far.
    """
    damaged = False
    for _ in range(_TRIES):
        info = await find()
        job = _Download(client, location, info, PartFile(path), part_bytes)
        try:
            digest = await with_progress(job.run(concurrency), progress, job.done)
            if digest is not None:
                return replace(info, sha256=digest)
            damaged = True
        except _ContentChangedError:
            continue
        except BaseException:
            job.file.discard()
            raise
        finally:
            job.file.close()
    job.file.discard()
    if damaged:
        detail = f"The bytes of {location.key!r} do not match the hash that the object store has for it."
        raise StoreUnavailable(detail, "Upload the object again, and check the disks of the object store.")
    raise object_changed(location.key)


@dataclass(slots=True)
class _Download:
    client: Any
    location: Location
    info: ObjectInfo
    file: PartFile
    part_bytes: int
    bytes_done: int = 0
    headers: Mapping[str, Any] = field(default_factory=dict)

    def done(self) -> int:
        return self.bytes_done

    async def run(self, concurrency: int) -> str | None:
        """Download all parts and return their sha256; None when they do not match the hash of the server."""
        starts = range(0, self.info.size, self.part_bytes)
        arrived = {start: anyio.Event() for start in starts}
        waiting = iter(starts)
        sha256 = hashlib.sha256()
        md5 = hashlib.md5(usedforsecurity=False)
        hashes = [sha256, md5] if self._may_be_md5() else [sha256]

        async def work() -> None:
            for start in waiting:
                await self._part(start, min(start + self.part_bytes, self.info.size))
                arrived[start].set()

        async def check() -> None:
            for start in starts:  # in order, while later parts still come
                await arrived[start].wait()
                end = min(start + self.part_bytes, self.info.size)
                await to_thread.run_sync(self.file.hash_range, start, end, hashes)

        await gather_or_cancel(check(), *[work() for _ in range(min(concurrency, len(starts)))])
        if self.info.sha256 is not None:
            return sha256.hexdigest() if sha256.hexdigest() == self.info.sha256 else None
        if len(hashes) > 1 and md5.hexdigest() != self.info.etag and await self._has_md5():
            return None
        return sha256.hexdigest()

    async def _part(self, start: int, end: int) -> None:
        body = _Body(self.client, self.location, self.info.etag, start, end)
        held = bytearray()
        async for chunk in body.chunks():
            held += chunk
            self.bytes_done += len(chunk)
            if len(held) >= CHUNK_BYTES:
                await to_thread.run_sync(self.file.write_at, start, held)
                start, held = start + len(held), bytearray()
        if held:
            await to_thread.run_sync(self.file.write_at, start, held)
        self.headers = body.headers

    def _may_be_md5(self) -> bool:
        """Whether the ETag may be the MD5 of the content, and there is no better hash."""
        return self.info.sha256 is None and may_be_md5(self.info.etag)

    async def _has_md5(self) -> bool:
        """Whether an ETag of that form is the MD5 of the content here. Asked only when it is not that of the bytes."""
        return not is_encrypted(self.headers) and await bucket_has_md5s(self.client, self.location)


def object_changed(key: str) -> StoreUnavailable:
    """Return the error for an object that is not what it was when it was looked at."""
    fix = "Try again, and do not overwrite the object meanwhile."
    return StoreUnavailable(f"The object {key!r} changed while it was read.", fix)
