"""S3 servers for the tests: moto (takes any keys and expired URLs), radosgw (a real one), or those that are given.

A given one: SPATIAL_ETL_TEST_S3_ENDPOINT, SPATIAL_ETL_TEST_S3_ACCESS_KEY and SPATIAL_ETL_TEST_S3_SECRET_KEY. A given
MinIO: the same with SPATIAL_ETL_TEST_MINIO_; what it does in its own way stands in tests/contract/stores.py. Tests use
buckets of their own, which they remove.
"""

from __future__ import annotations

import atexit
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any
from uuid import uuid4

import aioboto3
import httpx
import pytest
from pydantic import SecretStr

from app.models.manifests.manifest import LAKE_BUCKET, LANDING_BUCKET
from app.objects import ObjectStore
from app.settings import MiB, ObjectsSettings
from app.storage.s3.config import client_arguments, client_config
from app.storage.s3.store import open_s3_store
from app.system.processes import tied_to_parent
from tests.servers import radosgw, require_servers
from tests.servers.ports import free_port

GIVEN = {"given": "SPATIAL_ETL_TEST_S3_", "minio": "SPATIAL_ETL_TEST_MINIO_"}
SERVERS = ("moto", "radosgw", *(name for name, group in GIVEN.items() if f"{group}ENDPOINT" in os.environ))


@dataclass(frozen=True)
class Server:
    """Where a server is, and with which keys."""

    endpoint: str
    access_key: str
    secret_key: str

    def settings(self, **changes: Any) -> ObjectsSettings:
        """Settings with buckets that nobody else uses, and small parts."""
        values: dict[str, Any] = {
            "backend": "s3",
            "endpoint": self.endpoint,
            "access_key": SecretStr(self.access_key),
            "secret_key": SecretStr(self.secret_key),
            "bucket_prefix": f"t{uuid4().hex[:10]}-",
            "part_bytes": 5 * MiB,
            "concurrency": 2,
        }
        return ObjectsSettings(**{**values, **changes})


def server(name: str) -> Server:
    """The server of that name, started when needed; skips the test when it cannot be had."""
    if name in GIVEN:
        return Server(*(os.environ[GIVEN[name] + part] for part in ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY")))
    return {"moto": moto_endpoint, "radosgw": radosgw_endpoint}[name]()


@cache
def moto_endpoint() -> Server:
    """A process of its own, so that its memory and its pauses are not those of the test."""
    require_servers()
    port = free_port()
    log = tempfile.TemporaryFile()  # noqa: SIM115 # for as long as the server runs
    code = "from moto.server import main; main()"
    command = [sys.executable, "-c", code, "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(tied_to_parent(command), stdout=log, stderr=log)
    atexit.register(process.kill)
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            httpx.get(f"http://127.0.0.1:{port}/moto-api/", timeout=5, trust_env=False)
        except httpx.HTTPError:
            time.sleep(0.1)
        else:
            return Server(f"http://127.0.0.1:{port}", "any", "keys")
    log.seek(0)
    raise RuntimeError(f"moto did not start:\n{log.read().decode(errors='replace')}")


def radosgw_endpoint() -> Server:
    require_servers()
    if reason := radosgw.missing():
        pytest.skip(reason)
    found = radosgw.shared()
    return Server(found["endpoint"], found["access_key"], found["secret_key"])


@asynccontextmanager
async def fresh_store(settings: ObjectsSettings) -> AsyncIterator[ObjectStore]:
    """A store with new, empty buckets, which are removed with all that is in them."""
    async with open_s3_store(settings) as store:
        made = await store.make_buckets()
        try:
            yield store
        finally:
            await remove_buckets(settings, made)


@asynccontextmanager
async def raw_client(settings: ObjectsSettings) -> AsyncIterator[Any]:
    """The bare client of these settings, to look at the server past the store."""
    config = client_config(settings, retry=True)
    async with aioboto3.Session().client("s3", config=config, **client_arguments(settings)) as client:
        yield client


async def remove_buckets(settings: ObjectsSettings, names: tuple[str, ...] = ()) -> None:
    """Remove those buckets, or both of the settings, with all that is in them."""
    async with raw_client(settings) as client:
        for bucket in names or [settings.bucket_prefix + name for name in (LANDING_BUCKET, LAKE_BUCKET)]:
            await _remove_bucket(client, bucket)


async def _remove_bucket(client: Any, bucket: str) -> None:
    async for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket):
        for found in page.get("Contents", []):
            await client.delete_object(Bucket=bucket, Key=found["Key"])
    async for page in client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket):
        for upload in page.get("Uploads", []):
            await client.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
    await client.delete_bucket(Bucket=bucket)
