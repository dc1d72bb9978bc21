"""`spatial-etl lanes`: list, pause, resume and limit lanes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from app.cli import show
from app.cli.client import Client
from app.cli.common import DEFAULT_URL, AsJson, Url, app, service

lanes = typer.Typer(help="List, pause, resume and limit lanes.")
app.add_typer(lanes, name="lanes")

Lane = Annotated[str, typer.Argument(help="Name of the lane.")]


@lanes.callback(invoke_without_command=True)
def list_lanes(context: typer.Context, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """List, pause, resume and limit lanes. Without a command: list them."""
    if context.invoked_subcommand is not None:
        return
    with service(url, as_json) as client:
        found = client.get("/lanes")
        show.print_json(found) if as_json else _print(found["items"])


@lanes.command()
def pause(lane: Lane, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Start no further runs of the lane. Current runs continue, and manifests are still accepted."""
    with service(url, as_json) as client:
        _change(client, as_json, "POST", f"/lanes/{lane}/pause")


@lanes.command()
def resume(lane: Lane, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Start runs of the lane again."""
    with service(url, as_json) as client:
        _change(client, as_json, "POST", f"/lanes/{lane}/resume")


@lanes.command()
def limit(
    lane: Lane,
    runs: Annotated[str, typer.Argument(help="Maximum number of concurrent runs, `unlimited` or `default`.")],
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Limit the concurrent runs of the lane."""
    wanted = int(runs) if runs.isascii() and runs.isdigit() else runs
    with service(url, as_json) as client:
        _change(client, as_json, "PUT", f"/lanes/{lane}/limit", json={"limit": wanted})


def _change(client: Client, as_json: bool, method: str, path: str, **options: Any) -> None:
    found = client.request(method, path, **options).json()
    show.print_json(found) if as_json else _print([found])


def _print(found: list[dict[str, Any]]) -> None:
    names = ("lane", "state", "queued", "running", "limit")
    show.print_whole(show.rows_table(names, ([lane[name] for name in names] for lane in found)))
