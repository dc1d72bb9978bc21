"""One attempt of one run, as a pipeline sees it: files in, steps and progress, the product out.

Every write carries the attempt: one that lost its lease can neither report nor publish.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from app.clients import Clients
from app.disks import bytes_in
from app.errors import ObjectExists, RunCanceled, StaleAttempt, StoreUnavailable
from app.jobs.notes import file_at_hand, notes
from app.jobs.scratch import over_the_limit
from app.ledger import Guard
from app.models.asset import Asset, AssetInput, AssetMetadata, Companion
from app.models.base import utcnow
from app.models.counts import STEP_SECONDS, observed
from app.models.manifest import LAKE_BUCKET, Manifest, ManifestFile
from app.models.run import Progress, Run, RunStatus, Warning_
from app.objects import Progress as TransferProgress
from app.pipelines.context import Call, FetchedAsset, FetchedFile, Product
from app.pipelines.engines import VectorEngine
from app.pipelines.fingerprint import fingerprint
from app.pipelines.inputs import Inputs
from app.pipelines.lake import fetch_version
from app.pipelines.landing import fetch_with_sidecars
from app.settings import Limits

logger = logging.getLogger(__name__)

# Seconds between two looks at the ledger from the middle of a step: progress is written, cancel and lease are checked.
_LOOK_EVERY = 0.5
_MAX_SAMPLES = 5
# An error of a run is a thing that happens; the service has none.
_LEVELS = {"info": logging.INFO, "warning": logging.INFO, "error": logging.WARNING}
_SUFFIXES = {"geoparquet": "parquet", "parquet": "parquet", "cog": "tif"}


@dataclass
class Attempt:
    """The `RunContext` and the `Watch` of a pipeline."""

    run: Run
    manifest: Manifest
    clients: Clients
    call: Call
    scratch: Path
    limits: Limits
    threads: int
    memory_bytes: int
    engine: VectorEngine
    scratch_limit: int
    current_step: str | None = None
    warnings: list[Warning_] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    _inputs: Inputs = field(default_factory=Inputs)
    _looked_at: float = 0.0
    _scratch_due: float = 0.0
    _fingerprint: str | None = None

    @property
    def watch(self) -> Attempt:
        return self

    # RunContext

    @contextmanager
    def step(self, name: Literal["load", "transform", "export"]) -> Iterator[None]:
        self.current_step = name
        notes.write(step=name)
        self._change(step=name)
        began = time.monotonic()
        with self._inputs.kept(self):
            yield
        seconds = round(time.monotonic() - began, 3)
        self.counts += observed(STEP_SECONDS, seconds, lane=self.run.lane, step=name)
        self.event("step.finished", f"{name} took {seconds} s.", data={"seconds": seconds})

    def fetch(self, file: ManifestFile) -> FetchedFile:
        directory = self.scratch / f"in{self.manifest.files.index(file)}"
        directory.mkdir()
        file_at_hand(file.key)
        watch = self._transfer_watch()
        fetched = fetch_with_sidecars(file, directory, self.clients.objects, self.call, self.limits, watch)
        self._inputs.add_file(fetched)
        return fetched

    def fetch_asset(self, dataset_id: str, version: int | None) -> FetchedAsset:
        directory = self.scratch / f"parent{sum(1 for _ in self.scratch.glob('parent*'))}"
        directory.mkdir()
        file_at_hand(f"{dataset_id} v{version or 'newest'}")
        fetched = fetch_version(dataset_id, version, directory, self.clients, self.call, self._transfer_watch())
        self._inputs.add_asset(fetched)
        return fetched

    def unchanged(
        self, inputs: Sequence[FetchedFile | FetchedAsset], recipe: Sequence[str], engine: Mapping[str, str]
    ) -> Asset | None:
        self._fingerprint = fingerprint(self.manifest, inputs, recipe, engine)
        newest = self.call(self.clients.ledger.get_asset, self.run.partition_key)
        if newest is None or newest.metadata.fingerprint != self._fingerprint:
            return None
        if (self.run.new_version or self.manifest.new_version) == "always":
            return None
        message = f"{newest.dataset_id} version {newest.version} was made of the same: nothing new is made."
        self.event("asset.unchanged", message, data={"version": newest.version})
        return newest

    def publish(self, product: Product, inputs: Sequence[AssetInput]) -> Asset:
        version = self.call(self.clients.ledger.reserve_version, self.run.run_id, self.run.attempt)
        if version is None:
            raise self.call(self._no_longer_mine)
        folder = f"{self.run.partition_key}/v{version}"
        companions = {path: _companion(name, path, folder) for name, path in product.companions.items()}
        asset = self._describe(product, inputs, version, tuple(companions.values()))
        for path, companion in companions.items():
            self._upload(path, companion.s3_key, companion.size)
        self._upload(product.path, asset.s3_key, asset.size)
        if self.warnings:
            # Past the commit nobody but this process would know of them.
            self._change(warnings=tuple(self.warnings))
        with _time_limit_held_back():
            committed = self.call(self.clients.ledger.commit_asset, asset, self.run.attempt)
        if committed is None:
            raise self.call(self._no_longer_mine)
        message = f"{asset.dataset_id} version {version} is in the catalogue."
        self.event("asset.committed", message, data={"s3_key": asset.s3_key})
        return committed

    def _describe(
        self, product: Product, inputs: Sequence[AssetInput], version: int, companions: tuple[Companion, ...]
    ) -> Asset:
        dataset_id = self.run.partition_key
        data = _companion(f"data.{_SUFFIXES[product.format]}", product.path, f"{dataset_id}/v{version}")
        return Asset(
            dataset_id=dataset_id,
            version=version,
            s3_key=data.s3_key,
            content_hash=data.content_hash,
            size=data.size,
            kind=product.kind,
            format=product.format,
            crs=product.crs,
            bounds=product.bounds,
            run_id=self.run.run_id,
            inputs=tuple(inputs),
            metadata=AssetMetadata(
                manifest=self.manifest.metadata.model_dump(mode="json"),
                column_schema=product.column_schema,
                header_mapping=product.header_mapping,
                geometry_type=product.geometry_type,
                companions=companions,
                fingerprint=self._fingerprint,
            ),
            statistics={**product.statistics, "counts": dict(product.counts), "engine": dict(product.engine)},
            created_at=utcnow(),
        )

    def _upload(self, path: Path, key: str, size: int) -> None:
        objects, watch = self.clients.objects, self._transfer_watch()

        async def put() -> None:
            try:
                await objects.put_file(LAKE_BUCKET, key, path, create_only=True, progress=watch)
            except ObjectExists:
                there = await objects.stat(LAKE_BUCKET, key)
                if there is None or there.size != size:
                    detail = f"{key} is in the lake with another size."
                    raise StoreUnavailable(detail, "Only this service may write there: look who else does.") from None

        self.call(put)

    # Watch

    def advance(self, rows_done: int, rows_total: int | None) -> None:
        if time.monotonic() - self._looked_at >= _LOOK_EVERY:
            self._change(progress=Progress(rows_done=rows_done, rows_total=rows_total))

    def warn(self, code: str, message: str, count: int = 1, samples: Sequence[Any] = ()) -> None:
        warning = Warning_(code=code, message=message, count=count, samples=tuple(samples)[:_MAX_SAMPLES])
        self.warnings.append(warning)
        self.event(code, message, level="warning", data={"count": count, "samples": list(warning.samples)})

    # The ledger, at this attempt only

    def event(
        self,
        code: str,
        message: str,
        *,
        level: Literal["info", "warning", "error"] = "info",
        data: dict[str, Any] | None = None,
    ) -> None:
        """Add a line to the run's log, and to the process's."""
        logger.log(_LEVELS[level], message, extra={"event": code, "step": self.current_step})
        ledger = self.clients.ledger

        async def add() -> None:
            await ledger.add_event(
                self.run.run_id, code=code, message=message, level=level, step=self.current_step, data=data
            )

        self.call(add)

    def _change(self, **changes: Any) -> None:
        self.run = self.call(self._write, changes)

    async def _write(self, changes: dict[str, Any]) -> Run:
        """Raises RunCanceled or StaleAttempt when the run is no longer this attempt's, and ScratchLimitExceeded."""
        self._check_scratch()
        self._looked_at = time.monotonic()
        guard = Guard(frozenset({RunStatus.RUNNING}), attempt=self.run.attempt)
        ledger = self.clients.ledger
        changed = await ledger.change_run(self.run.run_id, guard, **changes)
        if changed is not None:
            return changed
        raise await self._no_longer_mine()

    def _check_scratch(self) -> None:
        began = time.monotonic()
        if began < self._scratch_due:
            return
        held = bytes_in(self.scratch)
        # However many files there are: a twentieth of the time at most.
        self._scratch_due = time.monotonic() + 20 * (time.monotonic() - began)
        if held > self.scratch_limit:
            raise over_the_limit(held, self.scratch_limit)

    async def _no_longer_mine(self) -> RunCanceled | StaleAttempt:
        now = await self.clients.ledger.get_run(self.run.run_id)
        if now is not None and now.status is RunStatus.CANCELING and now.attempt == self.run.attempt:
            return RunCanceled(f"Run {self.run.run_id} is being canceled.")
        return StaleAttempt(f"Attempt {self.run.attempt} of run {self.run.run_id} no longer holds the lease.")

    def _transfer_watch(self) -> TransferProgress:
        """Looks at the ledger from the middle of a transfer, so that a canceled run need not wait for its end."""
        look: asyncio.Task[Run] | None = None

        def watch(bytes_done: int) -> None:  # noqa: ARG001 # the protocol's
            nonlocal look
            if look is not None and look.done():
                done, look = look, None
                done.result()
            if look is None and time.monotonic() - self._looked_at >= _LOOK_EVERY:
                look = asyncio.get_running_loop().create_task(self._write({"progress": self.run.progress}))
                # The transfer may end before the look does; then the next change meets what it met.
                look.add_done_callback(lambda task: task.cancelled() or task.exception())

        return watch


def _companion(name: str, path: Path, folder: str) -> Companion:
    """The object that the file will be. Named by content: a later attempt that makes the same bytes meets its own
    object, never another's."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    stem, _, suffix = name.rpartition(".")
    key = f"{folder}/{stem}-{digest[:16]}.{suffix}"
    return Companion(name=name, s3_key=key, size=path.stat().st_size, content_hash=f"sha256:{digest}")


@contextmanager
def _time_limit_held_back() -> Iterator[None]:
    """The alarm waits: an interrupted wait for the commit would leave unknown whether it happened."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGALRM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGALRM})
