"""What every command shares: the application, its options, its exit codes, and how it ends with a message."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from app.cli import show
from app.cli.client import Client, ServiceError, connected
from app.models.nearest import nearest
from app.settings import Settings

app = typer.Typer(
    name="spatial-etl",
    help="Files dropped into an object store become clean, versioned, traceable datasets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

# Exit codes: the run failed; the request was refused; nobody answered.
FAILED, REFUSED, UNREACHABLE = 1, 2, 3

KEY_VARIABLE = "SPATIAL_ETL_API_KEY"
Key = Annotated[
    str | None,
    typer.Option("--key", help=f"API key of the service; better in {KEY_VARIABLE}: everybody may list arguments."),
]
Url = Annotated[str, typer.Option("--url", envvar="SPATIAL_ETL_URL", help="Where the service runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")]
DataDir = Annotated[Path | None, typer.Option(help="Where the embedded profile keeps everything [default: ./data].")]
Host = Annotated[str | None, typer.Option(help="Address to bind [default: 127.0.0.1].")]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one [default: 8000].")]
DEFAULT_URL = "http://127.0.0.1:8000"


def fail(message: str, code: int) -> NoReturn:
    show.err.print(message, style="red", markup=False, soft_wrap=True)
    raise typer.Exit(code)


@contextmanager
def service(url: str, as_json: bool, key: str | None = None) -> Iterator[Client]:
    """A client whose problems end the command with a readable message, or with the problem as JSON.

    key: default: that of the environment.
    """
    try:
        with connected(url, key or os.environ.get(KEY_VARIABLE)) as client:
            yield client
    except ServiceError as err:
        if as_json and err.problem is not None:
            show.print_json(err.problem)
        else:
            show.err.print(str(err), style="red", markup=False, soft_wrap=True)
        raise typer.Exit(UNREACHABLE if err.problem is None else REFUSED) from None


def read_settings(data_dir: Path | None, **api: Any) -> Settings:
    """The settings of the environment; ends the command with every fault when they are not valid."""
    given = {name: value for name, value in api.items() if value is not None}
    try:
        settings = Settings(data_dir=data_dir) if data_dir else Settings()
    except ValidationError as err:
        lines = [_fault(line["loc"], line["type"], line["msg"], line["input"]) for line in err.errors()]
        fail("The settings (SPATIAL_ETL_…) are not valid:\n" + "\n".join(lines), REFUSED)
    except SettingsError as err:
        # Its cause carries the value, which may be a URL with its password: only the field is named.
        detail = f"{err}. A group takes one variable for each of its fields, such as SPATIAL_ETL_LEDGER__URL."
        fail(f"The settings (SPATIAL_ETL_…) are not valid:\n{detail}", REFUSED)
    return settings.model_copy(update={"api": settings.api.model_copy(update=given)}) if given else settings


def _fault(loc: tuple[int | str, ...], kind: str, message: str, value: object) -> str:
    """One line. The value is left out where it may be a secret under a name that no setting has."""
    name = "__".join(str(part) for part in loc)
    if kind == "extra_forbidden":
        group = Settings.model_fields[str(loc[0])].annotation
        known = list(getattr(group, "model_fields", ()))
        near = nearest(str(loc[-1]), known)
        return f"{name}: there is no such setting. " + (
            f"Did you mean {near!r}?" if near else f"There are: {', '.join(known)}."
        )
    shown = f"; found {value!r}" if len(loc) > 1 or str(loc[0]) in {"data_dir", "MANIFEST_ROUTER_ENABLED_LANES"} else ""
    return f"{name}: {message}{shown}"
