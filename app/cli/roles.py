"""Commands that run: the service as a whole, or one role of it as a process of its own."""

from __future__ import annotations

import json
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
from app.errors import DomainError
from app.logs import configure
from app.settings import Settings

if TYPE_CHECKING:
    from app.services.rehearsal import Finding


def _role(name: str, settings: Settings) -> Settings:
    """Have its log lines written as the settings want them."""
    configure(settings.log.format, settings.log.level, name)
    return settings


@app.command()
def serve(host: Host = None, port: Port = None, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Start the service: API, workers, sweep and, by default, a private Redis. Ctrl+C stops all of it."""
    from app.supervisor import serve as run_service

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
    """Start the API alone. It stays up while something is missing, and says at /ready what. Ctrl+C stops it."""
    from app.roles import run_api

    settings = _role("api", read_settings(data_dir, host=host, port=port))

    def announce(url: str) -> None:
        print(json.dumps({"url": url}) if as_json else f"spatial-etl's API answers at {url}", flush=True)

    try:
        uvloop.run(run_api(settings, announce))
    except DomainError as err:
        fail(str(err), UNREACHABLE)


@app.command()
def worker(
    data_dir: DataDir = None,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Worker processes; each carries one run.")] = 1,
) -> None:
    """Join workers to the queue of a running service. Ctrl+C stops them after the runs at hand."""
    settings = _role("worker", read_settings(data_dir))
    try:
        if processes == 1:
            from app.worker import run_worker

            run_worker(settings)
        else:
            from app.supervisor import run_workers

            uvloop.run(run_workers(settings, processes))
    except DomainError as err:
        fail(str(err), UNREACHABLE)


@app.command()
def sweep(
    data_dir: DataDir = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be mended, change nothing, end.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start the sweep alone: it moves on what nobody carries, and tidies up. Ctrl+C stops it.

    Several may run: one is elected, the others stand by.
    """
    from app.roles import rehearse_sweep, run_sweep

    try:
        if dry_run:
            _print_findings(uvloop.run(rehearse_sweep(read_settings(data_dir))), as_json)
            return
        uvloop.run(run_sweep(_role("sweep", read_settings(data_dir))))
    except DomainError as err:
        fail(str(err), UNREACHABLE)


def _print_findings(found: tuple[Finding, ...], as_json: bool) -> None:
    if as_json:
        show.print_json([each.document() for each in found])
        return
    for each in found:
        show.out.print(f"{each.kind} {each.name}: {each.action} ({each.reason})", markup=False, soft_wrap=True)
    if not found:
        show.out.print("There is nothing to mend.")


@app.command()
def alive(
    role: Annotated[str, typer.Argument(help="worker or sweep.")],
    within: Annotated[float, typer.Option(min=1, help="Seconds since its last sign of life.")] = 240,
) -> None:
    """For health checks of containers: exit 0 when a worker or sweep of this host gave a sign of life lately.

    An idle worker whose Redis is away gives one every two to three minutes.
    """
    from app.processes import seconds_since_beat

    if role not in ("worker", "sweep"):
        raise typer.BadParameter(f"found {role!r}; roles with a sign of life are worker and sweep.")
    age = seconds_since_beat(role)
    if age is None or age > within:
        when = "never gave a sign of life" if age is None else f"gave its last sign of life {age:.0f} s ago"
        fail(f"The {role} of this host {when}. Look into its log.", FAILED)
