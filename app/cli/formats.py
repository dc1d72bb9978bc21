"""`formats`: the formats that can be read."""

from __future__ import annotations

from typing import Annotated

import typer

from app.cli import show
from app.cli.common import AsJson, app
from app.models.formats import FORMATS


def markdown() -> str:
    """The table in Markdown, as in the README."""
    rows = [fmt.row() for fmt in FORMATS if fmt.available]
    lines = ["| " + " | ".join(rows[0]) + " |", "|" + "---|" * len(rows[0])]
    for row in rows:
        name, *others = row.values()
        lines.append("| " + " | ".join([f"`{name}`", *others]) + " |")
    return "\n".join(lines)


@app.command()
def formats(
    as_json: AsJson = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print the table of the README.")] = False,
) -> None:
    """List the formats with aliases, sidecar files (? is optional) and files[].options."""
    if as_markdown:
        print(markdown())
        return
    rows = [fmt.row() for fmt in FORMATS if fmt.available]
    if as_json:
        show.print_json(rows)
        return
    show.print_whole(show.formats_table(rows))
