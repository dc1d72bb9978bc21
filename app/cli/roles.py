"""Commands that start the service as a whole, or one role of it: API, worker, sweep."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Annotated

import typer
import uvloop

from app.cli import show
from app.cli.common import (
    FAILED,
    UNREACHABLE,
    AsJson,
    DataDir,
    Host,
    Port,
    app,
    fail,
    read_settings,
)
from app.cli.unknown_settings import unknown_settings
from app.errors import DomainError
from app.settings import Settings
from app.system.logs import configure
from app.system.processes import leave_current_directory

if TYPE_CHECKING:
    from app.services.sweep.dry_run import Finding

logger = logging.getLogger(__name__)


def _role(name: str, settings: Settings) -> Settings:
    """Configure logging of this role by the settings, and leave the directory in which it was started."""
    leave_current_directory()
    configure(settings.log.format, settings.log.level, name)
    for line in unknown_settings():
        logger.warning("%s", line)
    return settings


@app.command()
def serve(host: Host = None, port: Port = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Start the service: API, workers, sweep and, by default, a private Redis. Ctrl+C stops everything."""
    from app.serve.supervisor import serve as run_service

    settings = _role("serve", read_settings(data_dir, host=host, port=port))

    def announce(url: str) -> None:
        given = {"url": url, "data_dir": str(settings.data_dir)}
        print(json.dumps(given) if as_json else f"spatial-etl serves {url}", flush=True)

    try:
        uvloop.run(run_service(settings, announce))
    except DomainError as err:
        fail(str(err), UNREACHABLE)


@app.command()
def api(host: Host = None, port: Port = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Start the API alone. It starts without unavailable servers too, and reports them at /ready. Ctrl+C stops it."""
    from app.serve.roles import run_api

    settings = _role("api", read_settings(data_dir, host=host, port=port))

    def announce(url: str) -> None:
        print(json.dumps({"url": url}) if as_json else f"spatial-etl API serves {url}", flush=True)

    try:
        uvloop.run(run_api(settings, announce))
    except DomainError as err:
        fail(str(err), UNREACHABLE)


@app.command()
def worker(
    data_dir: DataDir = None,
    processes: Annotated[
        int, typer.Option(min=1, max=64, help="Worker processes. Each processes one run at a time.")
    ] = 1,
) -> None:
    """Start workers for the queue of a running service. Ctrl+C stops them after their current runs."""
    settings = _role("worker", read_settings(data_dir))
    try:
        if processes == 1:
            from app.worker import run_worker

            run_worker(settings)
        else:
            from app.serve.supervisor import run_workers

            uvloop.run(run_workers(settings, processes))
    except DomainError as err:
        fail(str(err), UNREACHABLE)


@app.command()
def sweep(
    data_dir: DataDir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be repaired, without changes.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start the sweep alone: it recovers runs whose worker is gone, and cleans up. Ctrl+C stops it.

    Several may run: one is elected, the others stand by.
    """
    from app.serve.roles import dry_run_sweep, run_sweep

    try:
        if dry_run:
            _print_findings(uvloop.run(dry_run_sweep(read_settings(data_dir))), as_json)
            return
        uvloop.run(run_sweep(_role("sweep", read_settings(data_dir))))
    except DomainError as err:
        fail(str(err), UNREACHABLE)


def _print_findings(found: tuple[Finding, ...], as_json: bool) -> None:
    if as_json:
        show.print_json([each.document() for each in found])
        return
    for each in found:
        show.say(show.out, f"{each.kind} {each.name}: {each.action} ({each.reason})")
    if not found:
        show.out.print("Nothing to repair.")


@app.command()
def alive(
    role: Annotated[str, typer.Argument(help="worker or sweep.")],
    within: Annotated[float, typer.Option(min=1, help="Seconds since its last sign of life.")] = 240,
) -> None:
    """Health check for containers: exit 0 if a worker or sweep of this host was alive recently.

    An idle worker without Redis reports only every two to three minutes.
    """
    from app.system.processes import seconds_since_beat

    if role not in ("worker", "sweep"):
        raise typer.BadParameter(f"found {role!r}; give worker or sweep.")
    age = seconds_since_beat(role)
    if age is None or age > within:
        when = "never gave a sign of life" if age is None else f"gave its last sign of life {age:.0f} s ago"
        fail(f"The {role} of this host {when}. See its log.", FAILED)
