"""Lineage: the walk from one version to those it was made from and those made from it, and its encodings."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from app.ledger import Ledger
from app.models.asset import Asset, ParentInput, SourceInput
from app.models.lineage import LineageEdge, LineageGraph, LineageNode
from app.models.manifests.manifest import ManifestRecord
from app.models.runs.run import Run
from app.services.catalog import get_record

Direction = Literal["up", "down", "both"]
Encoding = Literal["graph", "openlineage", "prov", "mermaid"]

_RUNS_AT_ONCE = 200
_FILES_KEPT = 100

# By dotted path and imported on use, because their imports take a third of a second.
_ENCODERS: dict[Encoding, str] = {
    "openlineage": "app.services.lineage.openlineage:encode",
    "prov": "app.services.lineage.prov:encode",
    "mermaid": "app.services.lineage.mermaid:encode",
}


@dataclass(frozen=True, slots=True)
class Lineage:
    """The versions around `root`, the first; truncated: there is more beyond the depth or the limit of nodes."""

    assets: tuple[Asset, ...]
    truncated: bool

    @property
    def root(self) -> Asset:
        return self.assets[0]


@dataclass(frozen=True, slots=True)
class Provenance:
    """A version with the run and the manifest that made it (None: not in the ledger any more)."""

    asset: Asset
    run: Run | None
    manifest: ManifestRecord | None


async def trace(
    ledger: Ledger, dataset_id: str, version: int, direction: Direction, depth: int, max_nodes: int = 500
) -> Lineage:
    """Breadth first, at most `depth` versions away, and with at most `max_nodes` nodes. Raises NotFound.

    A version counts with its run and its inputs. Of more inputs than fit beside the root, the first are kept.
    """
    root = await get_record(ledger, dataset_id, version)
    found = _Found(max_nodes)
    found.add_root(root)
    if direction in ("up", "both"):
        await _walk_up(ledger, root, depth, found)
    if direction in ("down", "both"):
        await _walk_down(ledger, root, depth, found)
    return Lineage(tuple(found.assets.values()), found.truncated)


async def encode(ledger: Ledger, lineage: Lineage, encoding: Encoding) -> str:
    """The lineage as text in that encoding."""
    if encoding == "graph":
        return graph_of(lineage).model_dump_json()
    module, _, name = _ENCODERS[encoding].partition(":")
    encoder: Callable[[Lineage, Sequence[Provenance]], str] = getattr(importlib.import_module(module), name)
    return encoder(lineage, await provenances_of(ledger, lineage))


async def provenances_of(ledger: Ledger, lineage: Lineage) -> tuple[Provenance, ...]:
    """Run and manifest of each version, in the order of `lineage.assets`."""
    runs: dict[str, Run] = {}
    wanted = list(dict.fromkeys(asset.run_id for asset in lineage.assets))
    for start in range(0, len(wanted), _RUNS_AT_ONCE):
        runs |= {run.run_id: run for run in await ledger.get_runs(tuple(wanted[start : start + _RUNS_AT_ONCE]))}
    keys = {item.s3_key for asset in lineage.assets for item in asset.inputs if isinstance(item, SourceInput)}
    manifests: dict[str, ManifestRecord | None] = {}
    for run in runs.values():
        if run.batch_id not in manifests:
            manifests[run.batch_id] = _shortened(await ledger.get_manifest(run.batch_id), keys)
    found = []
    for asset in lineage.assets:
        made_by = runs.get(asset.run_id)
        found.append(Provenance(asset, made_by, manifests[made_by.batch_id] if made_by else None))
    return tuple(found)


def _shortened(record: ManifestRecord | None, keys: Collection[str]) -> ManifestRecord | None:
    """The manifest with those of its files only that are inputs of the lineage: a manifest may name thousands."""
    if record is None or len(record.manifest.get("files", ())) <= _FILES_KEPT:
        return record
    files = [each for each in record.manifest["files"] if str(each["path"]).removeprefix("s3://") in keys]
    return record.model_copy(update={"manifest": {**record.manifest, "files": files}})


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


@dataclass
class _Found:
    """The versions that were found, and how many nodes there is still room for."""

    room: int
    assets: dict[tuple[str, int], Asset] = field(default_factory=dict)
    truncated: bool = False

    def add_root(self, root: Asset) -> None:
        kept = max(1, self.room - 2)
        if len(root.inputs) > kept:
            root, self.truncated = root.model_copy(update={"inputs": root.inputs[:kept]}), True
        self.assets[_name(root)] = root
        self.room -= 2 + len(root.inputs)

    def add(self, asset: Asset) -> bool:
        """Whether there was room for it."""
        if _name(asset) in self.assets:
            return True
        needed = 2 + len(asset.inputs)
        if needed > self.room:
            self.truncated = True
            return False
        self.assets[_name(asset)] = asset
        self.room -= needed
        return True


async def _walk_up(ledger: Ledger, root: Asset, depth: int, found: _Found) -> None:
    seen = {_name(root)}
    level = [root]
    for _ in range(depth):
        wanted = [parent for parent in _parents(level) if parent not in seen]
        seen.update(wanted)
        level = []
        for parent in wanted:
            asset = await ledger.get_asset(*parent)
            if asset is None:
                continue
            if not found.add(asset):
                return
            level.append(asset)
    found.truncated |= any(parent not in seen for parent in _parents(level))


async def _walk_down(ledger: Ledger, root: Asset, depth: int, found: _Found) -> None:
    seen = {_name(root)}
    level = [root]
    for _ in range(depth):
        # No more than there is room for, and one, which shows that there are more.
        most = len(seen) + found.room // 2 + 1
        children = await ledger.list_children(tuple(map(_name, level)), most)
        level = [child for child in children if _name(child) not in seen]
        for child in level:
            if not found.add(child):
                return
        seen.update(map(_name, level))
        if not level:
            return
    further = await ledger.list_children(tuple(map(_name, level)), len(seen) + 1)
    found.truncated |= any(_name(child) not in seen for child in further)
