"""Commands that remove things: by the retention rules, and test runs."""

from __future__ import annotations

import asyncio
import getpass
import re
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Annotated, TypeVar

import typer

from app.cli import show
from app.cli.common import UNREACHABLE, AsJson, DataDir, app, fail, read_settings
from app.clients import Clients, open_clients
from app.errors import DomainError
from app.services.retention.cleanup_tests import clean_up_tests
from app.services.retention.removal import Outcome
from app.services.retention.rules import apply
from app.settings import Settings

T = TypeVar("T")

DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would be removed, without changes.")]
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def _duration(text: str | timedelta) -> timedelta:
    if isinstance(text, timedelta):  # the default
        return text
    match = re.fullmatch(r"([0-9]{1,6})([smhd])", text)
    if match is None:
        raise typer.BadParameter(f"found {text!r}; give an integer with s, m, h or d, such as 12h or 1d.")
    return timedelta(seconds=int(match[1]) * _UNITS[match[2]])


OlderThan = Annotated[
    timedelta, typer.Option(parser=_duration, metavar="AGE", help="Keep manifests that are younger, e.g. 30m, 12h, 1d.")
]


@app.command()
def retention(data_dir: DataDir = None, dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Apply the retention rules (SPATIAL_ETL_RETENTION__…) now. The sweep does so every hour."""
    settings = read_settings(data_dir)
    outcomes = _with_clients(settings, lambda clients: apply(clients, settings.retention, dry_run=dry_run))
    if as_json:
        show.print_json({name: _document(outcome) for name, outcome in outcomes.items()})
        return
    for name, outcome in outcomes.items():
        _print(name, outcome, dry_run=dry_run)


@app.command()
def cleanup(
    testing: Annotated[bool, typer.Option("--testing", help="Test runs: manifests with the tag testing=true.")] = False,
    older_than: OlderThan = timedelta(hours=1),
    landing_files: Annotated[
        bool, typer.Option("--landing-files", help="Also remove the landing-zone files that these manifests name.")
    ] = False,
    data_dir: DataDir = None,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Remove test runs and everything they made. Their batch ids stay taken."""
    if not testing:
        raise typer.BadParameter("give --testing, the kind of runs to remove.")

    def act(clients: Clients) -> Awaitable[Outcome]:
        user = f"cli:{getpass.getuser()}"
        return clean_up_tests(clients, older_than=older_than, dry_run=dry_run, landing_files=landing_files, user=user)

    outcome = _with_clients(read_settings(data_dir), act)
    show.print_json(_document(outcome)) if as_json else _print("testing", outcome, dry_run=dry_run)


def _with_clients(settings: Settings, act: Callable[[Clients], Awaitable[T]]) -> T:
    async def run() -> T:
        async with open_clients(settings) as clients:
            await clients.ledger.ping()
            return await act(clients)

    try:
        return asyncio.run(run())
    except DomainError as err:
        fail(str(err), UNREACHABLE)


def _document(outcome: Outcome) -> dict[str, object]:
    return {"removed": dict(outcome.removed), "items": outcome.names, "kept": outcome.kept}


def _print(name: str, outcome: Outcome, *, dry_run: bool) -> None:
    verb = "would remove" if dry_run else "removed"
    numbers = ", ".join(f"{number} {kind}" for kind, number in sorted(outcome.removed.items()) if number)
    show.say(show.out, f"{name}: {verb} {numbers or 'nothing'}.")
    for line in outcome.names:
        show.say(show.out, f"  {line}")
    for line in outcome.kept:
        show.say(show.out, f"  kept {line}")
