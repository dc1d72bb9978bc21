"""Tables and trees for the terminal. With `--json`, commands print the answer of the API instead."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.measure import Measurement
from rich.table import Table
from rich.tree import Tree

Json = dict[str, Any]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

# Control characters, line separators, changes of direction, and halves of characters.
_UNSEEN = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff]"
)
# Columns: more than any row has.
_UNLIMITED = 1_000_000
_COLOURS = {"success": "green", "failure": "red", "canceled": "yellow", "running": "cyan", "queued": "dim"}


def print_json(value: Any) -> None:
    """Plain JSON on standard output, unwrapped and uncoloured: for programs."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    # JSON leaves these as they are. They are in strings only, so their escapes mean the same.
    print(_UNSEEN.sub(lambda found: found[0] if found[0] == "\n" else f"\\u{ord(found[0]):04x}", text))


def visible(text: object) -> str:
    """Text of others for the terminal: control characters and changes of direction become visible escapes."""
    return _UNSEEN.sub(lambda found: found[0].encode("unicode_escape", "surrogatepass").decode(), str(text))


def foreign(text: object) -> str:
    """`visible`, inside of Rich markup: what looks like markup is shown as it is."""
    # A backslash at the end would escape the markup that follows.
    return escape(visible(text)) if not str(text).endswith("\\") else escape(visible(text) + " ")


def say(console: Console, text: object, style: str | None = None) -> None:
    """Print a line, which may contain text of others."""
    console.print(visible(text), style=style, markup=False, soft_wrap=True)


def print_whole(*parts: Table | Tree) -> None:
    """Print tables and trees, with an empty line between them, so that no word is broken over lines.

    Ids, keys and hashes can so be copied. In a terminal long texts are wrapped between words; a terminal that is too
    narrow for the longest words wraps the lines by itself. In pipes and files every row is one line.
    """
    wide = Console(file=out.file, highlight=False, width=_UNLIMITED)
    for number, part in enumerate(parts):
        if number:
            out.print()
        needed = Measurement.get(wide, wide.options, part)
        width = max(needed.minimum, out.width) if out.is_terminal else needed.maximum
        Console(file=out.file, highlight=False, width=width).print(part, soft_wrap=False)


def _status(status: str) -> str:
    return f"[{_COLOURS.get(status, 'default')}]{foreign(status)}[/]"


def _plain_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(foreign(column), overflow="fold")
    return table


def formats_table(rows: Sequence[dict[str, str]]) -> Table:
    table = _plain_table(*rows[0])
    for row in rows:
        table.add_row(*(foreign(value) for value in row.values()))
    return table


def rows_table(names: Iterable[str], rows: Iterable[Iterable[Any]]) -> Table:
    """Rows of a table; nothing where there is no value."""
    table = _plain_table(*names)
    for row in rows:
        table.add_row(*("" if value is None else foreign(value) for value in row))
    return table


def runs_table(runs: Iterable[Json]) -> Table:
    table = _plain_table("run", "batch", "dataset", "status", "step", "rows", "created")
    for run in runs:
        rows, created = f"{run['progress']['rows_done']:,}", run["created_at"][:19]
        names = (foreign(run["run_id"]), foreign(run["batch_id"]), foreign(run["partition_key"]))
        table.add_row(*names, _status(run["status"]), foreign(run["step"] or ""), rows, foreign(created))
    return table


