"""Object store behind the S3 API (MinIO, Ceph, AWS, …).

Create-only uses If-None-Match. Servers that support it for PutObject may ignore it for CompleteMultipartUpload and
overwrite (Ceph 16 does), so create-only objects are uploaded in one conditional request, which S3 allows up to 5 GiB.
Above that the condition is sent with the completion, after a check of the key; on such a server a second writer between
the two overwrites unnoticed. The same holds for `delete(etag=)`: a check, then a conditional request, whose condition
MinIO and Ceph ignore.

The sha256 is stored in the object's metadata when it is known before the upload begins: always for files, and for
streams of one part. `stat` returns it, listings do not, and downloads are checked against it.
"""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal

import anyio
from anyio import to_thread
from botocore.exceptions import BotoCoreError, ClientError

from app.errors import BodyTooLarge, DomainError, InvalidKey, NotFound, RangeNotSatisfiable, StoreUnavailable
from app.models.base import utcnow
from app.models.manifests.manifest import LAKE_BUCKET, LANDING_BUCKET
from app.objects import Listing, ObjectInfo, PresignedUrl, Progress, check_key
from app.settings import ObjectsSettings
from app.storage.s3.bucket_state import bucket_warnings
from app.storage.s3.buckets import abort_stale_uploads, check_bucket, make_bucket
from app.storage.s3.config import addressing_style, client_arguments, client_config, endpoint_url
from app.storage.s3.download import download, object_changed, stream
from app.storage.s3.errors import MISSING, Location, code_of, to_domain_error, translated
from app.storage.s3.listing import list_page
from app.storage.s3.metadata import describe
from app.storage.s3.names import check_names
from app.storage.s3.session import new_session
from app.storage.s3.transfer import FileSlice, file_sha256, with_progress
from app.storage.s3.upload import (
    MAX_SINGLE_BYTES,
    BodyFailedError,
    Upload,
    file_parts,
    mark_body_errors,
    put_single,
    split_stream,
    stream_parts,
)

_BUCKETS = (LANDING_BUCKET, LAKE_BUCKET)
_MAX_PARTS = 10_000


@asynccontextmanager
async def open_s3_store(settings: ObjectsSettings) -> AsyncIterator[S3ObjectStore]:
    """Open the store with clients of these settings. No request is made yet.

    Raises:
        StoreUnavailable: the settings cannot be used.
    """
    arguments = client_arguments(settings)
    wanted = [(arguments, True), (arguments, False)]
    if settings.public_endpoint:
        public = endpoint_url(settings.public_endpoint, "SPATIAL_ETL_OBJECTS__PUBLIC_ENDPOINT")
        wanted.append((arguments | {"endpoint_url": public}, True))
    session = new_session()
    location = Location(arguments.get("endpoint_url", "AWS"), "")
    async with AsyncExitStack() as stack:
        clients = []
        for given, retry in wanted:
            config = client_config(settings, retry=retry)
            try:
                clients.append(await stack.enter_async_context(session.client("s3", config=config, **given)))
            except (BotoCoreError, ValueError) as error:
                raise to_domain_error(error, location) from error
        yield S3ObjectStore(
            clients[0], clients[1], clients[2] if clients[2:] else clients[0], settings, location.endpoint
        )


