"""The reader's side of a job: the pipeline runs here, and asks the job for everything that needs a client."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal

from pydantic import TypeAdapter

from app.jobs.channel import Channel
from app.jobs.shared_state import forward_current_file
from app.models.asset import Asset, AssetInput, SourceInput
from app.models.base import Frozen
from app.models.manifests.manifest import Manifest, ManifestFile
from app.models.runs.run import RunWarning
from app.pipelines.contract.context import FetchedAsset, FetchedFile, Product
from app.pipelines.contract.engine import VectorEngine
from app.pipelines.contract.plan_context import PlanContext
from app.pipelines.job.make_plan import make_plan
from app.pipelines.job.pipeline import pipeline_function
from app.pipelines.job.relayed_errors import from_message, to_message
from app.pipelines.vector.engines.local import LocalEngine
from app.pipelines.vector.engines.postgis import PostgisEngine
from app.pipelines.vector.engines.postgis_access import request_document
from app.pipelines.vector.engines.postgis_sql import Cleaning
from app.settings import Limits

# Seconds between two reports of progress: each waits for the job's answer.
_REPORT_EVERY = 0.5
_SOURCES: TypeAdapter[tuple[SourceInput, ...]] = TypeAdapter(tuple[SourceInput, ...])
_ASSET_INPUTS: TypeAdapter[list[AssetInput]] = TypeAdapter(list[AssetInput])


class ReadingJob(Frozen):
    """What a job gives its reader to do.

    Attributes:
        what: the run of a manifest, or its plan.
        scratch: the absolute path of the attempt's directory, the only one that the reader may use.
        memory_limit: bytes that the process may allocate.
        grids: absolute path of a folder of datum grids, which the reader may read.
    """

    what: Literal["run", "plan"]
    manifest: dict[str, Any]
    scratch: str
    limits: Limits
    threads: int
    memory_bytes: int
    memory_limit: int
    engine: Literal["local", "postgis"]
    grids: str | None = None


class JobLink:
    """Calls to the job. Thread-safe: the log may be written by any thread."""

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._turn = threading.Lock()

    def call(self, name: str, **values: Any) -> Any:
        """The job's answer. Raises what the job met, if a pipeline can do something about it."""
        with self._turn:
            self._channel.send({"call": name, "values": values})
            answer, _ = self._channel.receive()
        if (error := answer.get("error")) is not None:
            raise from_message(error)
        return answer.get("result")

    def notify(self, name: str, **values: Any) -> None:
        """Say something that needs no answer."""
        self._channel.send({"notify": name, "values": values})

    def finish(self, **result: Any) -> None:
        """The last message."""
        self._channel.send(result)


class ReaderInputs:
    """See `InputAccess`. The job fetches the copies; they are numbered in their order, as the job knows them."""

    def __init__(self, manifest: Manifest, scratch: Path, link: JobLink) -> None:
        self._scratch, self._link = scratch, link
        self._indexes = {id(file): index for index, file in enumerate(manifest.files)}
        self._fetched: list[FetchedFile | FetchedAsset] = []

    def fetch(self, file: ManifestFile) -> FetchedFile:
        found = self._link.call("fetch", index=self._indexes[id(file)])
        fetched = FetchedFile(file, self._scratch / found["path"], _SOURCES.validate_python(found["inputs"]))
        self._fetched.append(fetched)
        return fetched

    def fetch_asset(self, dataset_id: str, version: int | None) -> FetchedAsset:
        found = self._link.call("fetch_asset", dataset_id=dataset_id, version=version)
        fetched = FetchedAsset(Asset.model_validate(found["asset"]), self._scratch / found["path"])
        self._fetched.append(fetched)
        return fetched

    def unchanged(
        self, inputs: Sequence[FetchedFile | FetchedAsset], recipe: Sequence[str], engine: Mapping[str, str]
    ) -> Asset | None:
        numbers = [next(n for n, each in enumerate(self._fetched) if each is wanted) for wanted in inputs]
        found = self._link.call("unchanged", inputs=numbers, recipe=list(recipe), engine=dict(engine))
        return None if found is None else Asset.model_validate(found)

    def newest_rows(self) -> int | None:
        found: int | None = self._link.call("newest_rows")
        return found


