"""How the engine `postgis` reaches its server: over connections of this process, or through the job of a reader.

What to compute is given as recipe steps and EPSG codes, never as SQL: a reader that a hostile file took over can have
nothing computed but the steps of recipes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from anyio.from_thread import start_blocking_portal

from app.models.recipes.steps import MakeValid, Simplify
from app.pipelines.vector.engines.postgis_sql import Cleaning, statement
from app.storage.postgis.server import Postgis, RunSchema
from app.storage.postgis.workspace import Workspace, open_workspace


class StatementRunner(Protocol):
    """Computes batches of rows; thread-safe, with as many at once as it was opened with connections."""

    @property
    def versions(self) -> Mapping[str, str]:
        """Names and versions of the server's parts."""
        ...

    def run(self, rows: bytes, steps: Sequence[Cleaning], srids: tuple[int, int] | None) -> bytes:
        """Take rows (n, geom) through the steps.

        Args:
            rows: COPY's binary format.
            steps: in order.
            srids: EPSG codes to transform from and to before the steps, x before y.

        Returns:
            The answer of `postgis_sql.statement`, in COPY's binary format.

        Raises:
            EngineUnavailable, TimeLimitExceeded, StatementFailed.
        """
        ...

    def interrupt(self) -> None:
        """End the statements that run now; those that come later fail."""
        ...


class PostgisAccess(Protocol):
    """A server, for one attempt."""

    def versions(self) -> Mapping[str, str]:
        """Names and versions of the server's parts. Raises EngineUnavailable."""
        ...

    def workspace(self, connections: int) -> AbstractContextManager[StatementRunner]:
        """A schema for this attempt alone, gone afterwards. Raises EngineUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class DirectPostgis:
    """Connections of this process."""

    server: Postgis
    schema: RunSchema

    def versions(self) -> Mapping[str, str]:
        with start_blocking_portal() as portal:
            return portal.call(self.server.versions, self.schema.application)

    @contextmanager
    def workspace(self, connections: int) -> Iterator[StatementRunner]:
        with open_workspace(self.server, self.schema, connections) as workspace:
            yield _Direct(workspace)


@dataclass(frozen=True, slots=True)
class _Direct:
    _workspace: Workspace

    @property
    def versions(self) -> Mapping[str, str]:
        return self._workspace.versions

    def run(self, rows: bytes, steps: Sequence[Cleaning], srids: tuple[int, int] | None) -> bytes:
        return self._workspace.run(rows, statement(steps, srids))

    def interrupt(self) -> None:
        self._workspace.interrupt()


def request_document(steps: Sequence[Cleaning], srids: tuple[int, int] | None) -> dict[str, Any]:
    """Steps and codes as JSON values."""
    return {"steps": [step.tolerance if isinstance(step, Simplify) else step.method for step in steps], "srids": srids}


def read_request(document: Mapping[str, Any]) -> tuple[list[Cleaning], tuple[int, int] | None]:
    """What `request_document` made. Raises ValueError for anything else."""
    given, srids = document.get("steps"), document.get("srids")
    if not isinstance(given, list):
        raise ValueError("no steps of a recipe")
    steps = [_read_step(each) for each in given]
    if srids is not None and (not isinstance(srids, list) or [type(each) for each in srids] != [int, int]):
        raise ValueError("no codes of CRSs")
    return steps, None if srids is None else (srids[0], srids[1])


def _read_step(given: object) -> Cleaning:
    """A tolerance, or the name of a method of repair."""
    if isinstance(given, int | float) and not isinstance(given, bool):
        return Simplify(float(given))
    if given == "linework":
        return MakeValid("linework")
    if given == "structure":
        return MakeValid("structure")
    raise ValueError("no steps of a recipe")
