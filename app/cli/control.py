"""Commands that cancel runs, withdraw manifests and run them again."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from app.cli import show
from app.cli.common import DEFAULT_URL, FAILED, AsJson, Key, Url, app, service
from app.cli.usage import follow

Watch = Annotated[bool, typer.Option("--watch", help="Follow the run to its end.")]


class NewVersion(StrEnum):
    """As in the manifest."""

    IF_CHANGED = "if_changed"
    ALWAYS = "always"


@app.command()
def cancel(run_id: str, watch: Watch = False, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """Cancel a run. With --watch, exit 0 if it is canceled, 1 if it ended otherwise."""
    with service(url, as_json, key) as client:
        run = client.request("POST", f"/runs/{run_id}/cancel").json()
        if watch:
            run = follow(client, run_id, quiet=as_json)
        show.print_json(run) if as_json else show.print_whole(show.run_table(run))
    if watch and run["status"] != "canceled":
        raise typer.Exit(FAILED)


@app.command()
def withdraw(batch_id: str, url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """Withdraw a manifest whose run has not begun. Its batch_id stays taken."""
    with service(url, as_json, key) as client:
        run = client.request("DELETE", f"/manifests/{batch_id}").json()
        show.print_json(run) if as_json else show.print_whole(show.run_table(run))


@app.command()
def rerun(
    run_id: Annotated[str, typer.Argument(help="The run; with --batch, the batch_id of its manifest.")],
    batch: Annotated[bool, typer.Option("--batch", help="Run the manifest with this batch_id again.")] = False,
    new_version: Annotated[
        NewVersion | None,
        typer.Option(help="Overrides new_version of the manifest; `always` makes a version in any case."),
    ] = None,
    watch: Watch = False,
    url: Url = DEFAULT_URL,
    key: Key = None,
    as_json: AsJson = False,
) -> None:
    """Run the same manifest again. With --watch, exit 0 on success, 1 on failure."""
    params = {} if new_version is None else {"new_version": new_version.value}
    path = f"/manifests/{run_id}/rerun" if batch else f"/runs/{run_id}/rerun"
    with service(url, as_json, key) as client:
        run = client.request("POST", path, params=params).json()
        if watch:
            run = follow(client, run["run_id"], quiet=as_json)
        show.print_json(run) if as_json else show.print_whole(show.run_table(run))
    if watch and run["status"] != "success":
        raise typer.Exit(FAILED)