@dataclass
class ReaderRun:
    """The RunContext (and its Watch) of a pipeline that runs in a reader; see `app.pipelines.contract.context`."""

    manifest: Manifest
    limits: Limits
    scratch: Path
    threads: int
    memory_bytes: int
    engine: VectorEngine
    link: JobLink
    _report_due: float = 0.0

    def __post_init__(self) -> None:
        inputs = ReaderInputs(self.manifest, self.scratch, self.link)
        self.fetch, self.fetch_asset = inputs.fetch, inputs.fetch_asset
        self.unchanged, self.newest_rows = inputs.unchanged, inputs.newest_rows

    @property
    def watch(self) -> ReaderRun:
        return self

    @contextmanager
    def step(self, name: Literal["load", "transform", "export"]) -> Iterator[None]:
        self.link.call("step_started", step=name)
        yield
        # A step that fails ends with the run: the job knows which one it was.
        self.link.call("step_finished")

    def publish(self, product: Product, inputs: Sequence[AssetInput]) -> Asset:
        document = product_document(product, self.scratch)
        listed = _ASSET_INPUTS.dump_python(list(inputs), mode="json")
        return Asset.model_validate(self.link.call("publish", product=document, inputs=listed))

    def advance(self, rows_done: int, rows_total: int | None) -> None:
        if time.monotonic() >= self._report_due:
            self.link.call("advance", rows_done=rows_done, rows_total=rows_total)
            self._report_due = time.monotonic() + _REPORT_EVERY

    def warn(self, warning: RunWarning) -> None:
        self.link.call("warn", warning=warning.model_dump(mode="json"))


class RelayedPostgis:
    """PostGIS through the job: see `PostgisAccess`. The reader says what to compute; the job writes the SQL."""

    def __init__(self, link: JobLink, channels: Sequence[Channel]) -> None:
        self._link = link
        self._free: SimpleQueue[Channel] = SimpleQueue()
        for channel in channels:
            self._free.put(channel)

    def versions(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self._link.call("postgis_versions")
        return found

    @contextmanager
    def workspace(self, connections: int) -> Iterator[RelayedWorkspace]:
        versions = self._link.call("workspace_open", connections=connections)
        yield RelayedWorkspace(versions, self._link, self._free)
        self._link.call("workspace_close")


@dataclass(frozen=True, slots=True)
class RelayedWorkspace:
    """See `StatementRunner`."""

    versions: Mapping[str, str]
    _link: JobLink
    _free: SimpleQueue[Channel]

    def run(self, rows: bytes, steps: Sequence[Cleaning], srids: tuple[int, int] | None) -> bytes:
        channel = self._free.get()
        try:
            channel.send(request_document(steps, srids), rows)
            answer, block = channel.receive()
        finally:
            self._free.put(channel)
        if (error := answer.get("error")) is not None:
            raise from_message(error)
        return block

    def interrupt(self) -> None:
        self._link.call("workspace_interrupt")


class _LogLines(logging.Handler):
    """Warnings of libraries go into the worker's log, by way of the job."""

    def __init__(self, link: JobLink) -> None:
        super().__init__(logging.WARNING)
        self._link = link

    def emit(self, record: logging.LogRecord) -> None:
        self._link.notify("log", text=self.format(record))


def carry_out(job: ReadingJob, channels: Sequence[Channel]) -> None:
    """Run the pipeline, or its plan, and send how it ended."""
    link = JobLink(channels[0])
    logging.basicConfig(handlers=[_LogLines(link)], force=True)
    logging.captureWarnings(True)
    forward_current_file(lambda file: link.notify("file", file=file))
    try:
        done = _run(job, link, channels[1:]) if job.what == "run" else _plan(job, link, channels[1:])
    except Exception as err:
        link.finish(failed=to_message(err))
    else:
        link.finish(done=done)


def _run(job: ReadingJob, link: JobLink, channels: Sequence[Channel]) -> dict[str, Any]:
    manifest = Manifest.from_ledger(job.manifest)
    engine = _engine(job, link, channels)
    ctx = ReaderRun(manifest, job.limits, Path(job.scratch), job.threads, job.memory_bytes, engine, link)
    made: Asset = pipeline_function(manifest, "run")(ctx)
    return made.model_dump(mode="json")


def _plan(job: ReadingJob, link: JobLink, channels: Sequence[Channel]) -> dict[str, Any]:
    manifest = Manifest.from_ledger(job.manifest)
    scratch = Path(job.scratch)
    ctx = PlanContext(
        manifest=manifest,
        inputs=ReaderInputs(manifest, scratch, link),
        scratch=scratch,
        limits=job.limits,
        threads=job.threads,
        memory_bytes=job.memory_bytes,
        engine=_engine(job, link, channels),
    )
    made = make_plan(ctx, pipeline_function(manifest, "plan"), lambda: int(link.call("newest_version")))
    return made.model_dump(mode="json")


def _engine(job: ReadingJob, link: JobLink, channels: Sequence[Channel]) -> VectorEngine:
    return LocalEngine() if job.engine == "local" else PostgisEngine(RelayedPostgis(link, channels))


def product_document(product: Product, scratch: Path) -> dict[str, Any]:
    """The product as JSON values, its files by their places in scratch."""
    document = {name: getattr(product, name) for name in Product.__dataclass_fields__}
    document["path"] = str(product.path.relative_to(scratch))
    document["companions"] = {name: str(path.relative_to(scratch)) for name, path in product.companions.items()}
    found: dict[str, Any] = TypeAdapter(dict[str, Any]).dump_python(document, mode="json")
    return found
