"""Commands for users of a running service: submit manifests, show runs, datasets and lineage."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from app.cli import show
from app.cli.client import Client
from app.cli.common import (
    DEFAULT_URL,
    FAILED,
    REFUSED,
    AsJson,
    DataDir,
    Key,
    Limit,
    Url,
    app,
    fail,
    read_settings,
    service,
)
from app.models.manifests.faults import json_reason


@app.command()
def submit(
    manifest: Annotated[
        Path, typer.Argument(help="Manifest (JSON); - reads standard input.", allow_dash=True, dir_okay=False)
    ],
    file: Annotated[
        list[str] | None,
        typer.Option("--file", help="Local file to upload first: PATH, or PATH=KEY when the names differ."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the run; exit 0 on success, 1 on failure.")] = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Upload files, submit a manifest and, with --watch, follow its run to the end."""
    document = _read_document(manifest)
    uploads = [_upload_target(item, document) for item in file or ()]
    with service(url, as_json, key) as client:
        for path, target in uploads:
            _upload(client, path, target, quiet=as_json)
        run, created = client.submit(document)
        if watch:
            run = follow(client, run["run_id"], quiet=as_json)
        if as_json:
            show.print_json(run)
        else:
            if not created:
                show.say(show.out, f"This batch was accepted before, at {run['created_at'][:19]}. Its run:")
            show.print_whole(show.run_table(run))
    if watch and run["status"] != "success":
        raise typer.Exit(FAILED)


def _read_document(manifest: Path) -> Any:  # `fail` never returns
    """The JSON of the file, or of standard input for `-`. Ends the command when it cannot be read."""
    name = "Standard input" if str(manifest) == "-" else str(manifest)
    try:
        return json.loads(sys.stdin.read() if str(manifest) == "-" else manifest.read_text(encoding="utf-8"))
    except OSError as err:
        fail(f"{name} cannot be read: {err.strerror}.", REFUSED)
    except ValueError as err:
        fail(f"{name} is not JSON: {json_reason(err)}.", REFUSED)


def _upload_target(item: str, document: Any) -> tuple[Path, str]:  # noqa: RET503 # `fail` never returns
    """The local path and its key: given as PATH=KEY, else the manifest's file of the same name."""
    name, _, key = item.partition("=")
    path = Path(name)
    if not path.is_file():
        fail(f"There is no file {name!r} to upload.", REFUSED)
    if key:
        return path, key.removeprefix("s3://").removeprefix("landing-zone/")
    files = document.get("files", []) if isinstance(document, dict) else []
    keys = [
        f["path"].removeprefix("s3://").removeprefix("landing-zone/")
        for f in files
        if isinstance(f, dict) and isinstance(f.get("path"), str)
    ]
    same_name = [key for key in keys if key.rpartition("/")[2] == path.name]
    beside = [key.rpartition("/")[0] for key in keys if key.rpartition("/")[2].rpartition(".")[0] == path.stem]
    if same_name:
        return path, same_name[0]
    if beside:
        return path, f"{beside[0]}/{path.name}".lstrip("/")
    named = ", ".join(keys) or "none"
    fail(f"The manifest names no file {path.name!r} (it names {named}). Give --file {name}=KEY.", REFUSED)


def _upload(client: Client, path: Path, key: str, *, quiet: bool) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=show.err, disable=quiet, transient=True) as progress:
        task = progress.add_task(f"upload {show.foreign(path.name)}", total=path.stat().st_size)
        client.upload(path, key, lambda count: progress.advance(task, count))


def follow(client: Client, run_id: str, *, quiet: bool) -> dict[str, Any]:
    """Follow a run with a bar that shows its step, rows and rows per second."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
    )
    with Progress(*columns, console=show.err, disable=quiet, transient=True) as progress:
        task = progress.add_task("queued", total=None, rate="")

        def seen(run: dict[str, Any]) -> None:
            done, total = run["progress"]["rows_done"], run["progress"]["rows_total"]
            speed = progress.tasks[0].speed
            rate = f"{speed:,.0f} rows/s" if speed else ""
            progress.update(
                task, description=show.foreign(run["step"] or run["status"]), completed=done, total=total, rate=rate
            )

        return client.follow(run_id, seen)


@app.command()
def runs(
    run_id: Annotated[str | None, typer.Argument(help="Show this run and its log.")] = None,
    status: Annotated[str | None, typer.Option(help="Only runs with this status.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only runs of this dataset.")] = None,
    limit: Limit = 20,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List runs, or show one with its log."""
    with service(url, as_json, key) as client:
        if run_id is None:
            found = client.items("/runs", limit, status=status, dataset_id=dataset)
            show.print_json(found) if as_json else show.print_whole(show.runs_table(found))
            return
        run = client.get(f"/runs/{run_id}")
        events = client.get(f"/runs/{run_id}/events", limit=1000)
        if as_json:
            show.print_json({**run, "events": events})
            return
        show.print_whole(show.run_table(run))
        for event in events:
            line = f"[dim]{show.foreign(event['at'][11:23])}[/] {show.foreign(event['message'])}"
            show.out.print(line, soft_wrap=True)


@app.command()
def assets(
    dataset_id: Annotated[str | None, typer.Argument(help="Show the versions of this dataset.")] = None,
    version: Annotated[int | None, typer.Argument(help="Show this version.")] = None,
    limit: Limit = 20,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """List datasets, the versions of one, or show one version."""
    with service(url, as_json, key) as client:
        if dataset_id is not None and version is not None:
            asset = client.get(f"/assets/{dataset_id}/v{version}")
            show.print_json(asset) if as_json else show.print_whole(show.asset_table(asset))
            return
        found = client.items(f"/assets/{dataset_id}" if dataset_id else "/assets", limit)
        show.print_json(found) if as_json else show.print_whole(show.assets_table(found))


@app.command()
def lineage(
    dataset_id: str,
    version: Annotated[int | None, typer.Argument(help="Version [default: the newest].")] = None,
    depth: Annotated[int, typer.Option(min=1, max=64)] = 8,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Show what a version was made from, and what was made from it."""
    with service(url, as_json, key) as client:
        if version is None:
            version = client.items(f"/assets/{dataset_id}", 1)[0]["version"]
        graph = client.get(f"/assets/{dataset_id}/v{version}/lineage", depth=depth)
        show.print_json(graph) if as_json else show.print_whole(show.lineage_tree(graph))


@app.command()
def demo(
    data_dir: DataDir = None,
    samples: Annotated[
        Path, typer.Option(help="Directory of sample files with their manifests.", exists=True, file_okay=False)
    ] = Path("samples"),
    as_json: AsJson = False,
) -> None:
    """Start the service, ingest the samples, show run, asset and lineage, draw a map, stop everything."""
    from app.cli.demo import run_demo

    if not run_demo(read_settings(data_dir), samples, as_json=as_json):
        raise typer.Exit(FAILED)
