"""The command line: start the service, feed it, look at what it made."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, DownloadColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

from app import __version__
from app.cli import show
from app.cli.client import Client, ServiceError, connected
from app.errors import DomainError
from app.settings import Settings

app = typer.Typer(
    name="spatial-etl",
    help="Files dropped into an object store become clean, versioned, traceable datasets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

# Exit codes: the run failed; the request was refused; nobody answered.
FAILED, REFUSED, UNREACHABLE = 1, 2, 3

Url = Annotated[str, typer.Option("--url", envvar="SPATIAL_ETL_URL", help="Where the service runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the API's JSON instead of text.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")]
DataDir = Annotated[Path | None, typer.Option(help="Where the embedded profile keeps everything [default: ./data].")]
DEFAULT_URL = "http://127.0.0.1:8000"


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what is done.")] = False,
) -> None:
    _ = version
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format=form)


def fail(message: str, code: int) -> NoReturn:
    show.err.print(message, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(code)


@contextmanager
def _service(url: str, as_json: bool) -> Iterator[Client]:
    """A client whose problems end the command with a readable message, or with the problem as JSON."""
    try:
        with connected(url) as client:
            yield client
    except ServiceError as err:
        if as_json and err.problem is not None:
            show.print_json(err.problem)
        else:
            show.err.print(str(err), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(UNREACHABLE if err.problem is None else REFUSED) from None


def _settings(data_dir: Path | None, **api: Any) -> Settings:
    given = {name: value for name, value in api.items() if value is not None}
    try:
        settings = Settings(data_dir=data_dir) if data_dir else Settings()
    except ValidationError as err:
        lines = [f"{'__'.join(map(str, line['loc']))}: {line['msg']}; found {line['input']!r}" for line in err.errors()]
        fail("The settings (SPATIAL_ETL_…) are not valid:\n" + "\n".join(lines), REFUSED)
    return settings.model_copy(update={"api": settings.api.model_copy(update=given)}) if given else settings


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to bind [default: 127.0.0.1].")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one [default: 8000].")
    ] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Start the service: API, workers, sweep and, by default, a private Redis. Ctrl+C stops all of it."""
    from app.supervisor import serve as run_service

    settings = _settings(data_dir, host=host, port=port)

    def announce(url: str) -> None:
        print(
            json.dumps({"url": url, "data_dir": str(settings.data_dir)}) if as_json else f"spatial-etl serves {url}",
            flush=True,
        )

    try:
        asyncio.run(run_service(settings, announce))
    except DomainError as err:
        fail(str(err), UNREACHABLE)


@app.command()
def worker(data_dir: DataDir = None) -> None:
    """Join one more worker process to the queue of a running service. Ctrl+C stops it after the run at hand."""
    from app.worker import run_worker

    try:
        run_worker(_settings(data_dir))
    except DomainError as err:
        fail(str(err), UNREACHABLE)


