"""Our S3 store beside the bare client it is made of: python -m bench.s3 ROUNDS [MIB] prints JSON.

The server is a private radosgw. Every transfer is a separate process with parts of the same size, as many at once;
the bare client neither hashes the whole file nor checks what arrives.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Any

from bench.cases import FOLDER
from bench.measure import MiB, run
from tests.servers import radosgw

SETTINGS = "BENCH_S3"
KEY = "bench.bin"
TRANSFERS = ("bare put", "our put", "our create-only put", "bare get", "our get")
# Which bare transfer each of ours is compared with.
PEERS = {"our put": "bare put", "our create-only put": "bare put", "our get": "bare get"}


def compare(rounds: int, mebibytes: int) -> dict[str, Any]:
    """Run the transfers alternately, `rounds` times each."""
    if reason := radosgw.missing():
        return {"skipped": reason}
    server = radosgw.shared()
    os.environ[SETTINGS] = json.dumps(server)  # inherited; not in the process list
    source = FOLDER / "s3-source.bin"
    with source.open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(MiB))
    found: dict[str, list[dict[str, float]]] = {name: [] for name in TRANSFERS}
    try:
        for _ in range(rounds):
            for name in TRANSFERS:
                found[name].append(one(name, source))
    finally:
        source.unlink()
    seconds = {name: median(each["seconds"] for each in runs) for name, runs in found.items()}
    return {
        "mebibytes": mebibytes,
        "runs": found,
        "median_seconds": seconds,
        "ratios": {ours: round(seconds[ours] / seconds[bare], 2) for ours, bare in PEERS.items()},
        "peak_mib": {name: round(max(e["peak_bytes"] for e in runs) / MiB) for name, runs in found.items()},
    }


def one(name: str, source: Path) -> dict[str, float]:
    log = FOLDER / "s3.log"
    cost = run([sys.executable, "-m", "bench.s3", "transfer", name, str(source)], log)
    return {**json.loads(log.read_text().splitlines()[-1]), "peak_bytes": cost.peak_bytes, "others": cost.others}


async def transfer(name: str, source: Path) -> float:
    """Seconds of the transfer alone, without imports, connecting and looking for the bucket."""
    import aioboto3
    from boto3.s3.transfer import TransferConfig
    from pydantic import SecretStr

    from app.models.manifests.manifest import LAKE_BUCKET
    from app.settings import ObjectsSettings
    from app.storage.s3.config import client_arguments, client_config
    from app.storage.s3.store import open_s3_store

    server = json.loads(os.environ[SETTINGS])
    settings = ObjectsSettings(
        backend="s3",
        endpoint=server["endpoint"],
        access_key=SecretStr(server["access_key"]),
        secret_key=SecretStr(server["secret_key"]),
        bucket_prefix="bench-",
    )
    target = source.with_suffix(".copy")
    place = {"Bucket": f"bench-{LAKE_BUCKET}", "Key": KEY}
    parts = TransferConfig(
        multipart_threshold=settings.part_bytes,
        multipart_chunksize=settings.part_bytes,
        max_concurrency=settings.concurrency,
    )
    config = client_config(settings, retry=True)
    async with (
        open_s3_store(settings) as store,
        aioboto3.Session().client("s3", config=config, **client_arguments(settings)) as bare,
    ):
        await store.make_buckets()
        if name.endswith("put"):
            await bare.delete_object(**place)
        began = time.perf_counter()
        if name == "bare put":
            await bare.upload_file(str(source), *place.values(), Config=parts)
        elif name == "bare get":
            await bare.download_file(*place.values(), str(target), Config=parts)
        elif name == "our get":
            await store.fetch(LAKE_BUCKET, KEY, target)
        else:
            await store.put_file(LAKE_BUCKET, KEY, source, create_only=name == "our create-only put")
        seconds = time.perf_counter() - began
    target.unlink(missing_ok=True)
    return seconds


def main(arguments: Sequence[str]) -> None:
    if arguments[0] == "transfer":
        found: dict[str, Any] = {"seconds": asyncio.run(transfer(arguments[1], Path(arguments[2])))}
    else:
        FOLDER.mkdir(exist_ok=True)
        found = compare(int(arguments[0]), int(arguments[1]) if arguments[1:] else 500)
    print(json.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1:])
