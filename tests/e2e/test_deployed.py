"""The whole deployed profile in real processes: MongoDB's protocol, S3, Redis, PostGIS, the store's own events."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import geopandas
import httpx
import pytest
from pymongo import MongoClient

from tests.deployment import Deployment, running_deployment
from tests.faults.test_kill import ROWS, big_source
from tests.servers import mongo, postgres, s3
from tests.servers.proxy import TcpProxy
from tests.servers.redis import RedisServer
from tests.servers.relay import TOKEN, announce, emptied, relay, sync_client
from tests.service import manifest, wait_for

__all__ = ["big_source"]

SECRETS = ("queue-password", TOKEN)


@dataclass(frozen=True)
class Deployed:
    service: Deployment
    store: s3.Server
    prefix: str
    postgis: postgres.PostgresServer
    mongo: mongo.MongoServer
    redis: RedisServer
    ledger: str
    way_to_store: TcpProxy
    key: str

    @property
    def documents(self) -> Any:
        return MongoClient[dict[str, Any]](self.ledger).get_default_database()

    def schemas(self) -> list[str]:
        query = "SELECT nspname FROM pg_namespace WHERE nspname LIKE 'proc_%'"
        return [row[0] for row in postgres.execute(self.postgis.url, query)]

    def put(self, key: str, body: bytes) -> None:
        sync_client(self.store).put_object(Bucket=f"{self.prefix}landing-zone", Key=key, Body=body)

    def drop(self, document: dict[str, Any]) -> None:
        """Upload the manifest, for the store to announce."""
        self.put(f"manifests/{document['batch_id']}.json", json.dumps(document).encode())

    def announced_run(self, batch_id: str) -> str:
        def look() -> Any:
            items = self.service.http.get("/runs", params={"batch_id": batch_id}).json()["items"]
            return items[0]["run_id"] if items else None

        return str(wait_for(look, f"the run of {batch_id}"))

    def secrets_in_the_open(self) -> list[str]:
        """Where a password, a key or a token of this deployment can be read."""
        open_places = {
            "the log": self.service.log.read_text(),
            "/ready": self.service.http.get("/ready").text,
            "process titles": "\n".join(self.service.titles()),
        }
        secrets = (*SECRETS, self.store.secret_key, self.key)
        return [place for place, text in open_places.items() if any(s in text for s in secrets)]


@pytest.fixture
def deployed(data_dir: Path, tmp_path: Path) -> Iterator[Deployed]:
    store, prefix = s3.server("radosgw"), f"t{uuid4().hex[:10]}-"
    postgis, documents = postgres.start_server(), mongo.start_server()
    postgres.execute(postgis.url, "CREATE EXTENSION postgis")
    ledger = f"{documents.url}/spatial_etl"
    client = sync_client(store)
    with (
        RedisServer(tmp_path / "redis") as redis,
        TcpProxy("127.0.0.1", urlsplit(store.endpoint).port or 80) as way_to_store,
        relay() as (url, target, _receipts),
        emptied(client, f"{prefix}landing-zone", f"{prefix}data-lake"),
        running_deployment(
            data_dir,
            SPATIAL_ETL_LEDGER__URL=ledger,
            SPATIAL_ETL_QUEUE__REDIS_URL=redis.url,
            SPATIAL_ETL_OBJECTS__BACKEND="s3",
            SPATIAL_ETL_OBJECTS__ENDPOINT=f"http://127.0.0.1:{way_to_store.port}",
            SPATIAL_ETL_OBJECTS__ACCESS_KEY=store.access_key,
            SPATIAL_ETL_OBJECTS__SECRET_KEY=store.secret_key,
            SPATIAL_ETL_OBJECTS__BUCKET_PREFIX=prefix,
            SPATIAL_ETL_ENGINE__NAME="postgis",
            SPATIAL_ETL_ENGINE__POSTGIS_URL=postgis.url,
            SPATIAL_ETL_WEBHOOK__TOKEN=TOKEN,
        ) as service,
    ):
        target.append(service.url)
        announce(store, f"{prefix}landing-zone", url)
        made = service.command("keys", "create", "e2e", "--scope", "admin", "--json")
        key = json.loads(made.stdout)["key"]
        wait_for(lambda: service.http.get("/runs").status_code == 401, "the first key to shut the door")
        service.http.headers["Authorization"] = f"Bearer {key}"
        yield Deployed(service, store, prefix, postgis, documents, redis, ledger, way_to_store, key)
    postgis.stop()
    documents.remove()


def test_from_an_upload_to_the_lake(deployed: Deployed, big_source: bytes, tmp_path: Path) -> None:
    service = deployed.service
    doctor = service.command("doctor", "--json")
    assert doctor.returncode == 0, doctor.stdout
    deployed.put("in/big.fgb", big_source)
    deployed.drop(manifest("deployed", ("in/big.fgb", "FlatGeobuf")))
    run = service.finished(deployed.announced_run("deployed"))
    assert (run["status"], run["attempt"]) == ("success", 1), run
    assert run["engine"]["engine"] == "postgis"
    assert run["counts"]["rows_out"] == ROWS

    redirect = service.http.get("/assets/deployed/v1/download")
    assert redirect.status_code == 307
    result = tmp_path / "result.parquet"
    result.write_bytes(httpx.get(redirect.headers["Location"], trust_env=False).raise_for_status().content)
    frame = geopandas.read_parquet(result)
    assert (len(frame), frame.crs.to_epsg(), bool(frame.geom.is_valid.all())) == (ROWS, 4326, True)

    documents = deployed.documents
    assert documents.activity_logs.find_one({"action": "manifest.accepted"})["user"] == "webhook"
    assert documents.manifests.find_one({"batch_id": "deployed"})["source"] == "webhook"
    assert documents.runs.find_one({"run_id": run["run_id"]})["status"] == "success"
    assert documents.assets.count_documents({"dataset_id": "deployed", "version": 1}) == 1
    assert documents.run_events.count_documents({"run_id": run["run_id"]}) >= 5
    assert deployed.schemas() == []
    assert deployed.secrets_in_the_open() == []


def test_each_server_restarted_in_mid_run(deployed: Deployed, big_source: bytes) -> None:
    """Each of them goes away and comes back while a run is under way: at most one more attempt."""
    service = deployed.service
    deployed.put("in/big.fgb", big_source)
    outages = {
        "postgis": (deployed.postgis.stop, deployed.postgis.start),
        "mongo": (deployed.mongo.stop, deployed.mongo.start),
        "redis": (deployed.redis.kill, deployed.redis.start),
        "store": (deployed.way_to_store.cut, deployed.way_to_store.restore),
    }
    for name, (go_away, come_back) in outages.items():
        batch = f"restarted-{name}"
        run_id = service.post(manifest(batch, ("in/big.fgb", "FlatGeobuf"))).json()["run_id"]
        wait_for(lambda run_id=run_id: service.run(run_id)["step"] == "transform", "the run to be under way")
        go_away()
        time.sleep(1)
        come_back()
        run = service.finished(run_id)
        assert run["status"] == "success", (name, run)
        assert run["attempt"] <= 2, (name, run)
        assert service.versions(batch) == [1]
    wait_for(lambda: deployed.schemas() == [], "the schemas to be dropped")
