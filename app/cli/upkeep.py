"""Commands of people who operate the service: is everything there, bring the ledger up to date, the API's document."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated

import typer
from rich.markup import escape

from app.cli import show
from app.cli.common import FAILED, UNREACHABLE, AsJson, DataDir, app, fail, read_settings
from app.errors import DomainError, LedgerUnavailable, StoreUnavailable
from app.services.health import Check
from app.settings import Settings

_LOOK_EVERY = 1.0

Wait = Annotated[float, typer.Option(min=0, max=3600, help="Seconds to wait for servers that are still starting.")]


@app.command()
def doctor(data_dir: DataDir = None, wait: Wait = 0, as_json: AsJson = False) -> None:
    """Look at everything that the service needs, and say what to do about what is missing. Exit 0 when all is there."""
    from app.cli.doctor import examine

    def waiting(message: str) -> None:
        show.err.print(message, markup=False, soft_wrap=True)

    checks = asyncio.run(examine(read_settings(data_dir), wait=wait, waiting=waiting))
    if as_json:
        show.print_json([check.model_dump(mode="json") for check in checks])
    else:
        for check in checks:
            show.out.print(_line(check), soft_wrap=True)
    if any(check.required and not check.ok for check in checks):
        raise typer.Exit(FAILED)


def _line(check: Check) -> str:
    if check.ok:
        mark = "[yellow]warn[/]" if check.warning else "[green]ok[/]  "
        said = ", ".join(f"{name} {value}" for name, value in check.details.items())
        said = f"{said}. {check.warning}" if check.warning else said
    else:
        mark = "[red]FAIL[/]" if check.required else "[yellow]off[/] "
        said = f"{check.problem} {check.fix}"
    return f"{mark} {check.name:<9} {escape(said)} [dim]({check.latency_ms} ms)[/]"


@app.command()
def migrate(
    data_dir: DataDir = None,
    wait: Wait = 0,
    buckets: Annotated[bool, typer.Option("--buckets/--no-buckets", help="Make missing buckets as well.")] = True,
    as_json: AsJson = False,
) -> None:
    """Bring the ledger's schema up to date, and make the buckets. Safe to run twice, and while another one runs."""
    settings = read_settings(data_dir)
    try:
        applied, made = asyncio.run(_migrate(settings, buckets=buckets and settings.objects.create_buckets, wait=wait))
    except DomainError as err:
        fail(str(err), UNREACHABLE)
    if as_json:
        show.print_json({"applied": list(applied), "buckets": list(made)})
        return
    show.out.print(f"Applied {', '.join(applied)}." if applied else "The ledger is up to date.")
    if made:
        show.out.print(f"Made the buckets {', '.join(made)}.")


async def _migrate(settings: Settings, *, buckets: bool, wait: float) -> tuple[tuple[str, ...], tuple[str, ...]]:
    from app.clients import open_ledger, open_objects

    if settings.ledger.url is None or settings.objects.backend == "local":
        try:
            settings.data_dir.mkdir(parents=True, exist_ok=True)
        except OSError as err:
            detail = f"The data directory {settings.data_dir} cannot be used: {err.strerror}."
            raise StoreUnavailable(detail, "Choose another with --data-dir.") from None
    deadline = time.monotonic() + wait
    said = ""
    while True:
        try:
            async with open_ledger(settings) as ledger, open_objects(settings) as objects:
                applied = await ledger.migrate()
                return applied, await objects.make_buckets() if buckets else ()
        except (LedgerUnavailable, StoreUnavailable) as err:
            if time.monotonic() >= deadline:
                raise
            if str(err) != said:
                said = str(err)
                show.err.print(f"Waiting up to {wait:g} s: {said}", markup=False, soft_wrap=True)
            await asyncio.sleep(_LOOK_EVERY)


@app.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    from app.main import create_app

    show.print_json(create_app(Settings()).openapi())
