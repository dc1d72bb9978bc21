"""Lineage as a Mermaid flowchart, top down: source objects, runs, versions."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from app.models.asset import Asset
from app.models.lineage import LineageNode
from app.services.lineage.graph import Lineage, Provenance, graph_of

_LONGEST = 80
_HEAD = (
    "flowchart TD",
    "  classDef source fill:#eef2f7,stroke:#5b6b7f,color:#1d2733",
    "  classDef run fill:#fff4d6,stroke:#b7860b,color:#3d2f00",
    "  classDef asset fill:#e0f2e9,stroke:#2e7d57,color:#0d3321",
    "  classDef root fill:#e0f2e9,stroke:#0d3321,stroke-width:3px,color:#0d3321",
)
_SHAPES = {"source": ("[/", "/]"), "run": ("([", "])"), "asset": ("[(", ")]")}
# Between two letters or digits these have no meaning in Mermaid and Markdown.
_INNER_MARK = re.compile(r"(?<=[^\W_])(?:[._-](?=[^\W_])|,(?= ))")


def encode(lineage: Lineage, provenances: Sequence[Provenance]) -> str:
    graph = graph_of(lineage)
    ids = {node.id: f"n{number}" for number, node in enumerate(graph.nodes)}
    lines = list(_HEAD)
    by_asset = {
        f"asset:{provenance.asset.dataset_id}/v{provenance.asset.version}": provenance for provenance in provenances
    }
    by_run = {f"run:{provenance.asset.run_id}": provenance for provenance in provenances}
    for node in graph.nodes:
        opening, closing = _SHAPES[node.type]
        label = "<br/>".join(escape(line) for line in _lines(node, by_asset.get(node.id) or by_run.get(node.id)))
        kind = "root" if node.id == graph.root else node.type
        lines.append(f'  {ids[node.id]}{opening}"{label}"{closing}:::{kind}')
    for edge in graph.edges:
        arrow = "-->" if edge.role in ("made", "source") else f'-->|"{escape(edge.role)}"|'
        lines.append(f"  {ids[edge.source]} {arrow} {ids[edge.target]}")
    if lineage.truncated:
        lines.append('  more["There is more beyond this depth"]')
    return "\n".join(lines) + "\n"


def _lines(node: LineageNode, provenance: Provenance | None) -> list[str]:
    """The lines of a node's label."""
    if node.type == "source":
        return [node.label, (node.content_hash or "")[:19]]
    if provenance is None:
        return [node.label]
    if node.type == "asset":
        return [node.label, *_facts(provenance.asset)]
    run, record = provenance.run, provenance.manifest
    lines = [str(record.manifest.get("intent", "run")) if record else "run", provenance.asset.run_id[:8]]
    if run is not None and run.started_at is not None:
        lines.append(run.started_at.strftime("%Y-%m-%d %H:%M UTC"))
    return lines


def _facts(asset: Asset) -> list[str]:
    rows = asset.statistics.get("counts", {}).get("rows_out")
    facts = [f"{rows} rows"] if isinstance(rows, int) and asset.kind != "raster" else []
    facts += [asset.format, *([asset.crs] if asset.crs else [])]
    return [", ".join(facts)]


def escape(text: str) -> str:
    """Escape text for a quoted label, so that it is never read as Mermaid, Markdown or HTML.

    White space becomes one space, invisible and control characters U+FFFD, the end of a long text an ellipsis, and an
    empty text "no name", because Mermaid rejects empty labels.
    """
    words = " ".join(text.split()) or "no name"
    if len(words) > _LONGEST:
        words = words[: _LONGEST - 1] + "…"
    plain = {match.start() for match in _INNER_MARK.finditer(words)}
    return "".join(_character(c, at in plain) for at, c in enumerate(words))


def _character(c: str, is_plain: bool) -> str:
    if is_plain or c == " " or c.isalnum():
        return c
    return "\N{REPLACEMENT CHARACTER}" if unicodedata.category(c)[0] == "C" else f"#{ord(c)};"