def run_table(run: Json) -> Table:
    """One run, with its error or warnings."""
    table = _plain_table("run", run["run_id"])
    table.add_row("status", _status(run["status"]))
    table.add_row("batch", foreign(run["batch_id"]))
    table.add_row("dataset", foreign(run["partition_key"]))
    table.add_row("attempt", str(run["attempt"]))
    for each in run["attempts"]:
        seconds = _seconds_between(each["started_at"], each["ended_at"])
        reason = f"{foreign(each['reason'])} " if each["reason"] else ""
        table.add_row(
            f"attempt {each['number']}",
            f"{foreign(each['outcome'])} {reason}[dim]({seconds}, {foreign(each['worker'])})[/]",
        )
    if run["waiting_for"]:
        until = f" until {run['not_before'][:19]}" if run["waiting_for"] == "backoff" else ""
        table.add_row("waits for", foreign(f"{run['waiting_for']}{until}"))
    for name, count in run["counts"].items():
        table.add_row(foreign(name), f"{count:,}")
    if run["engine"]:
        table.add_row("engine", ", ".join(foreign(f"{name} {version}") for name, version in run["engine"].items()))
    for check in run.get("checks", ()):
        about = f"{check['check']} of {check['column']}" if check["column"] is not None else check["check"]
        outcome = "passed" if check["passed"] else f"[red]failed[/], found {foreign(str(check['found']))}"
        table.add_row("check", f"{foreign(about)} ({foreign(check['expected'])}): {outcome}")
    for warning in run["warnings"]:
        table.add_row(
            "[yellow]warning[/]",
            f"{foreign(warning['message'])} [dim]({foreign(warning['code'])}, {warning['count']})[/]",
        )
    if error := run["error"]:
        where = f", step {error['step']}" + (f", file {error['file']}" if error["file"] else "")
        text = f"{foreign(error['detail'])} {foreign(error['fix'])} [dim]({foreign(error['code'] + where)})[/]"
        table.add_row("[red]error[/]", text)
    return table


def _seconds_between(start: str, end: str) -> str:
    return f"{(datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds():.1f} s"


def assets_table(assets: Iterable[Json]) -> Table:
    table = _plain_table("dataset", "version", "kind", "rows", "crs", "size", "created")
    for asset in assets:
        rows = asset["statistics"].get("counts", {}).get("rows_out")
        table.add_row(
            foreign(asset["dataset_id"]), f"v{asset['version']}", foreign(asset["kind"]),
            "" if rows is None else f"{rows:,}", foreign(asset["crs"] or ""), f"{asset['size']:,}",
            foreign(asset["created_at"][:19]),
        )  # fmt: skip
    return table


def asset_table(asset: Json) -> Table:
    """One version: rows, bounds, CRS, schema, hash, key."""
    table = _plain_table("asset", f"{asset['dataset_id']} v{asset['version']}")
    table.add_row("title", foreign(asset["metadata"]["manifest"]["title"]))
    rows = asset["statistics"].get("counts", {}).get("rows_out")
    table.add_row("rows", "" if rows is None else f"{rows:,}")
    if bounds := asset["bounds"]:
        table.add_row("bounds", ", ".join(f"{bounds[side]:.6f}" for side in ("minx", "miny", "maxx", "maxy")))
    table.add_row("crs", foreign(asset["crs"] or "unknown"))
    table.add_row("geometry", foreign(asset["metadata"]["geometry_type"] or ""))
    columns = asset["metadata"]["column_schema"].items()
    table.add_row(
        "schema", ", ".join(f"{foreign(name)} [dim]{foreign(column['type_name'])}[/]" for name, column in columns)
    )
    table.add_row("hash", foreign(asset["content_hash"]))
    table.add_row("key", foreign(asset["s3_key"]))
    table.add_row("size", f"{asset['size']:,} bytes")
    return table


def lineage_tree(graph: Json) -> Tree:
    """The graph from its root: what it was made from, and what was made from it."""
    labels = {node["id"]: f"{foreign(node['label'])} [dim]{foreign(node['type'])}[/]" for node in graph["nodes"]}
    edges = graph["edges"]
    tree = Tree(labels[graph["root"]])
    _grow(tree.add("[dim]made from[/]"), graph["root"], labels, [(e["target"], e["source"]) for e in edges], set())
    if any(edge["source"] == graph["root"] for edge in edges):
        _grow(tree.add("[dim]used for[/]"), graph["root"], labels, [(e["source"], e["target"]) for e in edges], set())
    return tree


def _grow(branch: Tree, node: str, labels: dict[str, str], edges: list[tuple[str, str]], seen: set[str]) -> None:
    for near, far in edges:
        if near == node and far not in seen:
            seen.add(far)
            _grow(branch.add(labels[far]), far, labels, edges, seen)
