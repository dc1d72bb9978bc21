"""Engines run a recipe over vector sources and give back one GeoParquet file and a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from app.models.asset import Bounds, ColumnSchema
from app.models.recipes.steps import Recipe
from app.models.runs.run import RunWarning
from app.pipelines.contract.watch import Watch

if TYPE_CHECKING:
    import pyarrow as pa

    from app.pipelines.vector.source import VectorSource


@dataclass(frozen=True, slots=True)
class Report:
    """What an engine wrote, and what it changed on the way.

    Attributes:
        crs: of the coordinates.
        bounds: smallest box around the rows in `crs`, x before y; None without coordinates.
        geometry_type: for all rows together; None without geometries.
        column_schema: the columns by name, in order.
        header_mapping: {source name: new name}, where they differ.
        counts: rows_in, rows_out, and the rows that each step changed or found.
        statistics: rows by geometry type and by file, and row groups.
        engine: names and versions of the software that computed it.
        is_valid: whether GEOS in this process found every geometry valid, with the coordinates that were written.
    """

    crs: str
    bounds: Bounds | None
    geometry_type: str | None
    column_schema: Mapping[str, ColumnSchema]
    header_mapping: Mapping[str, str]
    counts: Mapping[str, int]
    statistics: Mapping[str, object]
    engine: Mapping[str, str]
    is_valid: bool


@dataclass(frozen=True, slots=True)
class EngineDescription:
    """What an engine knows of its work before it reads a row.

    Attributes:
        crs: of the product.
        schema: the columns of the product.
        column_schema: the columns of the product by name, in order.
        header_mapping: {source name: new name}, where they differ.
        warnings: those of each source, in the order of the sources.
        statements: SQL, if the engine computes with SQL.
    """

    crs: str
    schema: pa.Schema
    column_schema: Mapping[str, ColumnSchema]
    header_mapping: Mapping[str, str]
    warnings: Sequence[list[RunWarning]]
    statements: Sequence[str]


class VectorEngine(Protocol):
    """Runs the steps of a recipe over vector sources."""

    def versions(self) -> Mapping[str, str]:
        """Return the names and versions of the software that computes.

        Raises:
            EngineUnavailable: its server cannot be reached.
        """
        ...

    def run(self, sources: Sequence[VectorSource], recipe: Recipe, target: Path, watch: Watch, threads: int) -> Report:
        """Write all rows of all sources, in order, to `target` as GeoParquet in the recipe's CRS, x before y.

        Each row of a source becomes one row, also with a null or empty geometry. Nothing is left running when it
        returns or raises.

        Args:
            sources: in the order of the rows in the product.
            recipe: the steps, in order.
            target: the file to write.
            watch: takes progress and warnings. RunCanceled and StaleAttempt from it pass through.
            threads: how many threads the engine may use.

        Raises:
            RunRefused: the input cannot be processed.
            EngineUnavailable: its server cannot be reached.
        """
        ...

    def describe(self, sources: Sequence[VectorSource], recipe: Recipe) -> EngineDescription:
        """Make the checks that `run` makes before it reads a row, and return what is known then.

        Raises:
            RunRefused: as `run` would before it reads a row.
        """
        ...
