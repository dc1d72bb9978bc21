"""Downloads from S3: in parts, of one content, checked.

Every request after the first look names the ETag that was seen (If-Match), so that bytes of two contents never mix.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anyio
from anyio import to_thread
from botocore.exceptions import ClientError

from app.errors import StoreUnavailable
from app.objects import ObjectInfo, Progress
from app.storage.s3_errors import CONNECTION_ERRORS, Place, code_of
from app.storage.s3_transfer import CHUNK_BYTES, PartFile, together, told

_TRIES = 5
_FIRST_PAUSE = 0.1
_CHANGED = frozenset({"PreconditionFailed", "412", "NoSuchKey", "404", "InvalidRange", "416"})
_MD5 = re.compile(r"[0-9a-f]{32}")


class _AnotherContentError(Exception):
    """The object is not the one that was looked at."""


@dataclass(slots=True)
class _Body:
    """Chunks of a byte range; a connection that breaks off is taken up again where it stopped."""

    client: Any
    place: Place
    etag: str
    start: int
    stop: int
    headers: Mapping[str, Any] = field(default_factory=dict)

    async def chunks(self) -> AsyncIterator[bytes]:
        tries = 0
        while self.start < self.stop:
            try:
                async for chunk in self._ask():
                    self.start += len(chunk)
                    tries = 0
                    yield chunk
            except CONNECTION_ERRORS:
                tries += 1
                if tries == _TRIES:
                    raise
                await asyncio.sleep(_FIRST_PAUSE * 2**tries)

    async def _ask(self) -> AsyncIterator[bytes]:
        try:
            answer = await self.client.get_object(
                Bucket=self.place.bucket,
                Key=self.place.key,
                Range=f"bytes={self.start}-{self.stop - 1}",
                IfMatch=f'"{self.etag}"',
            )
        except ClientError as error:
            if code_of(error) in _CHANGED:
                raise _AnotherContentError from error
            raise
        self.headers = answer
        body, wanted = answer["Body"], self.stop - self.start
        if answer["ContentLength"] != wanted or answer.get("ETag", "").strip('"') != self.etag:
            body.close()
            raise _AnotherContentError
        try:
            while wanted > 0 and (chunk := await body.read(min(CHUNK_BYTES, wanted))):
                wanted -= len(chunk)
                yield chunk
        finally:
            body.close()
        if wanted:
            raise ConnectionError(f"{wanted} bytes of {self.place.key!r} did not come.")


async def stream(
    client: Any, place: Place, look: Callable[[], Awaitable[tuple[ObjectInfo, int, int]]]
) -> AsyncIterator[bytes]:
    """The bytes that `look` says (start, stop), of the content that it saw.

    Looks again when that was overwritten before its first byte came. Raises StoreUnavailable when it is later on.
    """
    for _ in range(_TRIES):
        info, start, stop = await look()
        begun = False
        try:
            async for chunk in _Body(client, place, info.etag, start, stop).chunks():
                begun = True
                yield chunk
            return
        except _AnotherContentError:
            if begun:
                break
    raise _changed(place.key)


async def download(
    client: Any,
    place: Place,
    look: Callable[[], Awaitable[ObjectInfo]],
    path: Path,
    part_bytes: int,
    concurrency: int,
    progress: Progress | None,
) -> ObjectInfo:
    """The object into a new file; begins again when it is overwritten meanwhile, or arrives damaged."""
    damaged = False
    for _ in range(_TRIES):
        info = await look()
        job = _Download(client, place, info, PartFile(path), part_bytes)
        try:
            digest = await told(job.run(concurrency), progress, job.done)
            if digest is not None:
                return replace(info, sha256=digest)
            damaged = True
        except _AnotherContentError:
            continue
        except BaseException:
            job.file.discard()
            raise
        finally:
            job.file.close()
    job.file.discard()
    if damaged:
        detail = f"The bytes of {place.key!r} are not those whose hash the object store keeps with it."
        raise StoreUnavailable(detail, "Upload the object again, and look at the object store's disks.")
    raise _changed(place.key)


@dataclass(slots=True)
class _Download:
    client: Any
    place: Place
    info: ObjectInfo
    file: PartFile
    part_bytes: int
    bytes_done: int = 0
    headers: Mapping[str, Any] = field(default_factory=dict)

    def done(self) -> int:
        return self.bytes_done

    async def run(self, concurrency: int) -> str | None:
        """The sha256; None when the bytes are not those that the server says it has."""
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

        await together(check(), *[work() for _ in range(min(concurrency, len(starts)))])
        if self.info.sha256 is not None:
            return sha256.hexdigest() if sha256.hexdigest() == self.info.sha256 else None
        if len(hashes) > 1 and not self._is_encrypted() and md5.hexdigest() != self.info.etag:
            return None
        return sha256.hexdigest()

    async def _part(self, start: int, end: int) -> None:
        body = _Body(self.client, self.place, self.info.etag, start, end)
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
        """The ETag of an object that went up in one piece is its MD5, which is worth a check without a better hash."""
        return self.info.sha256 is None and _MD5.fullmatch(self.info.etag) is not None

    def _is_encrypted(self) -> bool:
        """Encrypted with keys of others, an object's ETag is no MD5."""
        encryption = str(self.headers.get("ServerSideEncryption", ""))
        return encryption.startswith("aws:kms") or "SSECustomerAlgorithm" in self.headers


def _changed(key: str) -> StoreUnavailable:
    fix = "Try again when it is complete: upload it once, and let nobody overwrite it meanwhile."
    return StoreUnavailable(f"The object {key!r} changed while it was read.", fix)
