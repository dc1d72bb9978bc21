"""What the command line prints for people. Everything here has a `--json` twin that prints the API's own answer."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.tree import Tree

Json = dict[str, Any]

out = Console(highlight=False)
err = Console(stderr=True, highlight=False)

_COLOURS = {"success": "green", "failure": "red", "canceled": "yellow", "running": "cyan", "queued": "dim"}


def print_json(value: Any) -> None:
    """Plain JSON on standard output, unwrapped and uncoloured: for programs."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def _status(status: str) -> str:
    return f"[{_COLOURS.get(status, 'default')}]{status}[/]"


def _plain_table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def formats_table(rows: Sequence[dict[str, str]]) -> Table:
    table = _plain_table(*rows[0])
    for row in rows:
        table.add_row(*(escape(value) for value in row.values()))
    return table


def rows_table(names: Iterable[str], rows: Iterable[Iterable[Any]]) -> Table:
    """Rows of a table; nothing where there is no value."""
    table = _plain_table(*names)
    for row in rows:
        table.add_row(*("" if value is None else escape(str(value)) for value in row))
    return table


def runs_table(runs: Iterable[Json]) -> Table:
    table = _plain_table("run", "batch", "dataset", "status", "step", "rows", "created")
    for run in runs:
        rows, created = f"{run['progress']['rows_done']:,}", run["created_at"][:19]
        names = (run["run_id"], escape(run["batch_id"]), escape(run["partition_key"]))
        table.add_row(*names, _status(run["status"]), run["step"] or "", rows, created)
    return table


def run_table(run: Json) -> Table:
    """One run, with its error or warnings."""
    table = _plain_table("run", run["run_id"])
    table.add_row("status", _status(run["status"]))
    table.add_row("batch", run["batch_id"])
    table.add_row("dataset", run["partition_key"])
    table.add_row("attempt", str(run["attempt"]))
    for each in run["attempts"]:
        seconds = _seconds_between(each["started_at"], each["ended_at"])
        said = f"{escape(each['reason'])} " if each["reason"] else ""
        table.add_row(
            f"attempt {each['number']}", f"{each['outcome']} {said}[dim]({seconds}, {escape(each['worker'])})[/]"
        )
    if run["waiting_for"]:
        until = f" until {run['not_before'][:19]}" if run["waiting_for"] == "backoff" else ""
        table.add_row("waits for", f"{run['waiting_for']}{until}")
    for name, count in run["counts"].items():
        table.add_row(name, f"{count:,}")
    if run["engine"]:
        table.add_row("engine", ", ".join(escape(f"{name} {version}") for name, version in run["engine"].items()))
    for warning in run["warnings"]:
        table.add_row(
            "[yellow]warning[/]", f"{escape(warning['message'])} [dim]({warning['code']}, {warning['count']})[/]"
        )
    if error := run["error"]:
        table.add_row(
            "[red]error[/]",
            f"{escape(error['detail'])} {escape(error['fix'])} [dim]({error['code']}, step {error['step']}"
            f"{', file ' + escape(error['file']) if error['file'] else ''})[/]",
        )
    return table


def _seconds_between(start: str, end: str) -> str:
    return f"{(datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds():.1f} s"


def assets_table(assets: Iterable[Json]) -> Table:
    table = _plain_table("dataset", "version", "kind", "rows", "crs", "size", "created")
    for asset in assets:
        rows = asset["statistics"].get("counts", {}).get("rows_out")
        table.add_row(
            asset["dataset_id"], f"v{asset['version']}", asset["kind"], "" if rows is None else f"{rows:,}",
            asset["crs"] or "", f"{asset['size']:,}", asset["created_at"][:19],
        )  # fmt: skip
    return table


def asset_table(asset: Json) -> Table:
    """One version: rows, bounds, CRS, schema, hash, key."""
    table = _plain_table("asset", f"{asset['dataset_id']} v{asset['version']}")
    table.add_row("title", escape(asset["metadata"]["manifest"]["title"]))
    rows = asset["statistics"].get("counts", {}).get("rows_out")
    table.add_row("rows", "" if rows is None else f"{rows:,}")
    if bounds := asset["bounds"]:
        table.add_row("bounds", ", ".join(f"{bounds[side]:.6f}" for side in ("minx", "miny", "maxx", "maxy")))
    table.add_row("crs", asset["crs"] or "unknown")
    table.add_row("geometry", asset["metadata"]["geometry_type"] or "")
    columns = asset["metadata"]["column_schema"].items()
    table.add_row(
        "schema", ", ".join(f"{escape(name)} [dim]{escape(column['type_name'])}[/]" for name, column in columns)
    )
    table.add_row("hash", asset["content_hash"])
    table.add_row("key", asset["s3_key"])
    table.add_row("size", f"{asset['size']:,} bytes")
    return table


def lineage_tree(graph: Json) -> Tree:
    """The graph upwards from its root: what it was made from; then what was made from it."""
    labels = {node["id"]: f"{escape(node['label'])} [dim]{node['type']}[/]" for node in graph["nodes"]}
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