@app.command()
def submit(
    manifest: Annotated[
        Path,
        typer.Argument(help="Manifest (JSON); - reads standard input.", allow_dash=True, exists=True, dir_okay=False),
    ],
    file: Annotated[
        list[str] | None,
        typer.Option("--file", help="Local file to upload first: PATH, or PATH=KEY when the names differ."),
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Follow the run; exit 0 on success, 1 on failure.")] = False,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Upload files, submit a manifest and, with --watch, follow its run to the end."""
    text = sys.stdin.read() if str(manifest) == "-" else manifest.read_text(encoding="utf-8")
    try:
        document = json.loads(text)
    except ValueError as err:
        fail(f"{manifest} is not JSON: {err}.", REFUSED)
    uploads = [_upload_target(item, document) for item in file or ()]
    with _service(url, as_json) as client:
        for path, key in uploads:
            _upload(client, path, key, quiet=as_json)
        run, created = client.submit(document)
        if watch:
            run = follow(client, run["run_id"], quiet=as_json)
        if as_json:
            show.print_json(run)
        else:
            if not created:
                show.out.print(f"This batch was accepted before, at {run['created_at'][:19]}: here is its run.")
            show.out.print(show.run_table(run))
    if watch and run["status"] != "success":
        raise typer.Exit(FAILED)


def _upload_target(item: str, document: Any) -> tuple[Path, str]:
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
    fail(f"The manifest names no file called {path.name!r} (it names {named}). Give --file {name}=KEY.", REFUSED)


def _upload(client: Client, path: Path, key: str, *, quiet: bool) -> None:
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn())
    with Progress(*columns, console=show.err, disable=quiet, transient=True) as progress:
        task = progress.add_task(f"upload {path.name}", total=path.stat().st_size)
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
            progress.update(task, description=run["step"] or run["status"], completed=done, total=total, rate=rate)

        return client.follow(run_id, seen)


@app.command()
def runs(
    run_id: Annotated[str | None, typer.Argument(help="Show this run and its log.")] = None,
    status: Annotated[str | None, typer.Option(help="Only runs with this status.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Only runs of this dataset.")] = None,
    limit: Limit = 20,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List runs, or show one with its log."""
    with _service(url, as_json) as client:
        if run_id is None:
            found = client.items("/runs", limit, status=status, dataset_id=dataset)
            show.print_json(found) if as_json else show.out.print(show.runs_table(found))
            return
        run = client.get(f"/runs/{run_id}")
        events = client.get(f"/runs/{run_id}/events", limit=1000)
        if as_json:
            show.print_json({**run, "events": events})
            return
        show.out.print(show.run_table(run))
        for event in events:
            show.out.print(f"[dim]{event['at'][11:23]}[/] {event['message']}")


@app.command()
def assets(
    dataset_id: Annotated[str | None, typer.Argument(help="Show the versions of this dataset.")] = None,
    version: Annotated[int | None, typer.Argument(help="Show this version.")] = None,
    limit: Limit = 20,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """List datasets, the versions of one, or show one version."""
    with _service(url, as_json) as client:
        if dataset_id is not None and version is not None:
            asset = client.get(f"/assets/{dataset_id}/v{version}")
            show.print_json(asset) if as_json else show.out.print(show.asset_table(asset))
            return
        found = client.items(f"/assets/{dataset_id}" if dataset_id else "/assets", limit)
        show.print_json(found) if as_json else show.out.print(show.assets_table(found))


@app.command()
def lineage(
    dataset_id: str,
    version: Annotated[int | None, typer.Argument(help="Version [default: the newest].")] = None,
    depth: Annotated[int, typer.Option(min=1, max=64)] = 8,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Show what a version was made from, and what was made from it."""
    with _service(url, as_json) as client:
        if version is None:
            version = client.items(f"/assets/{dataset_id}", 1)[0]["version"]
        graph = client.get(f"/assets/{dataset_id}/v{version}/lineage", depth=depth)
        show.print_json(graph) if as_json else show.out.print(show.lineage_tree(graph))


@app.command()
def doctor(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Look at everything that the service needs, and say what to do about what is missing."""
    from app.cli.doctor import examine

    checks = asyncio.run(examine(_settings(data_dir)))
    if as_json:
        show.print_json([check.model_dump(mode="json") for check in checks])
    else:
        for check in checks:
            mark = "[green]ok[/]  " if check.ok else "[red]FAIL[/]" if check.required else "[yellow]off[/] "
            said = (
                ", ".join(f"{k} {v}" for k, v in check.details.items()) if check.ok else f"{check.problem} {check.fix}"
            )
            show.out.print(f"{mark} {check.name:<9} {said} [dim]({check.latency_ms} ms)[/]", soft_wrap=True)
    if any(check.required and not check.ok for check in checks):
        raise typer.Exit(FAILED)


@app.command()
def migrate(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Bring the ledger's schema up to date. Safe to run twice, and while another one runs."""
    from app.storage.ledger_sql import open_sql_ledger

    settings = _settings(data_dir)

    async def apply() -> tuple[str, ...]:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        async with open_sql_ledger(settings.ledger_url) as ledger:
            return await ledger.migrate()

    try:
        applied = asyncio.run(apply())
    except DomainError as err:
        fail(str(err), UNREACHABLE)
    if as_json:
        show.print_json({"applied": list(applied)})
    else:
        show.out.print(f"Applied {', '.join(applied)}." if applied else "The ledger is up to date.")


@app.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    from app.main import create_app

    show.print_json(create_app(Settings()).openapi())


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

    if not run_demo(_settings(data_dir), samples, as_json=as_json):
        raise typer.Exit(FAILED)
