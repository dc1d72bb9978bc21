"""Lineage: what a version was made from, and what was made from it."""

from __future__ import annotations

from typing import Literal

from app.models.base import Frozen


class LineageNode(Frozen):
    """A version of a dataset, a landing-zone object (with its sha256 at that time), or the run between them.

    deleted: the version was deleted. id: `asset:DATASET/vN`, `source:KEY@SHA256`, `run:RUN_ID`.
    """

    id: str
    type: Literal["asset", "source", "run"]
    label: str
    dataset_id: str | None = None
    version: int | None = None
    run_id: str | None = None
    s3_key: str | None = None
    content_hash: str | None = None
    deleted: bool = False


class LineageEdge(Frozen):
    """Data flows from `source` to `target` (node ids)."""

    source: str
    target: str
    role: str


class LineageGraph(Frozen):
    """Nodes and edges around `root`; truncated: the graph goes on, beyond the requested depth or the limit of nodes."""

    root: str
    nodes: tuple[LineageNode, ...]
    edges: tuple[LineageEdge, ...]
    truncated: bool = False
