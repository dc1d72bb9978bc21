"""What a pipeline sees of the world while it only plans: the run's own context, which writes nothing anywhere.

A pipeline's `plan` walks the same way as its `run`, with the same checks, up to where rows or pixels would be changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Never, TypeVar

from app.errors import RunRefused
from app.models.asset import Asset, AssetInput
from app.models.manifest import Manifest, ManifestFile
from app.models.plan import PlannedColumn, PlannedFile, PlannedParent
from app.models.run import Warning_
from app.pipelines.context import Call, FetchedAsset, FetchedFile, Product
from app.pipelines.engines import VectorEngine
from app.pipelines.fingerprint import fingerprint
from app.pipelines.lake import fetch_version
from app.pipelines.landing import fetch_with_sidecars
from app.settings import Limits

if TYPE_CHECKING:
    from app.clients import Clients

_MAX_SAMPLES = 5

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Draft:
    """What is known so far: a refusal half-way leaves what was found before it.

    objects: patterns of the names that the product's objects would have.
    """

    files: list[PlannedFile] = field(default_factory=list)
    parents: list[PlannedParent] = field(default_factory=list)
    steps: Sequence[str] = ()
    engine: Mapping[str, str] = field(default_factory=dict)
    sql: Sequence[str] = ()
    columns: Sequence[PlannedColumn] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    objects: Sequence[str] = ()
    not_looked_at: Sequence[str] = ()


@dataclass
class Rehearsal:
    """A RunContext (and its Watch) for planning: it reads, remembers what it is told, and publishes nothing."""

    manifest: Manifest
    clients: Clients
    call: Call
    scratch: Path
    limits: Limits
    threads: int
    memory_bytes: int
    engine: VectorEngine
    draft: Draft = field(default_factory=Draft)
    warnings: list[Warning_] = field(default_factory=list)
    refusals: list[RunRefused] = field(default_factory=list)
    same: Asset | None = None

    @property
    def watch(self) -> Rehearsal:
        return self

    @contextmanager
    def step(self, _name: Literal["load", "transform", "export"]) -> Iterator[None]:
        yield

    def each(self, items: Iterable[T], look: Callable[[T], R]) -> list[R]:
        """look(item) for all items: a run ends with its first refusal, a plan names those of all files.

        Raises the first RunRefused when there was one.
        """
        found: list[R] = []
        for item in items:
            try:
                found.append(look(item))
            except RunRefused as err:
                self.refusals.append(err)
        if self.refusals:
            raise self.refusals[0]
        return found

    def fetch(self, file: ManifestFile) -> FetchedFile:
        directory = self.scratch / f"in{self.manifest.files.index(file)}"
        directory.mkdir()
        return fetch_with_sidecars(file, directory, self.clients.objects, self.call, self.limits)

    def fetch_asset(self, dataset_id: str, version: int | None) -> FetchedAsset:
        directory = self.scratch / f"parent{sum(1 for _ in self.scratch.glob('parent*'))}"
        directory.mkdir()
        return fetch_version(dataset_id, version, directory, self.clients, self.call, lambda _bytes: None)

    def unchanged(
        self, inputs: Sequence[FetchedFile | FetchedAsset], recipe: Sequence[str], engine: Mapping[str, str]
    ) -> Asset | None:
        found = fingerprint(self.manifest, inputs, recipe, engine)
        newest = self.call(self.clients.ledger.get_asset, self.manifest.dataset_id)
        if newest is not None and newest.metadata.fingerprint == found and self.manifest.new_version != "always":
            self.same = newest
        return self.same

    def publish(self, _product: Product, _inputs: Sequence[AssetInput]) -> Never:
        raise RuntimeError("a plan publishes nothing")

    # Watch

    def advance(self, rows_done: int, rows_total: int | None) -> None:
        """Nobody is told: the answer comes in one piece."""

    def warn(self, code: str, message: str, count: int = 1, samples: Sequence[Any] = ()) -> None:
        kept = tuple(samples)[:_MAX_SAMPLES]
        self.warnings.append(Warning_(code=code, message=message, count=count, samples=kept))
