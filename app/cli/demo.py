"""`demo`: starts the service and ingests the samples over HTTP, as a user would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from app.cli import show
from app.cli.client import Client, connected
from app.cli.common import KEY_VARIABLE
from app.cli.demo_pictures import draw, first_rows
from app.models.manifests.manifest import LANDING_BUCKET
from app.settings import Settings

Json = dict[str, Any]

_STOP_SECONDS = 30


def run_demo(settings: Settings, samples: Path, *, as_json: bool) -> bool:
    """Ingest every manifest of `samples`; returns whether all runs succeeded.

    Batches are idempotent: a second demo shows the runs of the first.
    """
    results: list[Json] = []
    with _running_service(settings) as url, connected(url, os.environ.get(KEY_VARIABLE)) as client:
        _say(f"The service runs at {url}, its data under {settings.data_dir}.", as_json)
        for folder, manifest in _manifests(samples):
            results.append(_ingest(client, folder, manifest, settings.data_dir / "demo", as_json=as_json))
    if as_json:
        show.print_json(results)
    _say(
        f"The service is stopped. To continue:\n  {_own_command()} serve\n  then open http://127.0.0.1:8000/docs",
        as_json,
    )
    return all(result["run"]["status"] == "success" for result in results)


def _say(text: str, as_json: bool) -> None:
    if not as_json:
        for line in text.split("\n"):
            show.say(show.out, line)


def _own_command() -> str:
    """What starts this program in the user's shell: its name if the shell finds it, else its path."""
    called = Path(sys.argv[0])
    found = shutil.which("spatial-etl")
    if found is not None and (called.name != "spatial-etl" or Path(found).resolve() == called.resolve()):
        return "spatial-etl"
    return f"{sys.executable} -m app" if called.name == "__main__.py" else str(called)


@contextmanager
def _running_service(settings: Settings) -> Iterator[str]:
    command = [sys.executable, "-m", "app", "serve", "--port", "0", "--data-dir", str(settings.data_dir), "--json"]
    with tempfile.TemporaryFile() as errors:
        service = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True)  # noqa: S603 # our own command
        try:
            assert service.stdout is not None  # noqa: S101 # a pipe was asked for
            line = service.stdout.readline()
            if not line:
                service.wait()
                errors.seek(0)
                raise SystemExit(f"The service did not start:\n{errors.read().decode(errors='replace')}")
            yield json.loads(line)["url"]
        finally:
            service.terminate()
            try:
                service.wait(_STOP_SECONDS)
            except subprocess.TimeoutExpired:
                service.kill()
                service.wait()


def _manifests(samples: Path) -> list[tuple[Path, Json]]:
    """(folder, manifest) by batch; joins after what they join."""
    found = [(path.parent, json.loads(path.read_text(encoding="utf-8"))) for path in samples.rglob("*.json")]
    return sorted(found, key=lambda each: (each[1]["intent"] == "join_datasets", each[1]["batch_id"]))


def _ingest(client: Client, folder: Path, manifest: Json, pictures: Path, *, as_json: bool) -> Json:
    for file in manifest["files"]:
        key = file["path"].removeprefix(f"s3://{LANDING_BUCKET}/")
        client.upload(folder / key.rpartition("/")[2], key)
    submitted, created = client.submit(manifest)
    run = client.follow(submitted["run_id"])
    _say(
        ""
        if created
        else f"\nThe batch {show.visible(run['batch_id'])} was ingested before; posting it again gives the same run:",
        as_json,
    )
    if run["status"] != "success":
        if not as_json:
            show.print_whole(show.run_table(run))
        return {"run": run}
    asset = client.get(run["links"]["asset"])
    graph = client.get(asset["links"]["lineage"])
    picture, rows = draw(client, asset, pictures), first_rows(client, asset, pictures)
    if not as_json:
        show.print_whole(show.run_table(run), show.asset_table(asset), show.lineage_tree(graph))
        if rows is not None:
            show.out.print()
            show.print_whole(rows)
        else:
            show.say(show.out, f"map        {picture}")
    return {"run": run, "asset": asset, "lineage": graph, "map": str(picture) if picture else None}
