"""The job's side of a reader: answers its calls with the clients, and trusts nothing that it sends.

A hostile file may have taken the reader over: what it sends is parsed as JSON into models, its files are moved out of
its reach before they are opened, and inputs must be those that were fetched. So a reader cannot make the job run code,
open a file outside of scratch, publish for another run, or name inputs that it never had.
"""

from __future__ import annotations

import logging
import os
import stat
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from pydantic import TypeAdapter, ValidationError

from app.errors import RunRefused
from app.jobs.channel import Channel, ChannelClosed, MessageInvalid
from app.jobs.death import cause_of_death
from app.jobs.oom_kills import oom_kills
from app.jobs.readers import Reader, ReaderServer
from app.jobs.shared_state import job_state
from app.models.asset import Asset, AssetInput, ParentInput
from app.models.checks.kinds import CheckResult, unanswered
from app.models.plan import Plan
from app.models.runs.attempt import AttemptEnd, AttemptOutcome
from app.models.runs.run import RunWarning
from app.pipelines.contract.context import FetchedAsset, FetchedFile, Product
from app.pipelines.contract.job_context import JobContext
from app.pipelines.job.attempt import Attempt
from app.pipelines.job.failure import ReaderDied
from app.pipelines.job.relayed_errors import from_message, to_message
from app.pipelines.vector.engines.postgis_access import DirectPostgis, PostgisAccess, StatementRunner, read_request
from app.settings import Settings
from app.storage.postgis.server import RunSchema

logger = logging.getLogger(__name__)

_INPUTS: TypeAdapter[tuple[AssetInput, ...]] = TypeAdapter(tuple[AssetInput, ...])
_PRODUCT: TypeAdapter[Product] = TypeAdapter(Product)
# Seconds without a call after which the job looks whether it is still wanted.
_CHECK_EVERY = 2.0
# Calls that only a run makes: a plan changes nothing.
_OF_RUNS = frozenset({"step_started", "step_finished", "publish", "advance", "warn"})


class ReaderMisbehaved(Exception):
    """The reader sent something that no reader of this service sends."""


class InReader:
    """A reader for one job, in which its pipeline runs; see `Pipelines`.

    It is forked at once, and gets ready while the job opens its clients and claims its run. A context manager: the
    reader ends with it.
    """

    def __init__(self, server: ReaderServer, settings: Settings) -> None:
        self._settings = settings
        self._open = ExitStack()
        self._reader: Reader | None = None
        self._missing = ""
        # One channel for calls, and with PostGIS one for each thread that computes there.
        channels = 1 + (settings.worker.threads if settings.engine.name == "postgis" else 0)
        try:
            self._reader = self._open.enter_context(server.open_reader(channels))
        except OSError as err:
            self._missing = f"the reader server is gone ({err})"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._open.close()

    def run(self, attempt: Attempt) -> Asset:
        _, made = self._carry_out("run", attempt)
        if made is None:
            raise ReaderMisbehaved("it is done without a version")
        return made

    def plan(self, ctx: JobContext) -> Plan:
        found, _ = self._carry_out("plan", ctx)
        return Plan.model_validate(found)

    def _carry_out(self, what: Literal["run", "plan"], ctx: JobContext) -> tuple[Any, Asset | None]:
        schema = RunSchema(ctx.job_id, ctx.attempt_number)
        postgis = None if ctx.clients.postgis is None else DirectPostgis(ctx.clients.postgis, schema)
        memory_limit = self._settings.run.memory_limit_bytes
        job = {
            "what": what,
            "manifest": ctx.manifest.model_dump(mode="json", exclude_unset=True),
            "scratch": str(ctx.scratch),
            "limits": ctx.limits.model_dump(mode="json"),
            "threads": ctx.threads,
            "memory_bytes": ctx.memory_bytes,
            "memory_limit": memory_limit,
            "engine": "local" if postgis is None else "postgis",
            "grids": None if self._settings.proj_grids is None else str(self._settings.proj_grids),
        }
        if self._reader is None:
            raise ReaderDied(AttemptEnd(outcome=AttemptOutcome.WORKER_LOST, detail=self._missing))
        try:
            return serve(self._reader, ctx, postgis, job, memory_limit)
        except BaseException:
            # Nothing may write to scratch any more when the job removes it.
            self._reader.stop()
            raise