class S3ObjectStore:
    """`app.objects.ObjectStore` over S3.

    Args:
        client: for all requests.
        probe: for health checks, without retries.
        signer: for presigned URLs, with the public endpoint.
        settings: of the store.
        endpoint: for messages.
    """

    def __init__(self, client: Any, probe: Any, signer: Any, settings: ObjectsSettings, endpoint: str) -> None:
        self._client, self._probe, self._signer = client, probe, signer
        self._settings = settings
        self._endpoint = endpoint

    async def put(
        self,
        bucket: str,
        key: str,
        body: AsyncIterator[bytes],
        *,
        create_only: bool = False,
        max_bytes: int | None = None,
    ) -> ObjectInfo:
        location = self._location(bucket, check_key(key))
        try:
            return await self._put(location, bucket, mark_body_errors(body), create_only, max_bytes)
        except BodyFailedError as error:
            raise error.reason from None

    async def _put(
        self, location: Location, bucket: str, body: AsyncIterator[bytes], create_only: bool, max_bytes: int | None
    ) -> ObjectInfo:
        whole, parts = await split_stream(body, location.key, self._part_bytes(max_bytes or 0), max_bytes)
        with translated(location):
            await self._check_names(location)
        if whole is not None:
            size, digest = whole.getbuffer().nbytes, whole.sha256()
            with translated(location):
                return await put_single(self._client, location, whole, size, digest, create_only=create_only)
        if create_only:  # a conditional request needs the size and hash, so spool the stream to a file
            with tempfile.NamedTemporaryFile() as spool:
                async for piece in parts:
                    await to_thread.run_sync(spool.write, piece.getbuffer())
                await to_thread.run_sync(spool.flush)
                return await self.put_file(bucket, location.key, Path(spool.name), create_only=True)
        with translated(location):
            async with Upload.begin(self._client, location, None) as upload:
                await stream_parts(upload, parts, self._settings.concurrency)
                await self._check_names(location)  # again: the body may have taken long
                return await upload.complete(create_only=False)

    async def put_file(
        self, bucket: str, key: str, path: Path, *, create_only: bool = False, progress: Progress | None = None
    ) -> ObjectInfo:
        location = self._location(bucket, check_key(key))
        with translated(location):
            await self._check_names(location)
        size = (await anyio.Path(path).stat()).st_size
        digest = await to_thread.run_sync(file_sha256, path)
        part_bytes = self._part_bytes(size)
        if size <= part_bytes or (create_only and size <= MAX_SINGLE_BYTES):
            with translated(location), FileSlice(path, 0, size) as body:
                job = put_single(self._client, location, body, size, digest, create_only=create_only)
                return await with_progress(job, progress, body.tell)
        with translated(location):
            async with Upload.begin(self._client, location, digest) as upload:
                job_parts = file_parts(upload, path, size, part_bytes, self._settings.concurrency)
                await with_progress(job_parts, progress, upload.sent)
                return await upload.complete(create_only=create_only)

    async def fetch(
        self,
        bucket: str,
        key: str,
        path: Path,
        *,
        max_bytes: int | None = None,
        progress: Progress | None = None,
    ) -> ObjectInfo:
        location = self._location(bucket, check_key(key))

        async def find() -> ObjectInfo:
            info = await self._existing(bucket, key)
            if max_bytes is not None and info.size > max_bytes:
                detail = f"{key!r} has {info.size} bytes; the limit is {max_bytes}."
                raise BodyTooLarge(detail, "Split the file, or raise the limit.")
            return info

        with translated(location):
            return await download(
                self._client, location, find, path, self._settings.part_bytes, self._settings.concurrency, progress
            )

    async def read(
        self, bucket: str, key: str, *, start: int = 0, end: int | None = None, etag: str | None = None
    ) -> AsyncIterator[bytes]:
        location = self._location(bucket, check_key(key))

        async def find_range() -> tuple[ObjectInfo, int, int]:
            info = await self._existing(bucket, key)
            if etag not in (None, info.etag):
                raise object_changed(key)
            stop = info.size if end is None else min(end, info.size)
            if start < 0 or (end is not None and end < start) or start >= max(info.size, 1):
                bounds = f"{start} to {'the end' if end is None else end}"
                detail = f"Bytes {bounds} of {key!r}, which has {info.size} bytes."
                raise RangeNotSatisfiable(detail, "Ask for a range that starts inside the object.")
            return info, start, stop

        with translated(location):
            async for chunk in stream(self._client, location, find_range):
                yield chunk

    async def stat(self, bucket: str, key: str) -> ObjectInfo | None:
        location = self._location(bucket, check_key(key))
        try:
            with translated(location):
                return describe(key, await self._client.head_object(Bucket=location.bucket, Key=key))
        except DomainError as error:
            if isinstance(error.__cause__, ClientError):
                # An answer to HEAD has no body: only another request tells whether key, bucket or rights are missing.
                await check_bucket(self._client, location)
            if code_of(error.__cause__) in MISSING:
                return None
            raise

    async def list_objects(
        self,
        bucket: str,
        prefix: str = "",
        after: str = "",
        limit: int = 1000,
        *,
        only: Callable[[str], bool] | None = None,
    ) -> Listing:
        """Without the sha256."""
        location = self._location(bucket)
        with translated(location):
            return await list_page(self._client, location, prefix, after, limit, only)

    async def delete(self, bucket: str, key: str, *, etag: str | None = None) -> bool:
        """Of two deletions at the same moment both may return True."""
        location = self._location(bucket, check_key(key))
        info = await self.stat(bucket, key)
        if info is None or (etag is not None and info.etag != etag):
            return False
        condition = {} if etag is None else {"IfMatch": f'"{etag}"'}
        try:
            with translated(location):
                await self._client.delete_object(Bucket=location.bucket, Key=key, **condition)
        except DomainError as error:
            if code_of(error.__cause__) in {"PreconditionFailed", "412", *MISSING}:
                return False
            raise
        return True

    async def presign(self, method: Literal["GET", "PUT"], bucket: str, key: str) -> PresignedUrl | None:
        location = self._location(bucket, check_key(key))
        operation = {"GET": "get_object", "PUT": "put_object"}[method]
        seconds = self._settings.presign_seconds
        expires_at = utcnow() + timedelta(seconds=seconds)
        with translated(location):
            if method == "PUT":
                await self._check_names(location)
            url = await self._signer.generate_presigned_url(
                operation, Params={"Bucket": location.bucket, "Key": key}, ExpiresIn=seconds
            )
        return PresignedUrl(url, method, expires_at, {})

    async def presign_post(self, bucket: str, key: str, max_bytes: int) -> PresignedUrl | None:
        location = self._location(bucket, check_key(key))
        if "${filename}" in key:  # S3 would insert the name of the browser's file
            raise InvalidKey(f"The key {key!r} has ${{filename}}, a placeholder of S3 forms.", "Choose another key.")
        seconds = self._settings.presign_seconds
        expires_at = utcnow() + timedelta(seconds=seconds)
        with translated(location):
            await self._check_names(location)
            form = await self._signer.generate_presigned_post(
                location.bucket, key, Conditions=[["content-length-range", 0, max_bytes]], ExpiresIn=seconds
            )
        return PresignedUrl(form["url"], "POST", expires_at, form["fields"])

    async def make_buckets(self) -> tuple[str, ...]:
        """Returns the names at the server, with their prefix."""
        made = []
        for bucket in _BUCKETS:
            location = self._location(bucket)
            try:
                await check_bucket(self._client, location)
            except StoreUnavailable as error:
                if code_of(error.__cause__) != "NoSuchBucket" or not self._settings.create_buckets:
                    raise
                if await make_bucket(self._client, location, self._settings.region):
                    made.append(location.bucket)
        return tuple(made)

    async def remove_stale_uploads(self, older_than_seconds: float, *, dry_run: bool = False) -> int:
        before = utcnow() - timedelta(seconds=older_than_seconds)
        locations = [self._location(bucket) for bucket in _BUCKETS]
        return sum([await abort_stale_uploads(self._client, each, before, dry_run=dry_run) for each in locations])

    async def ping(self) -> dict[str, str]:
        for bucket in _BUCKETS:
            answer = await check_bucket(self._probe, self._location(bucket))
        server = str(answer["ResponseMetadata"]["HTTPHeaders"].get("server", "unknown"))
        prefix = self._settings.bucket_prefix
        style = addressing_style(self._settings)
        return {
            "backend": "s3",
            "endpoint": self._endpoint,
            "server": server,
            "bucket_prefix": prefix,
            "addressing": style,
        }

    async def bucket_warnings(self) -> tuple[str, ...]:
        found: list[str] = []
        for bucket in _BUCKETS:
            location = self._location(bucket)
            with translated(location):
                found += await bucket_warnings(self._client, location)
        return tuple(found)

    def _location(self, bucket: str, key: str = "") -> Location:
        if bucket not in _BUCKETS:
            raise NotFound(f"There is no bucket {bucket!r}.", f"The buckets are {' and '.join(_BUCKETS)}.")
        return Location(self._endpoint, self._settings.bucket_prefix + bucket, key)

    async def _check_names(self, location: Location) -> None:
        """See `check_names`. In the lake is nothing to look for: its keys are DATASET/vN/NAME, all of this service."""
        if location.bucket != self._settings.bucket_prefix + LAKE_BUCKET:
            await check_names(self._client, location)

    def _part_bytes(self, size: int) -> int:
        return max(self._settings.part_bytes, -(-size // _MAX_PARTS))

    async def _existing(self, bucket: str, key: str) -> ObjectInfo:
        info = await self.stat(bucket, key)
        if info is None:
            raise NotFound(f"There is no object {key!r} in {bucket}.", f"List {bucket} to see its keys.")
        return info
