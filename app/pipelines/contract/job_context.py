"""What a job does for a pipeline of a run or of a plan: copies of the inputs, warnings, and the fingerprint."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

from app.jobs.shared_state import record_current_file
from app.models.asset import Asset
from app.models.manifests.manifest import Manifest, ManifestFile
from app.models.runs.run import RunWarning
from app.objects import Progress
from app.pipelines.contract.context import Call, FetchedAsset, FetchedFile
from app.pipelines.contract.fetch_source import fetch_with_sidecars
from app.pipelines.contract.fetch_version import fetch_version
from app.pipelines.contract.fingerprint import fingerprint
from app.settings import Limits

if TYPE_CHECKING:
    from app.clients import Clients


@dataclass(kw_only=True)
class JobContext:
    """`InputAccess` with the clients. That of a run adds steps, progress and `publish` (`Attempt`).

    Attributes:
        job_id: of the run or plan: 32 hex digits.
        attempt_number: of the run, from 1.
        manifest: of the run or plan.
        clients: the ledger and the object store, to be used through `call` only.
        call: runs a coroutine function on the event loop beside the thread of the job.
        scratch: an empty directory for this job alone.
        limits: of sources.
        threads: how many threads the pipeline may use.
        memory_bytes: how much memory work may hold that could also be done through scratch.
        warnings: those of the pipeline so far.
    """

    job_id: str
    attempt_number: int = 1
    manifest: Manifest
    clients: Clients
    call: Call
    scratch: Path
    limits: Limits
    threads: int
    memory_bytes: int
    warnings: list[RunWarning] = field(default_factory=list)
    _fingerprint: str | None = None
    _copies: dict[tuple[str, str], FetchedFile] = field(default_factory=dict)

    @property
    def watch(self) -> Self:
        return self

    @property
    def _dataset_id(self) -> str:
        return self.manifest.dataset_id

    @property
    def _new_version(self) -> Literal["if_changed", "always"]:
        return self.manifest.new_version

    def fetch(self, file: ManifestFile) -> FetchedFile:
        copy = self._copies.get((file.path, file.format))
        if copy is None:
            copy = self._copies[file.path, file.format] = self._fetch_copy(file)
        return replace(copy, declared=file)

    def _fetch_copy(self, file: ManifestFile) -> FetchedFile:
        directory = self.scratch / f"in{len(self._copies)}"
        directory.mkdir()
        record_current_file(file.key)
        progress = self._transfer_progress()
        return fetch_with_sidecars(file, directory, self.clients.objects, self.call, self.limits, progress)

    def fetch_asset(self, dataset_id: str, version: int | None) -> FetchedAsset:
        directory = self.scratch / f"parent{sum(1 for _ in self.scratch.glob('parent*'))}"
        directory.mkdir()
        record_current_file(f"{dataset_id} v{version or 'newest'}")
        return fetch_version(dataset_id, version, directory, self.clients, self.call, self._transfer_progress())

    def unchanged(
        self, inputs: Sequence[FetchedFile | FetchedAsset], recipe: Sequence[str], engine: Mapping[str, str]
    ) -> Asset | None:
        self._fingerprint = fingerprint(self.manifest, inputs, recipe, engine)
        newest = self.call(self.clients.ledger.get_asset, self._dataset_id)
        if newest is None or newest.metadata.fingerprint != self._fingerprint or self._new_version == "always":
            return None
        return newest

    def newest_rows(self) -> int | None:
        newest = self.call(self.clients.ledger.get_asset, self._dataset_id)
        rows = None if newest is None else newest.statistics.get("counts", {}).get("rows_out")
        return int(rows) if isinstance(rows, int) else None

    def check(self) -> None:
        """Called now and then while a reader works. Raises an error where the job must stop."""

    def warn(self, warning: RunWarning) -> None:
        self.warnings.append(warning)

    def _transfer_progress(self) -> Progress | None:
        """What is called during a transfer with the bytes so far; what it raises ends the transfer."""
        return None
