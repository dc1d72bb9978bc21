"""Object store behind the S3 API (MinIO, Ceph, AWS, …).

Create-only rests on If-None-Match. Servers that know it for PutObject may ignore it for CompleteMultipartUpload and
overwrite (Ceph 16 does), so create-only objects go up in one conditional request, which S3 allows up to 5 GiB. Above
that the condition is sent with the completion, after a look at the key: on such a server the moment between the two is
a window in which a second writer wins unseen. `delete(etag=)` is the same: a look, then a conditional request, with
that window where the server ignores the condition (MinIO and Ceph do).

The sha256 travels in the object's metadata where it is known before the first byte goes out: always for files, and for
streams of one part. It comes back from `stat`, not from listings, and downloads are checked against it.
"""

from __future__ import annotations

import functools
import importlib
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import aioboto3
import anyio
from aiobotocore.session import get_session
from anyio import to_thread
from botocore.exceptions import BotoCoreError, ClientError
from botocore.loaders import Loader

from app.errors import BodyTooLarge, DomainError, InvalidKey, NotFound, RangeNotSatisfiable, StoreUnavailable
from app.models.base import utcnow
from app.models.manifest import LAKE_BUCKET, LANDING_BUCKET
from app.objects import Listing, ObjectInfo, PresignedUrl, Progress, check_key
from app.settings import ObjectsSettings
from app.storage.s3_config import client_arguments, client_config, endpoint_url
from app.storage.s3_download import download, stream
from app.storage.s3_errors import Place, code_of, refusal, translated
from app.storage.s3_objects import clean, describe, etag_of, is_key, to_seconds
from app.storage.s3_transfer import FileSlice, file_sha256, told
from app.storage.s3_upload import (
    MAX_SINGLE_BYTES,
    BodyFailedError,
    Upload,
    file_parts,
    guarded,
    put_at_once,
    split,
    stream_parts,
)

_BUCKETS = (LANDING_BUCKET, LAKE_BUCKET)
_MAX_PARTS = 10_000
_MISSING = frozenset({"404", "NoSuchKey"})


@functools.cache
def _descriptions() -> Loader:
    """What botocore knows about services, and has read so far: shared by all clients of a process and its children."""
    loader: Loader = get_session().get_component("data_loader")
    return loader


def read_descriptions() -> None:
    """Before a process forks: its children would each read them again, and what aioboto3 imports late."""
    importlib.import_module("aioboto3.s3.inject")
    for kind in ("service-2", "endpoint-rule-set-1", "paginators-1", "waiters-2"):
        _descriptions().load_service_model("s3", kind)
    for name in ("endpoints", "partitions", "sdk-default-configuration", "_retry"):
        _descriptions().load_data(name)


def _session() -> aioboto3.Session:
    core = get_session()
    core.register_component("data_loader", _descriptions())
    return aioboto3.Session(botocore_session=core)


@asynccontextmanager
async def open_s3_store(settings: ObjectsSettings) -> AsyncIterator[S3ObjectStore]:
    """Clients of these settings; nothing is asked of the server yet. Raises StoreUnavailable for unusable settings."""
    arguments = client_arguments(settings)
    wanted = [(arguments, True), (arguments, False)]
    if settings.public_endpoint:
        public = endpoint_url(settings.public_endpoint, "SPATIAL_ETL_OBJECTS__PUBLIC_ENDPOINT")
        wanted.append((arguments | {"endpoint_url": public}, True))
    session = _session()
    place = Place(arguments.get("endpoint_url", "AWS"), "")
    async with AsyncExitStack() as stack:
        clients = []
        for given, patient in wanted:
            config = client_config(settings, patient=patient)
            try:
                clients.append(await stack.enter_async_context(session.client("s3", config=config, **given)))
            except (BotoCoreError, ValueError) as error:
                raise refusal(error, place) from error
        yield S3ObjectStore(clients[0], clients[1], clients[2] if clients[2:] else clients[0], settings, place.endpoint)


