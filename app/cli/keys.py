"""Commands for API keys. They use the ledger directly, not the API."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Annotated, Any, TypeVar

import typer

from app.cli import show
from app.cli.common import REFUSED, UNREACHABLE, AsJson, DataDir, app, fail, read_settings
from app.errors import ApiKeyTaken, DomainError, InvalidKey, InvalidRequest, NotFound
from app.ledger import Ledger
from app.models.api_key import ApiKey, Scope
from app.models.base import utcnow
from app.services.access import api_keys as service
from app.settings import Settings

T = TypeVar("T")

_UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}

keys = typer.Typer(no_args_is_help=True, help="Create, list and revoke the API keys of the service.")
app.add_typer(keys, name="keys")


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="Name of the user or program, as the audit trail shows it.")],
    scope: Annotated[Scope, typer.Option(help="read < submit < admin; each includes those before it.")],
    prefix: Annotated[
        list[str] | None,
        typer.Option(
            help="Prefix in the landing zone that it may use, e.g. team-a/. Repeatable [default: all]. Restricts files "
            "only: the key can publish to every dataset, and read every dataset, manifest and run. Not with admin."
        ),
    ] = None,
    expires: Annotated[str | None, typer.Option(help="Lifetime, e.g. 12h, 90d, 52w [default: unlimited].")] = None,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Create an API key and print it. It is not stored and cannot be shown again."""
    lifetime = _lifetime(expires)

    async def make(ledger: Ledger) -> tuple[str, ApiKey]:
        return await service.create(ledger, name, scope, tuple(prefix or ()), lifetime)

    token, key = _with_ledger(read_settings(data_dir), make)
    if as_json:
        show.print_json({"key": token, **_view(key)})
        return
    show.say(show.err, f"Created the API key {key.name} ({_rights(key)}). It is not shown again:")
    print(token)


@keys.command(name="list")
def list_(data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """List all keys, including revoked and expired ones."""

    async def read(ledger: Ledger) -> tuple[ApiKey, ...]:
        return await ledger.list_api_keys()

    found = _with_ledger(read_settings(data_dir), read)
    if as_json:
        show.print_json([_view(key) for key in found])
        return
    columns = ("name", "scope", "prefixes", "state", "created", "expires", "last used")
    rows = [
        (key.name, key.scope.value, " ".join(key.prefixes) or "all", _state(key), _day(key.created_at),
         _day(key.expires_at), _day(key.last_used_at))
        for key in found
    ]  # fmt: skip
    show.print_whole(show.rows_table(columns, rows))
    if bound := [key.name for key in found if service.is_bound_admin(key)]:
        show.say(show.err, bound_admins(bound))


@keys.command()
def revoke(name: str, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Revoke a key. All API processes refuse it within five seconds."""

    async def end(ledger: Ledger) -> ApiKey:
        return await service.revoke(ledger, name)

    key = _with_ledger(read_settings(data_dir), end)
    if as_json:
        show.print_json(_view(key))
    else:
        show.say(show.out, f"The API key {key.name} is revoked.")


def bound_admins(names: Sequence[str]) -> str:
    """A warning about admin keys with prefixes."""
    return (
        f"Admin keys with prefixes: {', '.join(names)}. Prefixes restrict files of the landing zone only: these keys "
        "can change and delete every dataset. Revoke them, and create keys without prefixes or with the scope submit."
    )


def _with_ledger(settings: Settings, work: Callable[[Ledger], Awaitable[T]]) -> T:
    from app.clients import open_ledger

    async def run() -> T:
        async with open_ledger(settings) as ledger:
            return await work(ledger)

    try:
        return asyncio.run(run())
    except (ApiKeyTaken, InvalidRequest, InvalidKey, NotFound) as err:
        fail(str(err), REFUSED)
    except DomainError as err:
        fail(str(err), UNREACHABLE)


def _lifetime(text: str | None) -> timedelta | None:
    if text is None:
        return None
    match = re.fullmatch(r"([1-9]\d{0,3})([hdw])", text)
    if match is None:
        fail(f"{text!r} is not a lifetime. Give --expires a number with h, d or w, such as 90d.", REFUSED)
    return int(match[1]) * _UNITS[match[2]]


def _view(key: ApiKey) -> dict[str, Any]:
    return {**key.model_dump(mode="json", exclude={"token_hash"}), "state": _state(key)}


def _rights(key: ApiKey) -> str:
    below = f" below {', '.join(key.prefixes)}" if key.prefixes else ""
    until = f", until {key.expires_at:%Y-%m-%d %H:%M} UTC" if key.expires_at else ""
    return f"{key.scope.value}{below}{until}"


def _state(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "good" if key.is_valid(utcnow()) else "expired"


def _day(moment: Any) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else ""
