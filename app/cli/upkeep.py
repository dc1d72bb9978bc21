"""Commands for operators: check dependencies, migrate the ledger, print the OpenAPI document."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import typer

from app.cli import show
from app.cli.common import FAILED, UNREACHABLE, AsJson, DataDir, app, fail, read_settings
from app.errors import DomainError, LedgerUnavailable, LedgerUnsupported, StoreUnavailable
from app.services.health import PartDetails
from app.settings import Settings

_POLL_SECONDS = 1.0

Wait = Annotated[float, typer.Option(min=0, max=3600, help="Seconds to wait for servers that are still starting.")]


@app.command()
def doctor(data_dir: DataDir = None, wait: Wait = 0, as_json: AsJson = False) -> None:
    """Check all dependencies of the service, and print how to fix what fails. Exit 0 if all that is required works."""
    from app.cli.doctor import examine

    def waiting(message: str) -> None:
        show.say(show.err, message)

    checks = asyncio.run(examine(read_settings(data_dir), wait=wait, waiting=waiting))
    if as_json:
        show.print_json([check.model_dump(mode="json") for check in checks])
    else:
        for check in checks:
            show.out.print(_line(check), soft_wrap=True)
    if any(check.required and not check.ok for check in checks):
        raise typer.Exit(FAILED)


def _line(check: PartDetails) -> str:
    if check.ok:
        mark = "[yellow]warn[/]" if check.warning else "[green]ok[/]  "
        message = ", ".join(f"{name} {value}" for name, value in check.details.items())
        message = f"{message}. {check.warning}" if check.warning else message
    else:
        mark = "[red]FAIL[/]" if check.required else "[yellow]off[/] "
        message = f"{check.problem} {check.fix}"
    return f"{mark} {show.foreign(f'{check.name:<9} {message}')} [dim]({check.latency_ms} ms)[/]"


@app.command()
def migrate(
    data_dir: DataDir = None,
    wait: Wait = 0,
    buckets: Annotated[bool, typer.Option("--buckets/--no-buckets", help="Also create missing buckets.")] = True,
    as_json: AsJson = False,
) -> None:
    """Migrate the schema of the ledger and create the buckets. Safe to repeat and to run concurrently."""
    settings = read_settings(data_dir)
    try:
        applied, made = asyncio.run(_migrate(settings, buckets=buckets and settings.objects.create_buckets, wait=wait))
    except DomainError as err:
        fail(str(err), UNREACHABLE)
    if as_json:
        show.print_json({"applied": list(applied), "buckets": list(made)})
        return
    show.say(show.out, f"Applied {', '.join(applied)}." if applied else "The ledger is up to date.")
    if made:
        show.say(show.out, f"Created the buckets {', '.join(made)}.")


async def _migrate(settings: Settings, *, buckets: bool, wait: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    from app.clients import open_ledger, open_objects
    from app.services.store_probe import probe_store

    if settings.ledger.url is None or settings.objects.backend == "local":
        try:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            detail = f"The data directory {settings.data_dir} cannot be used: {err.strerror}."
            raise StoreUnavailable(detail, "Choose another directory with --data-dir.") from None
    deadline = time.monotonic() + wait
    message = ""
    while True:
        try:
            async with open_ledger(settings) as ledger, open_objects(settings) as objects:
                applied = await ledger.migrate()
                made = await objects.make_buckets() if buckets else ()
                for warning in await probe_store(objects) if made else ():
                    show.say(show.err, f"Warning: {warning}")
                return applied, made
        except LedgerUnsupported:
            raise  # waiting does not help
        except (LedgerUnavailable, StoreUnavailable) as err:
            if time.monotonic() >= deadline:
                raise
            if str(err) != message:
                message = str(err)
                show.say(show.err, f"Waiting up to {wait:g} s: {message}")
            await asyncio.sleep(_POLL_SECONDS)


@app.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    from app.main import create_app

    show.print_json(create_app(Settings()).openapi())
