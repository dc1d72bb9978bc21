"""Uploads to S3: one request for a small body, parts for a large one."""

from __future__ import annotations

import asyncio
import hashlib
import io
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
from botocore.exceptions import BotoCoreError, ClientError

from app.errors import BodyTooLarge, ObjectExists, StoreUnavailable
from app.models.base import utcnow
from app.objects import ObjectInfo
from app.storage.s3.errors import MISSING, Location, code_of
from app.storage.s3.etags import may_be_md5
from app.storage.s3.metadata import SHA256_KEY, TOKEN_KEY, describe, etag_of, to_seconds
from app.storage.s3.transfer import FileSlice, gather_or_cancel

# The largest body of one PutObject.
MAX_SINGLE_BYTES = 5 * 1024**3
_CONFLICT_TRIES = 10
_CONFLICT_PAUSE = 0.1
_TAKEN = frozenset({"PreconditionFailed", "412"})


class Piece(io.BytesIO):
    """One part of a stream, in memory."""

    def sha256(self) -> str:
        """Return the sha256 as hex digits."""
        return hashlib.sha256(self.getbuffer()).hexdigest()


class BodyFailedError(Exception):
    """The stream to upload failed. Not a failure of the object store, even if it is a connection error."""

    def __init__(self, reason: Exception) -> None:
        super().__init__(reason)
        self.reason = reason


