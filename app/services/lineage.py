"""Lineage: the walk from one version to those it was made from and those made from it, and its encodings."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from app.ledger import Ledger
from app.models.asset import Asset, ParentInput, SourceInput
from app.models.lineage import LineageEdge, LineageGraph, LineageNode
from app.models.manifest import ManifestRecord
from app.models.run import Run
from app.services.catalog import get_record

Direction = Literal["up", "down", "both"]
Encoding = Literal["graph", "openlineage", "prov", "mermaid"]

# By dotted path: what they import takes a third of a second, which a service without such requests need not spend.
_ENCODERS: dict[Encoding, str] = {
    "openlineage": "app.services.lineage_openlineage:encode",
    "prov": "app.services.lineage_prov:encode",
    "mermaid": "app.services.lineage_mermaid:encode",
}


@dataclass(frozen=True, slots=True)
class Lineage:
    """The versions around `root`, which is the first; truncated: there is more beyond the depth that was asked for."""

    assets: tuple[Asset, ...]
    truncated: bool

    @property
    def root(self) -> Asset:
        return self.assets[0]


@dataclass(frozen=True, slots=True)
class Making:
    """A version with the run and the manifest that made it (None: the ledger has lost them)."""

    asset: Asset
    run: Run | None
    manifest: ManifestRecord | None


async def trace(ledger: Ledger, dataset_id: str, version: int, direction: Direction, depth: int) -> Lineage:
    """Breadth first, at most `depth` versions away. Raises NotFound."""
    root = await get_record(ledger, dataset_id, version)
    found = {_name(root): root}
    truncated = False
    if direction in ("up", "both"):
        truncated |= await _walk_up(ledger, root, depth, found)
    if direction in ("down", "both"):
        truncated |= await _walk_down(ledger, root, depth, found)
    return Lineage(tuple(found.values()), truncated)


async def encode(ledger: Ledger, lineage: Lineage, encoding: Encoding) -> str:
    """The lineage as text in that encoding."""
    if encoding == "graph":
        return graph_of(lineage).model_dump_json()
    module, _, name = _ENCODERS[encoding].partition(":")
    encoder: Callable[[Lineage, Sequence[Making]], str] = getattr(importlib.import_module(module), name)
    return encoder(lineage, await makings_of(ledger, lineage))


async def makings_of(ledger: Ledger, lineage: Lineage) -> tuple[Making, ...]:
    """How each version came about, in the order of `lineage.assets`."""
    makings = []
    for asset in lineage.assets:
        run = await ledger.get_run(asset.run_id)
        makings.append(Making(asset, run, await ledger.get_manifest(run.batch_id) if run else None))
    return tuple(makings)


def graph_of(lineage: Lineage) -> LineageGraph:
    graph = _Graph()
    for asset in lineage.assets:
        graph.add(asset)
    return LineageGraph(
        root=_asset_id(*_name(lineage.root)),
        nodes=tuple(graph.nodes.values()),
        edges=tuple(graph.edges),
        truncated=lineage.truncated,
    )


def _name(asset: Asset) -> tuple[str, int]:
    return asset.dataset_id, asset.version


def _asset_id(dataset_id: str, version: int) -> str:
    return f"asset:{dataset_id}/v{version}"


@dataclass
class _Graph:
    nodes: dict[str, LineageNode] = field(default_factory=dict)
    edges: dict[LineageEdge, None] = field(default_factory=dict)

    def add(self, asset: Asset) -> None:
        """The version, the run that made it, and that run's inputs."""
        own, run = _asset_id(asset.dataset_id, asset.version), f"run:{asset.run_id}"
        self.nodes[own] = LineageNode(
            id=own,
            type="asset",
            label=f"{asset.dataset_id} v{asset.version}",
            dataset_id=asset.dataset_id,
            version=asset.version,
            s3_key=asset.s3_key,
            content_hash=asset.content_hash,
            deleted=asset.deletion is not None,
        )
        self.nodes[run] = LineageNode(id=run, type="run", label=f"run {asset.run_id[:8]}", run_id=asset.run_id)
        self.edges[LineageEdge(source=run, target=own, role="made")] = None
        for item in asset.inputs:
            if isinstance(item, SourceInput):
                node = LineageNode(
                    id=f"source:{item.s3_key}@{item.sha256}",
                    type="source",
                    label=item.s3_key.rpartition("/")[2],
                    s3_key=item.s3_key,
                    content_hash=f"sha256:{item.sha256}",
                )
                self.nodes[node.id] = node
                self.edges[LineageEdge(source=node.id, target=run, role="source")] = None
            else:
                parent = _asset_id(item.dataset_id, item.version)
                self.edges[LineageEdge(source=parent, target=run, role=item.role)] = None
                self.nodes.setdefault(
                    parent,
                    LineageNode(
                        id=parent,
                        type="asset",
                        label=f"{item.dataset_id} v{item.version}",
                        dataset_id=item.dataset_id,
                        version=item.version,
                    ),
                )


def _parents(assets: Iterable[Asset]) -> list[tuple[str, int]]:
    found = [(i.dataset_id, i.version) for asset in assets for i in asset.inputs if isinstance(i, ParentInput)]
    return list(dict.fromkeys(found))


async def _walk_up(ledger: Ledger, root: Asset, depth: int, found: dict[tuple[str, int], Asset]) -> bool:
    seen = {_name(root)}
    level = [root]
    for _ in range(depth):
        wanted = [parent for parent in _parents(level) if parent not in seen]
        seen.update(wanted)
        level = [asset for parent in wanted if (asset := await ledger.get_asset(*parent)) is not None]
        found.update((_name(asset), asset) for asset in level)
    return any(parent not in seen for parent in _parents(level))


async def _walk_down(ledger: Ledger, root: Asset, depth: int, found: dict[tuple[str, int], Asset]) -> bool:
    seen = {_name(root)}
    level = [root]
    for _ in range(depth):
        children = await ledger.list_children(tuple(map(_name, level)))
        level = [child for child in children if _name(child) not in seen]
        seen.update(map(_name, level))
        found.update((_name(child), child) for child in level)
        if not level:
            return False
    further = await ledger.list_children(tuple(map(_name, level)))
    return any(_name(child) not in seen for child in further)
