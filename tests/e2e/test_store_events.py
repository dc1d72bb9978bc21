"""A real object store announces what is dropped into it, by its own HTTP notifications, and the service takes it in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import uuid4

from tests.servers import s3
from tests.servers.relay import TOKEN, announce, emptied, relay, sync_client
from tests.service import POINTS, manifest, running_service, wait_for


def test_what_is_put_into_the_store_is_taken_in_by_its_own_event(data_dir: Path) -> None:
    store = s3.server("radosgw")
    prefix = f"t{uuid4().hex[:10]}-"
    settings = {
        "SPATIAL_ETL_OBJECTS__BACKEND": "s3",
        "SPATIAL_ETL_OBJECTS__ENDPOINT": store.endpoint,
        "SPATIAL_ETL_OBJECTS__ACCESS_KEY": store.access_key,
        "SPATIAL_ETL_OBJECTS__SECRET_KEY": store.secret_key,
        "SPATIAL_ETL_OBJECTS__BUCKET_PREFIX": prefix,
        "SPATIAL_ETL_WEBHOOK__TOKEN": TOKEN,
        "SPATIAL_ETL_SWEEP__MANIFESTS_SECONDS": "3600",
    }
    bucket, client = f"{prefix}landing-zone", sync_client(store)
    with (
        emptied(client, bucket, f"{prefix}data-lake"),
        relay() as (url, target, receipts),
        running_service(data_dir, **settings) as service,
    ):
        target.append(service.url)
        announce(store, bucket, url)
        client.put_object(Bucket=bucket, Key="in/points.geojson", Body=POINTS)
        key = "manifests/a b+c %25 ü.json"
        document = manifest("announced", ("in/points.geojson", "GeoJSON"))
        client.put_object(Bucket=bucket, Key=key, Body=json.dumps(document).encode())
        client.put_object(Bucket=bucket, Key="manifests/bad.json", Body=b"{}")

        def outcomes() -> dict[str, Any]:
            return {o["key"]: o for receipt in receipts for o in receipt["outcomes"]}

        wait_for(lambda: {"in/points.geojson", key, "manifests/bad.json"} <= set(outcomes()), "the events")
        found = {name: outcome["result"] for name, outcome in outcomes().items() if not name.startswith("archive/")}
        assert found == {"in/points.geojson": "ignored", key: "accepted", "manifests/bad.json": "rejected"}
        (run,) = service.http.get("/runs", params={"batch_id": "announced"}).json()["items"]
        assert service.finished(run["run_id"])["status"] == "success"
        assert service.http.get("/manifests/announced").json()["source"] == "webhook"
        left = [entry["Key"] for entry in client.list_objects_v2(Bucket=bucket)["Contents"]]
        assert sorted(name.partition("/")[0] for name in left) == ["archive", "archive", "in"]
