"""The S3 store where S3 goes wrong: keys, clocks, broken connections, overwrites, uploads that nobody finishes."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import botocore.auth
import httpx
import pytest
from pydantic import SecretStr

from app.errors import DomainError, NotFound, ObjectExists, StoreUnavailable
from app.models.manifests.manifest import LAKE_BUCKET as LAKE
from app.models.manifests.manifest import LANDING_BUCKET as LANDING
from app.settings import MiB, ObjectsSettings
from app.storage.s3.config import endpoint_url
from app.storage.s3.metadata import SHA256_KEY
from app.storage.s3.store import S3ObjectStore, open_s3_store
from tests.contract.stores import LISTS_NO_UPLOADS, MINIO_REFUSES
from tests.servers import s3
from tests.servers.ports import free_port

pytestmark = pytest.mark.anyio

GROUP = "SPATIAL_ETL_OBJECTS__"


@pytest.fixture(params=s3.SERVERS)
def server(request: pytest.FixtureRequest) -> s3.Server:
    return s3.server(request.param)


@pytest.fixture
def radosgw() -> s3.Server:
    return s3.radosgw_endpoint()


async def stream(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


async def refused(settings: ObjectsSettings) -> StoreUnavailable:
    """What ping, making buckets and ordinary calls say, which must be the same."""
    found: list[StoreUnavailable] = []
    async with open_s3_store(settings) as store:
        for call in (
            store.ping,
            store.make_buckets,
            lambda: store.stat(LANDING, "k"),
            lambda: store.list_objects(LANDING),
            lambda: store.put(LANDING, "k", stream(b"x")),
        ):
            with pytest.raises(StoreUnavailable) as error:
                await call()
            found.append(error.value)
    assert len({(error.detail, error.fix) for error in found}) == 1, found
    for secret in (settings.access_key, settings.secret_key):
        assert secret is not None
        assert secret.get_secret_value() not in str(found[0])
    return found[0]


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("minio:9000", "http://minio:9000"),
        ("http://minio:9000/", "http://minio:9000"),
        ("https://s3.example", "https://s3.example"),
        ("s3.example", "https://s3.example"),
        ("s3.example:443", "https://s3.example:443"),
        ("HTTP://[::1]:9000", "http://[::1]:9000"),
        ("[::1]:9000", "http://[::1]:9000"),
        ("::1", "https://[::1]"),
    ],
)
def test_endpoints_as_people_write_them(text: str, url: str) -> None:
    assert endpoint_url(text, f"{GROUP}ENDPOINT") == url


@pytest.mark.parametrize("text", ["", "ftp://x", "http://", "user:pass@minio:9000", "minio:9000/bucket", "minio:99999"])
def test_endpoints_that_are_none(text: str) -> None:
    with pytest.raises(StoreUnavailable, match=f"{GROUP}ENDPOINT") as error:
        endpoint_url(text, f"{GROUP}ENDPOINT")
    assert "pass" not in str(error.value)
    assert error.value.fix


class TestRefusals:
    async def test_wrong_secret(self, radosgw: s3.Server) -> None:
        error = await refused(radosgw.settings(secret_key=SecretStr("not-the-secret")))
        assert "secret key is not that of the access key" in error.detail
        assert f"{GROUP}SECRET_KEY" in error.fix

    async def test_unknown_access_key(self, radosgw: s3.Server) -> None:
        error = await refused(radosgw.settings(access_key=SecretStr("NOBODYHASTHIS")))
        assert "does not know the access key" in error.detail
        assert f"{GROUP}ACCESS_KEY" in error.fix

    async def test_clock(self, radosgw: s3.Server, monkeypatch: pytest.MonkeyPatch) -> None:
        right = botocore.auth.get_current_datetime
        monkeypatch.setattr(botocore.auth, "get_current_datetime", lambda *args: right(*args) - timedelta(hours=1))
        error = await refused(radosgw.settings())
        assert "clock" in error.detail

    async def test_no_rights(self, radosgw: s3.Server) -> None:
        settings = radosgw.settings()
        async with s3.fresh_store(settings):
            other = settings.model_copy(update={"access_key": SecretStr("ACCESSOFOTHERS")})
            error = await refused(other)
        assert "denies access to the bucket" in error.detail
        assert "s3:ListBucket" in error.fix

    async def test_missing_bucket(self, server: s3.Server, tmp_path: Path) -> None:
        settings = server.settings(create_buckets=False)
        error = await refused(settings)
        assert f"no bucket '{settings.bucket_prefix}{LANDING}'" in error.detail
        assert f"{GROUP}CREATE_BUCKETS" in error.fix
        async with open_s3_store(settings) as store:
            for call in (
                lambda: store.fetch(LANDING, "k", tmp_path / "k"),
                lambda: anext(aiter(store.read(LANDING, "k"))),
                lambda: store.delete(LANDING, "k"),
                lambda: store.remove_stale_uploads(0),
            ):
                with pytest.raises(StoreUnavailable, match="no bucket"):
                    await call()

    async def test_name_of_a_bucket(self, radosgw: s3.Server) -> None:
        async with open_s3_store(radosgw.settings(bucket_prefix="no_such-")) as store:
            with pytest.raises(StoreUnavailable) as error:
                await store.make_buckets()
        assert f"{GROUP}BUCKET_PREFIX" in error.value.fix

    async def test_tls_where_there_is_none(self, server: s3.Server, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.storage.s3.config._TRIES", 1)
        error = await refused(server.settings(endpoint=server.endpoint.replace("http://", "https://")))
        assert "does not speak TLS" in error.detail
        assert "http://" in error.fix

    async def test_nobody_there(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("app.storage.s3.config._TRIES", 1)
        place = s3.Server(f"http://127.0.0.1:{free_port()}", "an-access-key", "a-secret-key")
        error = await refused(place.settings())
        assert "No object store can be reached at http://127.0.0.1:" in error.detail
        assert f"{GROUP}ENDPOINT" in error.fix

    async def test_one_key_without_the_other(self) -> None:
        settings = ObjectsSettings(backend="s3", endpoint="minio:9000", access_key=SecretStr("only"))
        with pytest.raises(StoreUnavailable, match=f"{GROUP}SECRET_KEY"):
            async with open_s3_store(settings):
                pass


@pytest.fixture(params=[name for name in s3.SERVERS if name != "moto"])
def atomic_server(request: pytest.FixtureRequest) -> s3.Server:
    """Not moto, which looks and writes in two steps."""
    return s3.server(request.param)


class TestCreateOnly:
    async def test_of_twenty_uploads_one_wins(self, atomic_server: s3.Server) -> None:
        async with s3.fresh_store(atomic_server.settings()) as store:

            async def compete(number: int) -> int | None:
                try:
                    await store.put(LAKE, "one", stream(str(number).encode() * 1000), create_only=True)
                except ObjectExists:
                    return None
                return number

            won = [n for n in await asyncio.gather(*map(compete, range(20))) if n is not None]
            assert len(won) == 1
            assert b"".join([c async for c in store.read(LAKE, "one")]) == str(won[0]).encode() * 1000

    async def test_of_uploads_larger_than_a_part_one_wins(self, atomic_server: s3.Server, tmp_path: Path) -> None:
        async with s3.fresh_store(atomic_server.settings()) as store:

            async def compete(number: int) -> int | None:
                path = tmp_path / str(number)
                path.write_bytes(bytes([number]) * 6 * MiB)
                try:
                    await store.put_file(LAKE, "one", path, create_only=True)
                except ObjectExists:
                    return None
                return number

            won = [n for n in await asyncio.gather(*map(compete, range(6))) if n is not None]
            assert len(won) == 1
            fetched = await store.fetch(LAKE, "one", tmp_path / "target")
            assert fetched.sha256 == hashlib.sha256(bytes([won[0]]) * 6 * MiB).hexdigest()


class TestConnections:
    """A proxy in front of moto that spoils the first connections."""

    @pytest.mark.parametrize("fault", ["unavailable", "drop"])
    async def test_failed_requests_are_repeated(self, tmp_path: Path, fault: str) -> None:
        data = bytes(range(256)) * 4096 * 6
        (tmp_path / "source").write_bytes(data)
        async with proxied(fault) as (settings, proxy), s3.fresh_store(settings) as store:
            for create_only in (False, True):
                proxy.faults = 2
                await store.put_file(LAKE, f"k{create_only}", tmp_path / "source", create_only=create_only)
                assert proxy.faults == 0
                proxy.faults = 2
                fetched = await store.fetch(LAKE, f"k{create_only}", tmp_path / "target")
                assert proxy.faults == 0
                assert fetched.sha256 == hashlib.sha256(data).hexdigest()
                assert (tmp_path / "target").read_bytes() == data

    async def test_download_that_breaks_off_goes_on_where_it_stopped(self, tmp_path: Path) -> None:
        data = bytes(range(256)) * 4096 * 6
        async with proxied("cut") as (settings, proxy), s3.fresh_store(settings) as store:
            await store.put(LAKE, "k", stream(data))
            proxy.faults = 3
            assert b"".join([c async for c in store.read(LAKE, "k")]) == data
            proxy.faults = 3
            await store.fetch(LAKE, "k", tmp_path / "target")
            assert (tmp_path / "target").read_bytes() == data
            assert proxy.faults == 0

    async def test_answer_that_got_lost_is_no_foreign_object(self, tmp_path: Path) -> None:
        (tmp_path / "source").write_bytes(b"x" * MiB)
        async with proxied("mute") as (settings, proxy), s3.fresh_store(settings) as store:
            proxy.faults = 1
            info = await store.put_file(LAKE, "k", tmp_path / "source", create_only=True)
            assert (proxy.faults, info.size) == (0, MiB)
            with pytest.raises(ObjectExists):
                await store.put_file(LAKE, "k", tmp_path / "source", create_only=True)


class TestUploads:
    @pytest.fixture(autouse=True)
    def _only_where_uploads_are_listed(self, request: pytest.FixtureRequest) -> None:
        if request.node.callspec.params["server"] in LISTS_NO_UPLOADS:
            pytest.skip("this server does not list its unfinished uploads, and removes stale ones by itself")

    async def test_what_breaks_off_leaves_no_parts(self, server: s3.Server, tmp_path: Path) -> None:
        async def broken() -> AsyncIterator[bytes]:
            yield b"x" * 11 * MiB
            raise ConnectionResetError("the client went away")

        settings = server.settings()
        async with s3.fresh_store(settings) as store, s3.raw_client(settings) as client:
            with pytest.raises(ConnectionResetError):
                await store.put(LANDING, "k", broken())
            (tmp_path / "source").write_bytes(b"x" * 30 * MiB)
            task = asyncio.create_task(store.put_file(LANDING, "k", tmp_path / "source"))
            while not (await uploads(client, settings)) and not task.done():  # noqa: ASYNC110 # the server tells nobody
                await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert await uploads(client, settings) == []
            assert await store.stat(LANDING, "k") is None

    async def test_stale_ones_are_removed(self, server: s3.Server) -> None:
        settings = server.settings()
        async with s3.fresh_store(settings) as store, s3.raw_client(settings) as client:
            place = {"Bucket": settings.bucket_prefix + LANDING, "Key": "dead/ö"}
            upload = await client.create_multipart_upload(**place)
            await client.upload_part(**place, UploadId=upload["UploadId"], PartNumber=1, Body=b"x")
            assert await store.remove_stale_uploads(3600) == 0
            assert await store.remove_stale_uploads(-60) == 1
            assert await uploads(client, settings) == []


class Meddler:
    """A client before whose second GetObject somebody overwrites the object."""

    def __init__(self, client: Any, overwrite: Any) -> None:
        self._client, self._overwrite, self._count = client, overwrite, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    async def get_object(self, **arguments: Any) -> Any:
        self._count += 1
        if self._count == 2:
            await self._overwrite()
        return await self._client.get_object(**arguments)


class TestDownloads:
    async def test_overwrite_in_the_middle_never_mixes(self, server: s3.Server, tmp_path: Path) -> None:
        settings = server.settings(concurrency=1)
        old, new = b"a" * 12 * MiB, b"b" * 12 * MiB
        async with s3.fresh_store(settings) as store:
            assert isinstance(store, S3ObjectStore)
            await store.put(LANDING, "k", stream(old))
            store._client = Meddler(store._client, lambda: store.put(LANDING, "k", stream(new)))
            fetched = await store.fetch(LANDING, "k", tmp_path / "target")
            assert (tmp_path / "target").read_bytes() == new
            assert fetched.sha256 == hashlib.sha256(new).hexdigest()

    async def test_content_that_is_not_its_hash(self, server: s3.Server, tmp_path: Path) -> None:
        settings = server.settings()
        async with s3.fresh_store(settings) as store, s3.raw_client(settings) as client:
            wrong = {SHA256_KEY: "0" * 64}
            await client.put_object(Bucket=settings.bucket_prefix + LANDING, Key="k", Body=b"x", Metadata=wrong)
            with pytest.raises(StoreUnavailable, match="do not match the hash"):
                await store.fetch(LANDING, "k", tmp_path / "target")
            assert not (tmp_path / "target").exists()

    async def test_objects_of_others(self, server: s3.Server, tmp_path: Path) -> None:
        """Uploaded by another program: no hash of ours, and names that are no keys."""
        settings = server.settings()
        async with s3.fresh_store(settings) as store, s3.raw_client(settings) as client:
            refused = MINIO_REFUSES if "MinIO" in (await store.ping())["server"] else ()
            for key in {"folder/", "folder/k", "folder//x"} - set(refused):
                await client.put_object(Bucket=settings.bucket_prefix + LANDING, Key=key, Body=b"abc")
            assert [info.key for info in (await store.list_objects(LANDING)).objects] == ["folder/k"]
            fetched = await store.fetch(LANDING, "folder/k", tmp_path / "target")
            assert fetched.sha256 == hashlib.sha256(b"abc").hexdigest()
            with pytest.raises(DomainError):
                await store.stat(LANDING, "folder/")


async def test_urls_expire_and_bind_their_key(radosgw: s3.Server) -> None:
    async with s3.fresh_store(radosgw.settings(presign_seconds=1)) as store, httpx.AsyncClient(trust_env=False) as http:
        await store.put(LANDING, "k", stream(b"x"))
        await store.put(LANDING, "other", stream(b"y"))
        url = await store.presign("GET", LANDING, "k")
        assert url is not None
        assert (await http.get(url.url.replace("/k?", "/other?"))).status_code == 403
        await asyncio.sleep(2.5)
        assert (await http.get(url.url)).status_code == 403


async def test_urls_name_the_public_endpoint(server: s3.Server) -> None:
    settings = server.settings(public_endpoint="https://files.example.org")
    async with s3.fresh_store(settings) as store:
        url, form = await store.presign("PUT", LANDING, "k"), await store.presign_post(LANDING, "k", 1)
    for each in (url, form):
        assert each is not None
        assert each.url.startswith(f"https://files.example.org/{settings.bucket_prefix}{LANDING}")


async def test_another_bucket_is_none_of_ours(server: s3.Server) -> None:
    async with open_s3_store(server.settings()) as store:
        with pytest.raises(NotFound, match="bucket"):
            await store.stat("other", "k")


async def uploads(client: Any, settings: ObjectsSettings) -> list[str]:
    found = await client.list_multipart_uploads(Bucket=settings.bucket_prefix + LANDING)
    return [upload["Key"] for upload in found.get("Uploads", [])]


class Proxy:
    """faults: connections that are still to be spoiled, each with one request."""

    def __init__(self, fault: str, port: int) -> None:
        self.fault, self.port, self.faults = fault, port, 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await asyncio.open_connection("127.0.0.1", self.port)
            up = asyncio.create_task(self._up(reader, server_writer, writer))
            await self._down(server_reader, writer)
            up.cancel()
            server_writer.close()
        except (ConnectionError, OSError):
            pass
        finally:
            writer.close()

    async def _up(
        self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65536):
            if self.faults and self.fault in ("drop", "unavailable"):
                self.faults -= 1
                if self.fault == "unavailable":
                    client.write(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                    await client.drain()
                client.close()
                server.close()
                return
            server.write(data)
            await server.drain()
        server.close()

    async def _down(self, server: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        passed = 0
        while data := await server.read(65536):
            if b"100 Continue" in data[:40]:
                client.write(data)
                continue
            if self.faults and self.fault == "mute":
                self.faults -= 1
                return
            passed += len(data)
            if self.faults and self.fault == "cut" and passed > 300_000:
                self.faults -= 1
                return
            client.write(data)
            await client.drain()


@asynccontextmanager
async def proxied(fault: str) -> AsyncIterator[tuple[ObjectsSettings, Proxy]]:
    """Settings that lead through the proxy."""
    moto = s3.moto_endpoint()
    proxy = Proxy(fault, int(moto.endpoint.rpartition(":")[2]))
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    port = listener.sockets[0].getsockname()[1]
    try:
        yield moto.settings(endpoint=f"127.0.0.1:{port}"), proxy
    finally:
        listener.close()
