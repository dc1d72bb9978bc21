"""How the files of a manifest become vector sources."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from app.messages.vector import INTENT_NOT_VECTOR
from app.models.plan import PlannedFile
from app.pipelines.contract.context import FetchedFile, RunContext
from app.pipelines.vector.plan import vector_file
from app.pipelines.vector.source import VectorSource
from app.pipelines.vector.sources import open_file


class SourceFiles(Protocol):
    """Opens and describes the files of a manifest.

    Attributes:
        steps: what happens to them before the recipe, as text.
        not_looked_at: what a plan cannot say of them.
        reads_rows: whether all rows were read when they are open.
    """

    @property
    def steps(self) -> tuple[str, ...]: ...
    @property
    def not_looked_at(self) -> tuple[str, ...]: ...
    @property
    def reads_rows(self) -> bool: ...
    def open(self, fetched: FetchedFile) -> list[VectorSource]:
        """Open and check one file: a source for each layer that the manifest names. Raises RunRefused."""
        ...

    def planned(self, fetched: FetchedFile, source: VectorSource) -> PlannedFile:
        """The entry of a plan for a source of a file that was opened."""
        ...


@dataclass(frozen=True, slots=True)
class VectorFiles:
    """Files of vector formats. See `SourceFiles`."""

    ctx: RunContext
    steps: tuple[str, ...] = ()
    not_looked_at: tuple[str, ...] = (
        "Geometries: which are null, empty, invalid or curved, and whether they lie where their CRS is meant for.",
        "Values of the rows, except in GeoJSON, which is read as a whole; damage behind a file's description.",
    )
    reads_rows: bool = False

    def open(self, fetched: FetchedFile) -> list[VectorSource]:
        """See SourceFiles. Raises RunRefused: what `open_file` raises."""
        if fetched.declared.type != "vector":
            raise INTENT_NOT_VECTOR(subject=fetched.declared.key, file=fetched.declared.key)
        return open_file(self.ctx, fetched)

    def planned(self, fetched: FetchedFile, source: VectorSource) -> PlannedFile:
        """See SourceFiles."""
        return vector_file(fetched, source)
