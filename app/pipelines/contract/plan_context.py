"""The context of a pipeline that only plans: it reads what a run would read, and writes nothing.

The `plan` of a pipeline makes the checks of its `run` in the same order, and stops before rows or pixels are changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Never, Self, TypeVar

from app.errors import RunRefused
from app.models.asset import Asset, AssetInput
from app.models.checks.kinds import CheckResult
from app.models.manifests.manifest import Manifest, ManifestFile
from app.models.plan import PlannedColumn, PlannedFile, PlannedParent
from app.models.runs.run import RunWarning
from app.pipelines.contract.context import FetchedAsset, FetchedFile, InputAccess, Product
from app.settings import Limits

if TYPE_CHECKING:
    from app.pipelines.contract.engine import VectorEngine

T = TypeVar("T")
R = TypeVar("R")


@dataclass
class Draft:
    """What a plan knows so far; a refusal half-way keeps what was found before it.

    Attributes:
        files: what was found in each source.
        parents: the versions that the run would read.
        steps: the recipe, as text.
        engine: names and versions of the software that would compute.
        sql: the statements that the engine would run.
        columns: of the product.
        checks: of the product, with their results where they are known.
        counts: rows, pixels and other counts that are known before a run.
        objects: patterns of the names that the objects of the product would have.
        not_looked_at: what only a run finds out.
    """

    files: list[PlannedFile] = field(default_factory=list)
    parents: list[PlannedParent] = field(default_factory=list)
    steps: Sequence[str] = ()
    engine: Mapping[str, str] = field(default_factory=dict)
    sql: Sequence[str] = ()
    columns: Sequence[PlannedColumn] = ()
    checks: Sequence[CheckResult] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    objects: Sequence[str] = ()
    not_looked_at: Sequence[str] = ()


@dataclass(kw_only=True)
class PlanContext:
    """The `RunContext` and the `Watch` of a plan: it collects what a run would do in `draft`, and publishes nothing.

    Attributes:
        inputs: whom it asks for copies of its inputs.
        warnings: those that the run would give.
        draft: what is known of the run so far.
        refusals: those of all files; a run ends with the first.
        same: the version that the run would make again.
    """

    manifest: Manifest
    inputs: InputAccess
    scratch: Path
    limits: Limits
    threads: int
    memory_bytes: int
    engine: VectorEngine
    warnings: list[RunWarning] = field(default_factory=list)
    draft: Draft = field(default_factory=Draft)
    refusals: list[RunRefused] = field(default_factory=list)
    same: Asset | None = None

    @property
    def watch(self) -> Self:
        return self

    @contextmanager
    def step(self, _name: Literal["load", "transform", "export"]) -> Iterator[None]:
        yield

    def gather(self, items: Iterable[T], check: Callable[[T], R]) -> list[R]:
        """Return `check(item)` for the items that are not refused. Refusals are collected, because a plan names all."""
        found: list[R] = []
        for item in items:
            try:
                found.append(check(item))
            except RunRefused as err:
                self.refusals.append(err)
        return found

    def each(self, items: Iterable[T], check: Callable[[T], R]) -> list[R]:
        """Return `check(item)` for all items.

        Raises:
            RunRefused: the first refusal so far, after all items were checked.
        """
        found = self.gather(items, check)
        if self.refusals:
            raise self.refusals[0]
        return found

    def fetch(self, file: ManifestFile) -> FetchedFile:
        return self.inputs.fetch(file)

    def fetch_asset(self, dataset_id: str, version: int | None) -> FetchedAsset:
        return self.inputs.fetch_asset(dataset_id, version)

    def newest_rows(self) -> int | None:
        return self.inputs.newest_rows()

    def unchanged(
        self, inputs: Sequence[FetchedFile | FetchedAsset], recipe: Sequence[str], engine: Mapping[str, str]
    ) -> Asset | None:
        self.same = self.inputs.unchanged(inputs, recipe, engine)
        return self.same

    def publish(self, _product: Product, _inputs: Sequence[AssetInput]) -> Never:
        raise RuntimeError("a plan publishes nothing")

    def advance(self, rows_done: int, rows_total: int | None) -> None:
        """Do nothing: a plan is answered as a whole."""

    def warn(self, warning: RunWarning) -> None:
        self.warnings.append(warning)
