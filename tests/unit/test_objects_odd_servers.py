"""The S3 store at servers that list, name and number in ways of their own, and what a probe finds out about a store."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from app.errors import StoreUnavailable
from app.models.manifests.manifest import LAKE_BUCKET as LAKE
from app.models.manifests.manifest import LANDING_BUCKET as LANDING
from app.objects import ObjectStore
from app.services.store_probe import probe_store
from app.settings import ObjectsSettings
from app.storage.local.store import LocalObjectStore
from app.storage.s3.listing import cut
from app.storage.s3.store import open_s3_store
from tests.contract.stores import MINIO_REFUSES, files_below
from tests.servers import s3
from tests.servers.odd_s3 import Oddities, running

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def odd_store(oddities: Oddities) -> AsyncIterator[tuple[ObjectStore, dict[str, bytes]]]:
    """A store at that server, and what lies in the landing zone."""
    with running(oddities) as server:
        settings = server.settings()
        landing = oddities.objects.setdefault(settings.bucket_prefix + LANDING, {})
        oddities.objects.setdefault(settings.bucket_prefix + LAKE, {})
        async with open_s3_store(settings) as store:
            yield store, landing


@pytest.fixture(params=s3.SERVERS)
def server(request: pytest.FixtureRequest) -> s3.Server:
    return s3.server(request.param)


class TestListings:
    async def test_a_page_of_names_that_are_no_keys(self) -> None:
        async with odd_store(Oddities()) as (store, landing):
            landing.update({f"\x01{number:04}": b"" for number in range(1003)} | {"a": b"x", "b": b"y"})
            page = await store.list_objects(LANDING)
            assert [info.key for info in page.objects] == ["a", "b"]
            assert page.next_after is None
            first = await store.list_objects(LANDING, limit=1)
            assert ([info.key for info in first.objects], first.next_after) == (["a"], "a")

    async def test_names_that_are_no_keys_on_real_servers(
        self, server: s3.Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("app.storage.s3.config._TRIES", 1)
        settings = server.settings()
        async with s3.fresh_store(settings) as store, s3.raw_client(settings) as client:
            refused = MINIO_REFUSES if "MinIO" in (await store.ping())["server"] else ()
            for key in {"\x01a", "\x01b", "\x01c", "a//b", "a/c", "b/"} - set(refused):
                await client.put_object(Bucket=settings.bucket_prefix + LANDING, Key=key, Body=b"x")
            for limit in (1, 2):
                page = await store.list_objects(LANDING, limit=limit)
                assert [info.key for info in page.objects] == ["a/c"]

    @pytest.mark.parametrize("oddities", [Oddities(first_page_again=True), Oddities(same_token=True)])
    async def test_one_that_does_not_advance_ends(self, oddities: Oddities) -> None:
        async with odd_store(oddities) as (store, landing):
            landing.update({f"\x01{number}": b"" for number in range(9)})
            with pytest.raises(StoreUnavailable, match=r"does not advance after the key '\\x01[0-9]'") as error:
                await store.list_objects(LANDING, limit=1)
            assert error.value.fix
            assert len(oddities.requests) <= 3

    async def test_page_that_cannot_be_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Ceph's gateway writes the last key of a page into its XML as it is."""
        monkeypatch.setattr("app.storage.s3.config._TRIES", 1)
        monkeypatch.setattr("app.storage.s3.listing._MOST_KEYS", 2)
        settings = s3.radosgw_endpoint().settings()
        async with s3.fresh_store(settings) as store, s3.raw_client(settings) as client:
            for key in ("a", "b", "c", "c\x01", "d"):
                await client.put_object(Bucket=settings.bucket_prefix + LANDING, Key=key, Body=b"x")
            with pytest.raises(StoreUnavailable, match="cannot be read after the key 'b'") as error:
                await store.list_objects(LANDING)
            assert "control characters" in error.value.fix

    @pytest.mark.parametrize(
        ("text", "begin"),
        [
            ("", ""),
            ("a/b", "a/b"),
            ("a/b/", "a/b/"),
            ("a//b", "a/"),
            ("/a", ""),
            ("a/..", "a/"),
            ("a/../b", "a/"),
            ("a/ . /b", "a/"),
            ("a/.b", "a/.b"),
            ("a\x01b", "a"),
            ("a/b\\..\\c", "a/b"),
        ],
    )
    def test_where_a_request_begins(self, text: str, begin: str) -> None:
        assert cut(text) == begin
        assert cut(" " * 60_000 + "/x") == ""


class TestEtags:
    async def test_that_are_no_md5_are_no_damage(self, tmp_path: Path) -> None:
        async with odd_store(Oddities(md5=False)) as (store, landing):
            landing["k"] = b"of another program"
            fetched = await store.fetch(LANDING, "k", tmp_path / "target")
            assert fetched.sha256 == hashlib.sha256(landing["k"]).hexdigest()
            assert (tmp_path / "target").read_bytes() == landing["k"]
            assert sorted(landing) == ["k"]

    async def test_that_are_md5s_show_damage(self, tmp_path: Path) -> None:
        oddities = Oddities(damaged={"k"})
        async with odd_store(oddities) as (store, landing):
            landing.update({"k": b"of another program", "whole": b"x"})
            with pytest.raises(StoreUnavailable, match="do not match the hash"):
                await store.fetch(LANDING, "k", tmp_path / "target")
            assert not (tmp_path / "target").exists()
            oddities.requests.clear()
            await store.fetch(LANDING, "whole", tmp_path / "target")
            assert not [request for request in oddities.requests if request.startswith("PUT")]
            assert sorted(landing) == ["k", "whole"]


