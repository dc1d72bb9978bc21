"""Shared by all commands: the application, common options, exit codes, and errors as messages."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from pydantic_settings import SettingsError

from app.cli import show
from app.cli.client import Client, ServiceError, connected
from app.models.json_values import shown
from app.models.manifests.faults import describe
from app.models.manifests.nearest import nearest
from app.settings import ENV_FILE, Settings
from app.system.processes import keep_files_private

app = typer.Typer(
    name="spatial-etl",
    help="Files dropped into an object store become clean, versioned, traceable datasets.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)

# Exit codes: the run failed; the request was refused; no answer.
FAILED, REFUSED, UNREACHABLE = 1, 2, 3

KEY_VARIABLE = "SPATIAL_ETL_API_KEY"
Key = Annotated[
    str | None,
    typer.Option("--key", help=f"API key of the service. Prefer {KEY_VARIABLE}: other users can see arguments."),
]
Url = Annotated[str, typer.Option("--url", envvar="SPATIAL_ETL_URL", help="URL of the service.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of text.")]
Limit = Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")]
DataDir = Annotated[Path | None, typer.Option(help="Directory of all data of the embedded profile [default: ./data].")]
Host = Annotated[str | None, typer.Option(help="Address to bind [default: 127.0.0.1].")]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Port; 0 chooses a free one [default: 8000].")]
DEFAULT_URL = "http://127.0.0.1:8000"
_OUR_SETTING = re.compile(r"^\s*(export\s+)?(SPATIAL_ETL_|MANIFEST_ROUTER_)", re.MULTILINE | re.IGNORECASE)


def fail(message: str, code: int) -> NoReturn:
    for line in message.split("\n"):
        show.say(show.err, line, style="red")
    raise typer.Exit(code)


@contextmanager
def service(url: str, as_json: bool, key: str | None = None) -> Iterator[Client]:
    """A client whose errors end the command with a message, or with the problem as JSON.

    key: default: that of the environment variable SPATIAL_ETL_API_KEY.
    """
    try:
        with connected(url, key or os.environ.get(KEY_VARIABLE)) as client:
            yield client
    except ServiceError as err:
        if as_json and err.problem is not None:
            show.print_json(err.problem)
        else:
            for line in str(err).split("\n"):
                show.say(show.err, line, style="red")
        raise typer.Exit(UNREACHABLE if err.problem is None else REFUSED) from None


def read_settings(data_dir: Path | None, **api: Any) -> Settings:
    """The settings of the environment. Invalid ones end the command with all faults. Files it writes are private."""
    keep_files_private()
    _check_env_file()
    given = {name: value for name, value in api.items() if value is not None}
    try:
        settings = Settings(data_dir=data_dir) if data_dir else Settings()
    except ValidationError as err:
        lines = [_fault(line) for line in err.errors()]
        fail("The settings (SPATIAL_ETL_…) are not valid:\n" + "\n".join(lines), REFUSED)
    except SettingsError as err:
        # Its cause carries the value, which may be a URL with its password: only the field is named.
        detail = f"{err}. A group takes one variable for each of its fields, such as SPATIAL_ETL_LEDGER__URL."
        fail(f"The settings (SPATIAL_ETL_…) are not valid:\n{detail}", REFUSED)
    return settings.model_copy(update={"api": settings.api.model_copy(update=given)}) if given else settings


def _check_env_file() -> None:
    """Make the path of the named file absolute, for the processes that this one starts.

    A `.env` with settings that no variable names ends the command: a setting that silently does nothing could open the
    service, and a file that lies in the current directory by chance or by an attack could redirect it.
    """
    named = os.environ.get(ENV_FILE)
    if named:
        path = Path(named).expanduser().absolute()
        if not path.is_file():
            fail(f"{ENV_FILE} names {path}, which is not a file. Correct the path, or unset the variable.", REFUSED)
        os.environ[ENV_FILE] = str(path)
        return
    found = Path.cwd() / ".env"
    if named is None and found.is_file() and _OUR_SETTING.search(found.read_text(errors="replace")):
        fail(
            f"{found} has settings of this service, but no variable names the file. "
            f"Set {ENV_FILE}={found} to read it, or {ENV_FILE}= to ignore it.",
            REFUSED,
        )


def _fault(error: Mapping[str, Any]) -> str:
    """One line. Unknown settings are shown without their value, which may be a secret."""
    loc = error["loc"]
    name = "__".join(str(part) for part in loc)
    if error["type"] == "extra_forbidden":
        group = Settings.model_fields[str(loc[0])].annotation
        known = list(getattr(group, "model_fields", ()))
        near = nearest(str(loc[-1]), known)
        return f"{name}: unknown setting. " + (
            f"Did you mean {near!r}?" if near else f"Known here: {', '.join(known)}."
        )
    if error["type"] == "value_error":
        return f"{name}: {error['ctx']['error']}; found {shown(error['input'])}"
    detail, fix = describe(error, [name])
    if len(loc) == 1 and hasattr(Settings.model_fields[str(loc[0])].annotation, "model_fields"):
        # A value for a whole group is probably that of one of its fields: a URL with its password.
        return (
            f"{name} is a group of settings. Use one variable for each of its fields, such as SPATIAL_ETL_LEDGER__URL."
        )
    return f"{detail} {fix}"
