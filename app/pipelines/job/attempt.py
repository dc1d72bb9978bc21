"""The context of one attempt of a run: it fetches inputs, records steps and progress, and publishes the product.

Every write to the ledger names the attempt, so that an attempt that lost its lease can neither report nor publish.
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

from app.errors import ObjectExists, RunCanceled, StaleAttempt, StoreUnavailable
from app.jobs.scratch import over_the_limit
from app.jobs.shared_state import job_state
from app.ledger import Guard
from app.models.asset import Asset, AssetInput, AssetMetadata, Companion
from app.models.base import utcnow
from app.models.manifests.manifest import LAKE_BUCKET, REJECTED_PREFIX, ManifestFile
from app.models.products import PRODUCT_TYPES
from app.models.runs.counts import STEP_SECONDS, observed
from app.models.runs.run import Progress, Run, RunStatus, RunWarning
from app.objects import Progress as TransferProgress
from app.pipelines.contract.check_outcome import failed, raise_failed, warnings_of
from app.pipelines.contract.context import FetchedAsset, FetchedFile, Product
from app.pipelines.contract.job_context import JobContext
from app.pipelines.job.inputs import Inputs
from app.system.disks import bytes_in

logger = logging.getLogger(__name__)

# Seconds between two writes of progress within a step, which also check for a cancel and for the lease.
_CHECK_EVERY = 0.5
# An error of a run is no error of the service.
_LEVELS = {"info": logging.INFO, "warning": logging.INFO, "error": logging.WARNING}


@dataclass(kw_only=True)
class Attempt(JobContext):
    """The `RunContext` and the `Watch` of a pipeline that runs.

    Attributes:
        run: as this attempt last wrote it.
        scratch_limit: bytes that scratch may hold.
        current_step: of the pipeline; log lines name it.
        counts: for the metrics of the run.
    """

    run: Run
    scratch_limit: int
    current_step: str | None = None
    counts: Counter[str] = field(default_factory=Counter)
    _inputs: Inputs = field(default_factory=Inputs)
    _written_at: float = 0.0
    _next_scratch_check: float = 0.0

    @property
    def _dataset_id(self) -> str:
        return self.run.partition_key

    @property
    def _new_version(self) -> Literal["if_changed", "always"]:
        return self.run.new_version or self.manifest.new_version

    # RunContext

    @contextmanager
    def step(self, name: Literal["load", "transform", "export"]) -> Iterator[None]:
        self.current_step = name
        job_state.write(step=name)
        # Results of an attempt that died would stand beside the outcome of this one.
        self._change(step=name, **({"checks": ()} if self.run.checks else {}))
        began = time.monotonic()
        with self._inputs.recorded(self):
            yield
        seconds = round(time.monotonic() - began, 3)
        self.counts += observed(STEP_SECONDS, seconds, lane=self.run.lane, step=name)
        self.event("step.finished", f"{name} took {seconds} s.", data={"seconds": seconds})

    def _fetch_copy(self, file: ManifestFile) -> FetchedFile:
        fetched = super()._fetch_copy(file)
        self._inputs.add_file(fetched)
        return fetched

    def fetch_asset(self, dataset_id: str, version: int | None) -> FetchedAsset:
        fetched = super().fetch_asset(dataset_id, version)
        self._inputs.add_asset(fetched)
        return fetched

    def unchanged(
        self, inputs: Sequence[FetchedFile | FetchedAsset], recipe: Sequence[str], engine: Mapping[str, str]
    ) -> Asset | None:
        same = super().unchanged(inputs, recipe, engine)
        if same is not None:
            message = f"{same.dataset_id} version {same.version} has the same content: no new version is made."
            self.event("asset.unchanged", message, data={"version": same.version})
        return same

    def publish(self, product: Product, inputs: Sequence[AssetInput]) -> Asset:
        if product.checks:
            self._judge(product)
        version = self.call(self.clients.ledger.reserve_version, self.run.run_id, self.run.attempt)
        if version is None:
            raise self.call(self._why_lost)
        folder = f"{self.run.partition_key}/v{version}"
        companions = {path: _companion(name, path, folder) for name, path in product.companions.items()}
        asset = self._describe(product, inputs, version, tuple(companions.values()))
        for path, companion in companions.items():
            self._upload(path, companion.s3_key, companion.size)
        self._upload(product.path, asset.s3_key, asset.size)
        if self.warnings:
            # Before the commit: if this process dies after it, the run keeps its warnings.
            self._change(warnings=tuple(self.warnings))
        with _time_limit_held_back():
            committed = self.call(self.clients.ledger.commit_asset, asset, self.run.attempt)
        if committed is None:
            raise self.call(self._why_lost)
        message = f"{asset.dataset_id} version {version} is in the catalogue."
        self.event("asset.committed", message, data={"s3_key": asset.s3_key})
        return committed

    def _judge(self, product: Product) -> None:
        """Keep the results of the checks. Raises RunRefused: checks_failed, when the product can be looked at."""
        self._change(checks=product.checks)
        for warning in warnings_of(product.checks):
            self.warn(warning)
        if failed(product.checks):
            suffix = PRODUCT_TYPES[product.format].suffix
            kept = _companion(f"data.{suffix}", product.path, f"{REJECTED_PREFIX}{self.run.run_id}")
            self._upload(product.path, kept.s3_key, kept.size)
        raise_failed(product.checks, f"GET /runs/{self.run.run_id}/rejected has the product for a while.")

    def _describe(
        self, product: Product, inputs: Sequence[AssetInput], version: int, companions: tuple[Companion, ...]
    ) -> Asset:
        dataset_id = self.run.partition_key
        data = _companion(f"data.{PRODUCT_TYPES[product.format].suffix}", product.path, f"{dataset_id}/v{version}")
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
            inputs=tuple(dict.fromkeys(inputs)),
            metadata=AssetMetadata(
                manifest=self.manifest.metadata.model_dump(mode="json"),
                column_schema=product.column_schema,
                header_mapping=product.header_mapping,
                geometry_type=product.geometry_type,
                companions=companions,
                fingerprint=self._fingerprint,
                recipe=self.manifest.recipe,
            ),
            statistics={**product.statistics, "counts": dict(product.counts), "engine": dict(product.engine)},
            checks=product.checks,
            created_at=utcnow(),
        )

    def _upload(self, path: Path, key: str, size: int) -> None:
        objects, progress = self.clients.objects, self._transfer_progress()

        async def put() -> None:
            try:
                await objects.put_file(LAKE_BUCKET, key, path, create_only=True, progress=progress)
            except ObjectExists:
                there = await objects.stat(LAKE_BUCKET, key)
                if there is None or there.size != size:
                    detail = f"The lake already has {key}, with another size than the {size} bytes to be uploaded."
                    fix = "Only this service may write to the lake: find out what else does."
                    raise StoreUnavailable(detail, fix) from None

        self.call(put)

    # Watch

    def check(self) -> None:
        """Write the progress again. Raises RunCanceled, StaleAttempt or ScratchLimitExceeded."""
        self._change(progress=self.run.progress)

    def advance(self, rows_done: int, rows_total: int | None) -> None:
        if time.monotonic() - self._written_at >= _CHECK_EVERY:
            self._change(progress=Progress(rows_done=rows_done, rows_total=rows_total))

    def warn(self, warning: RunWarning) -> None:
        super().warn(warning)
        kept = self.warnings[-1]
        self.event(kept.code, kept.message, level="warning", data={"count": kept.count, "samples": list(kept.samples)})

    # The ledger, at this attempt only

    def event(
        self,
        code: str,
        message: str,
        *,
        level: Literal["info", "warning", "error"] = "info",
        data: dict[str, Any] | None = None,
    ) -> None:
        """Add a line to the log of the run and to that of the process."""
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
        """Raises RunCanceled, StaleAttempt (another attempt has the run) and ScratchLimitExceeded."""
        self._check_scratch()
        self._written_at = time.monotonic()
        guard = Guard(frozenset({RunStatus.RUNNING}), attempt=self.run.attempt)
        ledger = self.clients.ledger
        changed = await ledger.change_run(self.run.run_id, guard, **changes)
        if changed is not None:
            return changed
        raise await self._why_lost()

    def _check_scratch(self) -> None:
        began = time.monotonic()
        if began < self._next_scratch_check:
            return
        held = bytes_in(self.scratch)
        # With many files this takes long: spend a twentieth of the time on it at most.
        self._next_scratch_check = time.monotonic() + 20 * (time.monotonic() - began)
        if held > self.scratch_limit:
            raise over_the_limit(held, self.scratch_limit)

    async def _why_lost(self) -> RunCanceled | StaleAttempt:
        now = await self.clients.ledger.get_run(self.run.run_id)
        if now is not None and now.status is RunStatus.CANCELING and now.attempt == self.run.attempt:
            return RunCanceled(f"Run {self.run.run_id} is being canceled.")
        return StaleAttempt(f"Attempt {self.run.attempt} of run {self.run.run_id} no longer holds the lease.")

    def _transfer_progress(self) -> TransferProgress:
        """Checks the ledger during a transfer, so that a canceled run does not wait for its end."""
        check: asyncio.Task[Run] | None = None

        def progress(bytes_done: int) -> None:  # noqa: ARG001 # the protocol's
            nonlocal check
            if check is not None and check.done():
                done, check = check, None
                done.result()
            if check is None and time.monotonic() - self._written_at >= _CHECK_EVERY:
                check = asyncio.get_running_loop().create_task(self._write({"progress": self.run.progress}))
                # Where the transfer ends first, the next change of the run raises what this one met.
                check.add_done_callback(lambda task: task.cancelled() or task.exception())

        return progress


def _companion(name: str, path: Path, folder: str) -> Companion:
    """The object of the file. Its key has the hash of the content, so that attempts never overwrite each other's."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    stem, _, suffix = name.rpartition(".")
    key = f"{folder}/{stem}-{digest[:16]}.{suffix}"
    return Companion(name=name, s3_key=key, size=path.stat().st_size, content_hash=f"sha256:{digest}")


@contextmanager
def _time_limit_held_back() -> Iterator[None]:
    """Inside, the alarm of the time limit waits. An interrupted commit would leave unknown whether it happened.

    A signal mask would not do: SIGALRM goes to the process, any other thread may receive it, and the main thread then
    runs the handler all the same. So the handler is replaced by one that only remembers the alarm.
    """
    alarms: list[int] = []
    handler = signal.signal(signal.SIGALRM, lambda number, _frame: alarms.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGALRM, handler)
        if alarms:
            signal.raise_signal(signal.SIGALRM)