class S3ObjectStore:
    """`app.objects.ObjectStore` over S3. client: for the work; probe: one try, for health; signer: for public URLs."""

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
        place = self._place(bucket, check_key(key))
        try:
            return await self._put(place, bucket, guarded(body), create_only, max_bytes)
        except BodyFailedError as error:
            raise error.reason from None

    async def _put(
        self, place: Place, bucket: str, body: AsyncIterator[bytes], create_only: bool, max_bytes: int | None
    ) -> ObjectInfo:
        whole, parts = await split(body, place.key, self._part_bytes(max_bytes or 0), max_bytes)
        if whole is not None:
            size, digest = whole.getbuffer().nbytes, whole.sha256()
            with translated(place):
                return await put_at_once(self._client, place, whole, size, digest, create_only=create_only)
        if create_only:  # only a file, of known size and hash, goes up in one conditional request
            with tempfile.NamedTemporaryFile() as spool:
                async for piece in parts:
                    await to_thread.run_sync(spool.write, piece.getbuffer())
                await to_thread.run_sync(spool.flush)
                return await self.put_file(bucket, place.key, Path(spool.name), create_only=True)
        with translated(place):
            async with Upload.begin(self._client, place, None) as upload:
                await stream_parts(upload, parts, self._settings.concurrency)
                return await upload.complete(create_only=False)

    async def put_file(
        self, bucket: str, key: str, path: Path, *, create_only: bool = False, progress: Progress | None = None
    ) -> ObjectInfo:
        place = self._place(bucket, check_key(key))
        size = (await anyio.Path(path).stat()).st_size
        digest = await to_thread.run_sync(file_sha256, path)
        part_bytes = self._part_bytes(size)
        if size <= part_bytes or (create_only and size <= MAX_SINGLE_BYTES):
            with translated(place), FileSlice(path, 0, size) as body:
                job = put_at_once(self._client, place, body, size, digest, create_only=create_only)
                return await told(job, progress, body.tell)
        with translated(place):
            async with Upload.begin(self._client, place, digest) as upload:
                job_parts = file_parts(upload, path, size, part_bytes, self._settings.concurrency)
                await told(job_parts, progress, upload.sent)
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
        place = self._place(bucket, check_key(key))

        async def look() -> ObjectInfo:
            info = await self._existing(bucket, key)
            if max_bytes is not None and info.size > max_bytes:
                detail = f"{key!r} has {info.size} bytes; the limit is {max_bytes}."
                raise BodyTooLarge(detail, "Split the file, or raise the limit.")
            return info

        with translated(place):
            return await download(
                self._client, place, look, path, self._settings.part_bytes, self._settings.concurrency, progress
            )

    async def read(self, bucket: str, key: str, *, start: int = 0, end: int | None = None) -> AsyncIterator[bytes]:
        place = self._place(bucket, check_key(key))

        async def look() -> tuple[ObjectInfo, int, int]:
            info = await self._existing(bucket, key)
            stop = info.size if end is None else min(end, info.size)
            if start < 0 or (end is not None and end < start) or start >= max(info.size, 1):
                bounds = f"{start} to {'the end' if end is None else end}"
                detail = f"Bytes {bounds} of {key!r}, which has {info.size} bytes."
                raise RangeNotSatisfiable(detail, "Ask for a range that starts inside the object.")
            return info, start, stop

        with translated(place):
            async for chunk in stream(self._client, place, look):
                yield chunk

    async def stat(self, bucket: str, key: str) -> ObjectInfo | None:
        place = self._place(bucket, check_key(key))
        try:
            with translated(place):
                return describe(key, await self._client.head_object(Bucket=place.bucket, Key=key))
        except DomainError as error:
            if isinstance(error.__cause__, ClientError):
                # An answer to HEAD has no body: whether key, bucket or rights are missing shows in another request.
                await self._look_into(place, self._client)
            if code_of(error.__cause__) in _MISSING:
                return None
            raise

    async def list_objects(self, bucket: str, prefix: str = "", after: str = "", limit: int = 1000) -> Listing:
        """Without the sha256. Objects whose names are no keys here (such as `folder/`) are passed over."""
        place = self._place(bucket)
        if clean(prefix) != prefix:
            return Listing(())  # no key has such characters
        with translated(place):
            page = await self._client.list_objects_v2(
                Bucket=place.bucket, Prefix=prefix, StartAfter=clean(after), MaxKeys=limit
            )
        found = page.get("Contents", [])
        infos = tuple(
            ObjectInfo(each["Key"], each["Size"], etag_of(each), to_seconds(each["LastModified"]))
            for each in found
            if each["Key"] > after and is_key(each["Key"])
        )
        return Listing(infos, found[-1]["Key"] if page.get("IsTruncated") and found else None)

    async def delete(self, bucket: str, key: str, *, etag: str | None = None) -> bool:
        """As the protocol. Of two deletions at the same moment both may say that there was something."""
        place = self._place(bucket, check_key(key))
        info = await self.stat(bucket, key)
        if info is None or (etag is not None and info.etag != etag):
            return False
        condition = {} if etag is None else {"IfMatch": f'"{etag}"'}
        try:
            with translated(place):
                await self._client.delete_object(Bucket=place.bucket, Key=key, **condition)
        except DomainError as error:
            if code_of(error.__cause__) in {"PreconditionFailed", "412", *_MISSING}:
                return False
            raise
        return True

    async def presign(self, method: Literal["GET", "PUT"], bucket: str, key: str) -> PresignedUrl | None:
        place = self._place(bucket, check_key(key))
        operation = {"GET": "get_object", "PUT": "put_object"}[method]
        seconds = self._settings.presign_seconds
        expires_at = utcnow() + timedelta(seconds=seconds)
        with translated(place):
            url = await self._signer.generate_presigned_url(
                operation, Params={"Bucket": place.bucket, "Key": key}, ExpiresIn=seconds
            )
        return PresignedUrl(url, method, expires_at, {})

    async def presign_post(self, bucket: str, key: str, max_bytes: int) -> PresignedUrl | None:
        place = self._place(bucket, check_key(key))
        if "${filename}" in key:  # S3 would put the name of the browser's file there
            raise InvalidKey(f"The key {key!r} has the placeholder of forms, ${{filename}}.", "Choose another key.")
        seconds = self._settings.presign_seconds
        expires_at = utcnow() + timedelta(seconds=seconds)
        with translated(place):
            form = await self._signer.generate_presigned_post(
                place.bucket, key, Conditions=[["content-length-range", 0, max_bytes]], ExpiresIn=seconds
            )
        return PresignedUrl(form["url"], "POST", expires_at, form["fields"])

    async def make_buckets(self) -> tuple[str, ...]:
        """As the protocol; the names are those at the server, with their prefix."""
        made = []
        for bucket in _BUCKETS:
            place = self._place(bucket)
            try:
                await self._look_into(place, self._client)
            except StoreUnavailable as error:
                if code_of(error.__cause__) != "NoSuchBucket" or not self._settings.create_buckets:
                    raise
                if await self._make_bucket(place):
                    made.append(place.bucket)
        return tuple(made)

    async def remove_stale_uploads(self, older_than_seconds: float, *, dry_run: bool = False) -> int:
        """Abort uploads that have got no part for that long. MinIO lists none of them: it removes them itself."""
        before = utcnow() - timedelta(seconds=older_than_seconds)
        removed = 0
        for bucket in _BUCKETS:
            place = self._place(bucket)
            with translated(place):
                pages = self._client.get_paginator("list_multipart_uploads").paginate(Bucket=place.bucket)
                async for page in pages:
                    for upload in page.get("Uploads", []):
                        if upload["Initiated"] < before and await self._is_idle(place.bucket, upload, before):
                            removed += dry_run or await self._abort(place.bucket, upload)
        return removed

    async def ping(self) -> dict[str, str]:
        for bucket in _BUCKETS:
            answer = await self._look_into(self._place(bucket), self._probe)
        server = str(answer["ResponseMetadata"]["HTTPHeaders"].get("server", "unknown"))
        prefix = self._settings.bucket_prefix
        return {"backend": "s3", "endpoint": self._endpoint, "server": server, "bucket_prefix": prefix}

    def _place(self, bucket: str, key: str = "") -> Place:
        if bucket not in _BUCKETS:
            raise NotFound(f"There is no bucket {bucket!r}.", f"The buckets are {' and '.join(_BUCKETS)}.")
        return Place(self._endpoint, self._settings.bucket_prefix + bucket, key)

    def _part_bytes(self, size: int) -> int:
        return max(self._settings.part_bytes, -(-size // _MAX_PARTS))

    async def _existing(self, bucket: str, key: str) -> ObjectInfo:
        info = await self.stat(bucket, key)
        if info is None:
            raise NotFound(f"There is no object {key!r} in {bucket}.", f"Look at what is there: list {bucket}.")
        return info

    async def _look_into(self, place: Place, client: Any) -> dict[str, Any]:
        """A request whose refusal says why. Raises StoreUnavailable."""
        with translated(place):
            answer: dict[str, Any] = await client.list_objects_v2(Bucket=place.bucket, MaxKeys=1)
            return answer

    async def _make_bucket(self, place: Place) -> bool:
        region = self._settings.region
        location = {} if region == "us-east-1" else {"CreateBucketConfiguration": {"LocationConstraint": region}}
        try:
            with translated(place):
                await self._client.create_bucket(Bucket=place.bucket, **location)
        except DomainError as error:
            code = code_of(error.__cause__)
            if code == "BucketAlreadyOwnedByYou":  # another process of ours was faster
                return False
            if code == "AccessDenied":
                fix = "Make the bucket yourself, or give the owner of SPATIAL_ETL_OBJECTS__ACCESS_KEY s3:CreateBucket."
                detail = f"The bucket {place.bucket!r} is missing at {place.endpoint} and may not be made."
                raise StoreUnavailable(detail, fix) from error
            raise
        return True

    async def _is_idle(self, bucket: str, upload: dict[str, Any], before: datetime) -> bool:
        pages = self._client.get_paginator("list_parts").paginate(
            Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"]
        )
        try:
            return all([part["LastModified"] < before async for page in pages for part in page.get("Parts", [])])
        except ClientError as error:
            if code_of(error) == "NoSuchUpload":  # completed meanwhile
                return False
            raise

    async def _abort(self, bucket: str, upload: dict[str, Any]) -> bool:
        try:
            await self._client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        except ClientError as error:
            if code_of(error) == "NoSuchUpload":
                return False
            raise
        return True