class ReaderCalls:
    """The calls that a reader may make: `_call_NAME` answers the call NAME."""

    def __init__(self, ctx: Any, postgis: PostgisAccess | None, channels: Sequence[Channel]) -> None:
        self._ctx, self._postgis, self._channels = ctx, postgis, channels
        self.steps = ExitStack()
        self._fetched: list[FetchedFile | FetchedAsset] = []
        self._workspace = ExitStack()
        self._runner: StatementRunner | None = None
        self.published: Asset | None = None

    def answer(self, name: str, values: Mapping[str, Any]) -> Any:
        """The result of one call, as JSON values. Raises what the call meets, ReaderMisbehaved."""
        method: Callable[..., Any] | None = getattr(self, f"_call_{name}", None)
        if method is None or (name in _OF_RUNS and not isinstance(self._ctx, Attempt)):
            raise ReaderMisbehaved(f"an unknown call {name!r}")
        try:
            return method(**values)
        except (TypeError, ValidationError) as err:
            raise ReaderMisbehaved(f"the call {name!r}: {err}") from err

    def _call_step_started(self, step: str) -> None:
        if step not in ("load", "transform", "export"):
            raise ReaderMisbehaved(f"an unknown step {step!r}")
        self.steps.enter_context(self._ctx.step(step))

    def _call_step_finished(self) -> None:
        self.steps.close()

    def _call_fetch(self, index: int) -> dict[str, Any]:
        files = self._ctx.manifest.files
        if type(index) is not int or not 0 <= index < len(files):
            raise ReaderMisbehaved(f"no file {index!r}")
        fetched = self._ctx.fetch(files[index])
        self._fetched.append(fetched)
        inputs = [each.model_dump(mode="json") for each in fetched.inputs]
        return {"path": str(fetched.path.relative_to(self._ctx.scratch)), "inputs": inputs}

    def _call_fetch_asset(self, dataset_id: str, version: int | None) -> dict[str, Any]:
        if (dataset_id, version) not in self._ctx.manifest.parents:
            raise ReaderMisbehaved(f"the manifest does not name {dataset_id!r} version {version!r}")
        fetched = self._ctx.fetch_asset(dataset_id, version)
        self._fetched.append(fetched)
        path = str(fetched.path.relative_to(self._ctx.scratch))
        return {"path": path, "asset": fetched.asset.model_dump(mode="json")}

    def _call_unchanged(self, inputs: list[int], recipe: list[str], engine: dict[str, str]) -> Any:
        if sorted(inputs) != list(range(len(self._fetched))):
            raise ReaderMisbehaved("the inputs are not those that were fetched")
        found = self._ctx.unchanged([self._fetched[n] for n in inputs], recipe, engine)
        if found is not None:
            self.published = found
        return None if found is None else found.model_dump(mode="json")

    def _call_publish(self, product: dict[str, Any], inputs: list[Any]) -> Any:
        scratch = self._ctx.scratch
        # Beside the only directory that the reader reaches: nothing can be exchanged for a link between two looks.
        kept = scratch.parent / "product"
        kept.mkdir(mode=0o700)
        document = dict(product)
        document["path"] = take_file(scratch, str(document.get("path")), kept / "data")
        companions = dict(document.get("companions") or {})
        document["companions"] = {
            name: take_file(scratch, str(path), kept / f"companion{number}")
            for number, (name, path) in enumerate(companions.items())
        }
        found, listed = _PRODUCT.validate_python(document), _INPUTS.validate_python(inputs)
        self._check_inputs(listed)
        self._check_results(found.checks)
        self.published = self._ctx.publish(found, listed)
        return self.published.model_dump(mode="json")

    def _check_inputs(self, inputs: Sequence[AssetInput]) -> None:
        files = {each for file in self._fetched if isinstance(file, FetchedFile) for each in file.inputs}
        parents = {(a.asset.dataset_id, a.asset.version) for a in self._fetched if isinstance(a, FetchedAsset)}
        for each in inputs:
            known = (each.dataset_id, each.version) in parents if isinstance(each, ParentInput) else each in files
            if not known:
                raise ReaderMisbehaved("an input that was never fetched")

    def _check_results(self, results: Sequence[CheckResult]) -> None:
        asked = [unanswered(check) for check in self._ctx.manifest.checks]
        made = [result.model_copy(update={"passed": None, "found": None, "samples": ()}) for result in results]
        if made != asked or any(result.passed is None for result in results):
            raise ReaderMisbehaved("the results are not those of the manifest's checks")

    def _call_advance(self, rows_done: int, rows_total: int | None) -> None:
        self._ctx.advance(int(rows_done), None if rows_total is None else int(rows_total))

    def _call_warn(self, warning: dict[str, Any]) -> None:
        self._ctx.warn(RunWarning.model_validate(warning))

    def _call_newest_version(self) -> int:
        newest = self._ctx.call(self._ctx.clients.ledger.get_asset, self._ctx.manifest.dataset_id)
        return 0 if newest is None else int(newest.version)

    def _call_newest_rows(self) -> int | None:
        rows: int | None = self._ctx.newest_rows()
        return rows

    def _call_postgis_versions(self) -> dict[str, str]:
        return dict(self._access().versions())

    def _call_workspace_open(self, connections: int) -> dict[str, str]:
        threads = len(self._channels)
        if type(connections) is not int or not 1 <= connections <= threads:
            raise ReaderMisbehaved(f"a workspace of {connections!r} connections")
        runner = self._workspace.enter_context(self._access().workspace(connections))
        self._runner = runner
        for channel in self._channels:
            threading.Thread(target=_serve_statements, args=(channel, runner), daemon=True).start()
        return dict(runner.versions)

    def _call_workspace_interrupt(self) -> None:
        if self._runner is not None:
            self._runner.interrupt()

    def _call_workspace_close(self) -> None:
        self._runner = None
        self._workspace.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End what still runs in PostGIS and remove its schema."""
        with self._workspace:
            if self._runner is not None:
                self._runner.interrupt()

    def _access(self) -> PostgisAccess:
        if self._postgis is None:
            raise ReaderMisbehaved("this job has no PostGIS")
        return self._postgis


def serve(
    reader: Reader, ctx: Any, postgis: PostgisAccess | None, job: Mapping[str, Any], memory_limit: int
) -> tuple[Any, Asset | None]:
    """Give the reader its job and answer its calls until it is done.

    Returns:
        (the last message of the reader, the version that was published or found unchanged).

    Raises:
        Exception: what a call met, what the reader met, ReaderDied, ReaderMisbehaved. The caller closes the reader,
            which kills it.
    """
    kills = oom_kills()
    main, *others = reader.channels
    calls = ReaderCalls(ctx, postgis, others)
    with calls, calls.steps:
        try:
            main.send(job)
            return _serve(main, calls, ctx), calls.published
        except ChannelClosed:
            raise ReaderDied(_death(reader, kills, memory_limit)) from None
        except MessageInvalid as err:
            raise ReaderMisbehaved(str(err)) from err


def _serve(channel: Channel, calls: ReaderCalls, ctx: Any) -> Any:
    while True:
        while not channel.wait(_CHECK_EVERY):
            ctx.check()
        message, _ = channel.receive()
        if "done" in message:
            return message["done"]
        if "failed" in message:
            raise from_message(_mapping(message["failed"]))
        values = _mapping(message.get("values"))
        if "notify" in message:
            _notified(str(message["notify"]), values)
            continue
        try:
            result = calls.answer(str(message.get("call")), values)
        except RunRefused as err:
            # A plan goes on and names what is wrong with the other files too.
            channel.send({"error": to_message(err)})
        else:
            channel.send({"result": result})


def _mapping(found: Any) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise ReaderMisbehaved("not an object")
    return found


def _notified(name: str, values: Mapping[str, Any]) -> None:
    if name == "file":
        job_state.write(file=None if values.get("file") is None else str(values["file"])[:1024])
    elif name == "log":
        text = str(values.get("text"))[:2000].encode("unicode_escape").decode()
        logger.log(logging.WARNING, "the reader: %s", text)


def _death(reader: Reader, kills: int | None, memory_limit: int) -> AttemptEnd:
    end = reader.wait()
    now = oom_kills()
    state = {name: job_state.get(name) for name in ("step", "file")}
    by_kernel = kills is not None and now is not None and now > kills
    return cause_of_death(
        end.status,
        state,
        memory_limit=memory_limit,
        most_memory=end.most_memory,
        by_kernel=by_kernel,
        had_no_memory=end.had_no_memory,
    )


def _serve_statements(channel: Channel, runner: StatementRunner) -> None:
    """One connection's worth of batches, until the reader closes the channel."""
    try:
        while True:
            request, rows = channel.receive()
            try:
                steps, srids = read_request(request)
                channel.send({}, runner.run(rows, steps, srids))
            except Exception as err:  # the reader's run ends with it
                channel.send({"error": to_message(err)})
    except (ChannelClosed, MessageInvalid):
        return


def take_file(scratch: Path, name: str, target: Path) -> Path:
    """Move the file of that name out of scratch.

    Raises:
        ReaderMisbehaved: it is not there, is no regular file, or is reached through a link.
    """
    parts = Path(name).parts
    if not parts or Path(name).is_absolute() or ".." in parts:
        raise ReaderMisbehaved(f"a file {name!r}")
    folder = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for part in parts[:-1]:
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
            os.close(folder)
            folder = inner
        os.rename(parts[-1], target, src_dir_fd=folder)
    except OSError as err:
        raise ReaderMisbehaved(f"no file {name!r}: {err.strerror}") from None
    finally:
        os.close(folder)
    if not stat.S_ISREG(os.lstat(target).st_mode):
        raise ReaderMisbehaved(f"{name!r} is no regular file")
    return target
