"""The catalogue: datasets, their versions, and the lineage between them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Literal

from app.errors import NotFound
from app.ledger import AssetFilter, Ledger
from app.models.asset import Asset, ParentInput, SourceInput
from app.models.lineage import LineageEdge, LineageGraph, LineageNode
from app.models.page import Page, Slice

Direction = Literal["up", "down", "both"]


async def get_version(ledger: Ledger, dataset_id: str, version: int | None) -> Asset:
    """That version, or the newest. Raises NotFound, naming the versions that there are."""
    asset = await ledger.get_asset(dataset_id, version)
    if asset is not None:
        return asset
    newest = None if version is None else await ledger.get_asset(dataset_id)
    if newest is None:
        raise NotFound(f"There is no dataset {dataset_id!r}.", "GET /assets lists the datasets.")
    raise NotFound(
        f"The dataset {dataset_id!r} has no version {version}; the newest is {newest.version}.",
        f"GET /assets/{dataset_id} lists its versions.",
    )


async def list_versions(ledger: Ledger, dataset_id: str, page: Page) -> Slice[Asset]:
    """Newest first. Raises NotFound for a dataset without versions."""
    found = await ledger.list_assets(AssetFilter(dataset_id=dataset_id), page)
    if not found.items and page.cursor is None:
        raise NotFound(f"There is no dataset {dataset_id!r}.", "GET /assets lists the datasets.")
    return found


async def lineage(ledger: Ledger, dataset_id: str, version: int, direction: Direction, depth: int) -> LineageGraph:
    """The graph around a version, breadth first, at most `depth` versions away. Raises NotFound."""
    root = await get_version(ledger, dataset_id, version)
    graph = _Graph()
    graph.add(root)
    truncated = False
    if direction in ("up", "both"):
        truncated |= await _walk_up(ledger, root, depth, graph)
    if direction in ("down", "both"):
        truncated |= await _walk_down(ledger, root, depth, graph)
    return LineageGraph(
        root=_asset_id(root.dataset_id, root.version),
        nodes=tuple(graph.nodes.values()),
        edges=tuple(graph.edges),
        truncated=truncated,
    )


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


async def _walk_up(ledger: Ledger, root: Asset, depth: int, graph: _Graph) -> bool:
    seen = {(root.dataset_id, root.version)}
    level = [root]
    for _ in range(depth):
        wanted = [parent for parent in _parents(level) if parent not in seen]
        seen.update(wanted)
        level = [asset for parent in wanted if (asset := await ledger.get_asset(*parent)) is not None]
        for asset in level:
            graph.add(asset)
    return any(parent not in seen for parent in _parents(level))


async def _walk_down(ledger: Ledger, root: Asset, depth: int, graph: _Graph) -> bool:
    seen = {(root.dataset_id, root.version)}
    level = [root]
    for _ in range(depth):
        children = await ledger.list_children(tuple((asset.dataset_id, asset.version) for asset in level))
        level = [child for child in children if (child.dataset_id, child.version) not in seen]
        seen.update((child.dataset_id, child.version) for child in level)
        for child in level:
            graph.add(child)
        if not level:
            return False
    further = await ledger.list_children(tuple((asset.dataset_id, asset.version) for asset in level))
    return any((child.dataset_id, child.version) not in seen for child in further)