async def mark_body_errors(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yield the stream; its errors are raised as BodyFailedError, unlike those of the connection to S3."""
    try:
        async for chunk in body:
            yield chunk
    except Exception as error:
        raise BodyFailedError(error) from error


async def split_stream(
    body: AsyncIterator[bytes], key: str, part_bytes: int, max_bytes: int | None
) -> tuple[Piece | None, AsyncIterator[Piece]]:
    """Return the whole stream if it fits in one piece, else its pieces. Raises BodyTooLarge."""
    found = _pieces(body, key, part_bytes, max_bytes)
    first = await anext(found)
    second = await anext(found, None)
    if second is None:
        return first, found
    held = [second, first]
    del first, second  # so that a piece is freed as soon as it is sent

    async def parts() -> AsyncIterator[Piece]:
        while held:
            yield held.pop()
        async for piece in found:
            yield piece

    return None, parts()


async def _pieces(body: AsyncIterator[bytes], key: str, part_bytes: int, max_bytes: int | None) -> AsyncIterator[Piece]:
    """The stream in pieces of that size; at least one, and only the last one is shorter. Raises BodyTooLarge."""
    piece, total, sent = Piece(), 0, 0
    async for chunk in body:
        total += len(chunk)
        if max_bytes is not None and total > max_bytes:
            detail = f"{key!r} has more than {max_bytes} bytes; the limit is {max_bytes}."
            raise BodyTooLarge(detail, "Split the file, or raise the limit.")
        view = memoryview(chunk)
        while view:
            room = part_bytes - piece.tell()
            if room == 0:
                piece.seek(0)
                yield piece
                piece, sent, room = Piece(), sent + 1, part_bytes
            piece.write(view[:room])
            view = view[room:]
    if piece.tell() or not sent:
        piece.seek(0)
        yield piece


async def put_single(
    client: Any, location: Location, body: io.IOBase, size: int, sha256: str, *, create_only: bool
) -> ObjectInfo:
    """Upload a body with one PutObject, whose signature has its sha256 for the server to check. Raises ObjectExists."""
    metadata = {SHA256_KEY: sha256, TOKEN_KEY: uuid4().hex}
    condition = {"IfNoneMatch": "*"} if create_only else {}
    etag = ""
    for attempt in range(_CONFLICT_TRIES):
        body.seek(0)
        try:
            answer = await client.put_object(
                Bucket=location.bucket, Key=location.key, Body=body, ContentLength=size, Metadata=metadata, **condition
            )
            etag = etag_of(answer)
            break
        except ClientError as error:
            if code_of(error) == "ConditionalRequestConflict" and attempt + 1 < _CONFLICT_TRIES:
                await asyncio.sleep(_CONFLICT_PAUSE)  # another conditional write of the key is under way
                continue
            if code_of(error) not in _TAKEN:
                raise
            # Or the answer was lost, the request was repeated, and found the object of its first try.
            if not await _exists(client, location, metadata[TOKEN_KEY]):
                raise _object_exists(location.key) from None
            break
    return await _confirm(client, location, metadata, etag, size)


@dataclass
class Upload:
    """A multipart upload, aborted unless it is completed."""

    client: Any
    location: Location
    upload_id: str
    metadata: dict[str, str]
    size: int = 0
    etags: dict[int, str] = field(default_factory=dict)
    done_bytes: int = 0
    under_way: set[io.IOBase] = field(default_factory=set)

    @classmethod
    @asynccontextmanager
    async def begin(cls, client: Any, location: Location, sha256: str | None) -> AsyncIterator[Upload]:
        """Begin an upload. sha256: of the content, if it is known."""
        metadata = {TOKEN_KEY: uuid4().hex} | ({SHA256_KEY: sha256} if sha256 else {})
        answer = await client.create_multipart_upload(Bucket=location.bucket, Key=location.key, Metadata=metadata)
        upload = cls(client, location, answer["UploadId"], metadata)
        try:
            yield upload
        except BaseException:
            # What cannot be aborted now is left to `remove_stale_uploads`.
            with anyio.CancelScope(shield=True), suppress(ClientError, BotoCoreError, OSError):
                await client.abort_multipart_upload(Bucket=location.bucket, Key=location.key, UploadId=upload.upload_id)
            raise

    async def send(self, number: int, body: io.IOBase, size: int) -> None:
        """Send one part; numbers begin at 1."""
        self.under_way.add(body)
        try:
            answer = await self.client.upload_part(
                Bucket=self.location.bucket,
                Key=self.location.key,
                UploadId=self.upload_id,
                PartNumber=number,
                Body=body,
                ContentLength=size,
            )
        finally:
            self.under_way.discard(body)
        self.etags[number] = answer["ETag"]
        self.done_bytes += size
        self.size += size

    def sent(self) -> int:
        """Return the bytes sent so far."""
        return self.done_bytes + sum(body.tell() for body in self.under_way)

    async def complete(self, *, create_only: bool) -> ObjectInfo:
        """Make the object. Raises ObjectExists."""
        condition = {"IfNoneMatch": "*"} if create_only else {}
        if create_only and await _exists(self.client, self.location, None):
            raise _object_exists(self.location.key)
        parts = [{"PartNumber": number, "ETag": etag} for number, etag in sorted(self.etags.items())]
        etag = self._etag()
        try:
            answer = await self.client.complete_multipart_upload(
                Bucket=self.location.bucket,
                Key=self.location.key,
                UploadId=self.upload_id,
                MultipartUpload={"Parts": parts},
                **condition,
            )
            etag = etag_of(answer) or etag  # Ceph 16 leaves it out
        except ClientError as error:
            code = code_of(error)
            if code not in {*_TAKEN, "NoSuchUpload", "ConditionalRequestConflict"}:
                raise
            # As above: a repeated completion finds no upload, or the object of its first try.
            if not await _exists(self.client, self.location, self.metadata[TOKEN_KEY]):
                if code == "NoSuchUpload":
                    raise
                raise _object_exists(self.location.key) from None
        return await _confirm(self.client, self.location, self.metadata, etag, self.size)

    def _etag(self) -> str:
        """The ETag that a server computes as S3 does."""
        md5 = hashlib.md5(usedforsecurity=False)
        for _, etag in sorted(self.etags.items()):
            md5.update(bytes.fromhex(etag.strip('"')) if may_be_md5(etag.strip('"')) else etag.encode())
        return f"{md5.hexdigest()}-{len(self.etags)}"


async def stream_parts(upload: Upload, parts: AsyncIterator[Piece], concurrency: int) -> None:
    """Send the pieces of a stream as parts, at most `concurrency` at once; meanwhile the stream is not read."""
    running: set[asyncio.Task[None]] = set()
    number = 0

    async def start(piece: Piece) -> None:
        nonlocal number, running
        number += 1
        running.add(asyncio.ensure_future(upload.send(number, piece, piece.getbuffer().nbytes)))
        if len(running) >= concurrency:
            done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                task.result()

    try:
        async for piece in parts:
            await start(piece)
        for task in list(running):
            await task
    finally:
        for task in running:
            task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.gather(*running, return_exceptions=True)


async def file_parts(upload: Upload, path: Path, size: int, part_bytes: int, concurrency: int) -> None:
    """Send a file as parts, `concurrency` at once, which are read while they are sent."""
    starts = iter(range(0, size, part_bytes))

    async def work() -> None:
        for start in starts:
            length = min(part_bytes, size - start)
            with FileSlice(path, start, length) as body:
                await upload.send(start // part_bytes + 1, body, length)

    await gather_or_cancel(*[work() for _ in range(concurrency)])


async def _exists(client: Any, location: Location, token: str | None) -> bool:
    """Whether an object with this key exists; with a token, whether the upload with this token made it."""
    try:
        head = await client.head_object(Bucket=location.bucket, Key=location.key)
    except ClientError as error:
        if code_of(error) in MISSING:
            return False
        raise
    return token is None or head.get("Metadata", {}).get(TOKEN_KEY) == token


async def _confirm(client: Any, location: Location, metadata: dict[str, str], etag: str, size: int) -> ObjectInfo:
    """Describe the uploaded object, with the time of the server. Raises StoreUnavailable when its size is wrong."""
    sha256 = metadata.get(SHA256_KEY)
    try:
        head = await client.head_object(Bucket=location.bucket, Key=location.key)
    except ClientError as error:
        if code_of(error) not in MISSING:
            raise
        head = {}
    if head.get("Metadata", {}).get(TOKEN_KEY) != metadata[TOKEN_KEY]:  # overwritten or deleted since
        return ObjectInfo(location.key, size, etag, to_seconds(utcnow()), sha256)
    info = describe(location.key, head)
    if info.size != size:
        detail = f"The object store at {location.endpoint} has {info.size} bytes of {location.key!r} instead of {size}."
        raise StoreUnavailable(detail, "Upload it again, and check the object store's log.")
    return replace(info, sha256=sha256)


def _object_exists(key: str) -> ObjectExists:
    return ObjectExists(f"The object {key!r} exists already.", "Choose another key, or delete the object first.")