class TestProbe:
    async def test_a_directory_keeps_everything(self, tmp_path: Path) -> None:
        store = LocalObjectStore(tmp_path)
        assert await probe_store(store) == ()
        assert files_below(tmp_path) == []

    async def test_a_server_keeps_everything(self, server: s3.Server) -> None:
        async with s3.fresh_store(server.settings()) as store:
            assert await probe_store(store) == ()
            for bucket in (LANDING, LAKE):
                assert (await store.list_objects(bucket)).objects == ()

    async def test_conditions_that_are_ignored(self) -> None:
        async with odd_store(Oddities(conditions=False)) as (store, landing):
            warnings = await probe_store(store)
            assert ["If-None-Match" in warning for warning in warnings] == [True, True]
            assert landing == {}

    async def test_pages_that_do_not_advance(self) -> None:
        async with odd_store(Oddities(first_page_again=True)) as (store, landing):
            with pytest.raises(StoreUnavailable, match=r"Cannot list landing-zone/\.probe/"):
                await probe_store(store)
            assert landing == {}

    async def test_a_bucket_that_keeps_versions(self, server: s3.Server) -> None:
        settings = server.settings()
        async with s3.fresh_store(settings) as store, s3.raw_client(settings) as client:
            bucket = settings.bucket_prefix + LANDING
            await client.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
            try:
                warnings = await probe_store(store)
            finally:
                await remove_versions(client, bucket)
        assert f"'{bucket}' keeps versions" in warnings[0]
        if server == s3.radosgw_endpoint():
            assert "If-None-Match" in warnings[1]  # its gateway honours no condition there
        assert len(warnings) == len({warning for warning in warnings if LANDING in warning})

    async def test_a_bucket_with_object_lock(self, server: s3.Server) -> None:
        settings = server.settings()
        async with s3.raw_client(settings) as client:
            bucket = settings.bucket_prefix + LAKE
            await client.create_bucket(Bucket=bucket, ObjectLockEnabledForBucket=True)
            async with open_s3_store(settings) as store:
                await store.make_buckets()
                try:
                    warnings = await store.bucket_warnings()
                finally:
                    await s3.remove_buckets(settings)
        assert any(f"'{bucket}' has Object Lock" in warning for warning in warnings)


def test_the_first_start_and_doctor_say_what_is_missing(tmp_path: Path) -> None:
    with running(Oddities(conditions=False)) as server:
        environment = {
            **os.environ,
            "SPATIAL_ETL_OBJECTS__BACKEND": "s3",
            "SPATIAL_ETL_OBJECTS__ENDPOINT": server.endpoint,
            "SPATIAL_ETL_OBJECTS__ACCESS_KEY": server.access_key,
            "SPATIAL_ETL_OBJECTS__SECRET_KEY": server.secret_key,
        }

        def run(*words: str) -> subprocess.CompletedProcess[str]:
            command = [sys.executable, "-m", "app", *words, "--data-dir", str(tmp_path / "data"), "--json"]
            return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)

        first, second, doctor = run("migrate"), run("migrate"), run("doctor")
    assert json.loads(first.stdout)["buckets"] == [LANDING, LAKE]
    assert " ".join(first.stderr.split()).count("although the request forbids it (If-None-Match: *)") == 2
    assert (second.returncode, second.stderr) == (0, "")
    (rights,) = [check for check in json.loads(doctor.stdout) if check["name"] == "rights"]
    assert rights["ok"]
    assert rights["warning"].count("If-None-Match") == 2


@pytest.mark.parametrize(
    ("changes", "host", "path"),
    [
        ({"endpoint": "s3.example.org"}, "s3.example.org", "/p-landing-zone/k"),
        ({"endpoint": "s3.example.org", "addressing": "virtual"}, "p-landing-zone.s3.example.org", "/k"),
        ({"addressing": "path"}, "s3.amazonaws.com", "/p-landing-zone/k"),
        ({}, "p-landing-zone.s3.amazonaws.com", "/k"),
    ],
)
async def test_where_a_request_names_its_bucket(changes: dict[str, Any], host: str, path: str) -> None:
    keys = {"access_key": "any", "secret_key": "keys"}
    settings = ObjectsSettings.model_validate({"backend": "s3", "bucket_prefix": "p-", **keys, **changes})
    async with open_s3_store(settings) as store:
        form = await store.presign("GET", LANDING, "k")
    assert form is not None
    assert form.url.partition("?")[0] == f"https://{host}{path}"


async def remove_versions(client: Any, bucket: str) -> None:
    found = await client.list_object_versions(Bucket=bucket)
    for each in [*found.get("Versions", []), *found.get("DeleteMarkers", [])]:
        await client.delete_object(Bucket=bucket, Key=each["Key"], VersionId=each["VersionId"])
