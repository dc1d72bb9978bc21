"""Engines run a recipe over vector sources and give back one GeoParquet file and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from app.models.asset import Bounds, ColumnSchema
from app.models.recipe import Recipe
from app.pipelines.context import Watch

if TYPE_CHECKING:
    from app.pipelines.formats.source import VectorSource


@dataclass(frozen=True, slots=True)
class Report:
    """What an engine did.

    counts: rows_in, rows_out and everything that was changed or found on the way. statistics: rows by geometry type
    and by file, row groups. engine: names and versions of what computed it. header_mapping: {source name: new name}.
    """

    crs: str
    bounds: Bounds | None
    geometry_type: str | None
    column_schema: Mapping[str, ColumnSchema]
    header_mapping: Mapping[str, str]
    counts: Mapping[str, int]
    statistics: Mapping[str, object]
    engine: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Foresight:
    """What an engine knows of its work before a row is read. warnings: (code, message) of each source, in order.

    statements: SQL, where the engine works with that. header_mapping: {source name: new name}.
    """

    crs: str
    column_schema: Mapping[str, ColumnSchema]
    header_mapping: Mapping[str, str]
    warnings: Sequence[list[tuple[str, str]]]
    statements: Sequence[str]


class VectorEngine(Protocol):
    """Runs the steps of a recipe."""

    def versions(self) -> Mapping[str, str]:
        """Names and versions of all that computes. Raises EngineUnavailable."""
        ...

    def run(self, sources: Sequence[VectorSource], recipe: Recipe, target: Path, watch: Watch, threads: int) -> Report:
        """Write all rows of all sources, in order, to `target` as GeoParquet in the recipe's CRS, x before y.

        Every row in is a row out, also one with a null or empty geometry. Raises RunRefused for input that cannot be
        processed; RunCanceled and StaleAttempt from `watch` pass through. Nothing is left running when it returns.
        """
        ...

    def foresee(self, sources: Sequence[VectorSource], recipe: Recipe) -> Foresight:
        """What `run` would check and say before it reads a row. Raises RunRefused as `run` would up to there."""
        ...
