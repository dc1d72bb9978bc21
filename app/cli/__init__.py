"""The command line: start the service, submit manifests, show runs, datasets and lineage."""

from __future__ import annotations

import logging
import os
from typing import Annotated

import typer

from app import __version__
from app.cli.common import app

__all__ = ["app"]


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log at level info.")] = False,
) -> None:
    _ = version
    if verbose:
        # In the environment, so that child processes get it too.
        os.environ["SPATIAL_ETL_LOG__LEVEL"] = "info"
    form = "%(asctime)s %(levelname)s %(name)s: %(message)s"
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, format=form)


# Each module adds its commands to `app`, in the order of the help text.
from app.cli import control, formats, keys, lanes, retention, roles, upkeep, usage  # noqa: E402, F401
