"""The inputs that a run read: their hashes go to its log, and a rerun warns of those that differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from app.ledger import Ledger
from app.messages.job import INPUTS_CHANGED
from app.models.asset import SourceInput
from app.models.manifests.manifest import LAKE_BUCKET
from app.models.runs.run import Run
from app.pipelines.contract.context import FetchedAsset, FetchedFile
from app.runs.ending import registered_asset

if TYPE_CHECKING:
    from app.clients import Clients
    from app.pipelines.job.attempt import Attempt

FETCHED = "inputs.fetched"
_EVENTS_PER_PAGE = 1000
_CHANGES_IN_TEXT = 5


@dataclass(frozen=True, slots=True)
class RecordedInputs:
    """The inputs of an earlier run: {key: sha256}. complete: it read all its inputs."""

    run_id: str
    hashes: Mapping[str, str]
    complete: bool


@dataclass
class Inputs:
    """The inputs of one attempt, since they were last recorded."""

    _fetched: list[dict[str, Any]] = field(default_factory=list)

    def add_file(self, file: FetchedFile) -> None:
        self._fetched += [
            {"s3_key": each.s3_key, "size": each.size, "sha256": each.sha256}
            for each in file.inputs
            if isinstance(each, SourceInput)
        ]

    def add_asset(self, parent: FetchedAsset) -> None:
        asset = parent.asset
        key, digest = f"{LAKE_BUCKET}/{asset.s3_key}", asset.content_hash.removeprefix("sha256:")
        self._fetched.append({"s3_key": key, "size": asset.size, "sha256": digest})

    @contextmanager
    def recorded(self, attempt: Attempt) -> Iterator[None]:
        """Around a step: log the inputs that it read, also when it fails. In a rerun, warn of those that changed."""
        complete = False
        try:
            yield
            complete = True
        finally:
            if self._fetched:
                self._record(attempt, complete)

    def _record(self, attempt: Attempt, complete: bool) -> None:
        fetched, self._fetched = self._fetched, []
        message = f"{len(fetched)} inputs were read." if len(fetched) > 1 else f"{fetched[0]['s3_key']} was read."
        attempt.event(FETCHED, message, data={"inputs": fetched, "complete": complete})
        before = attempt.call(recorded_before, attempt.run, attempt.clients)
        if before is None:
            return
        changes = _changes(before, {each["s3_key"]: each["sha256"] for each in fetched}, complete)
        if changes:
            named = "; ".join(f"{each['s3_key']} {each['change']}" for each in changes[:_CHANGES_IN_TEXT])
            more = f"; and {len(changes) - _CHANGES_IN_TEXT} more" if len(changes) > _CHANGES_IN_TEXT else ""
            changed = f"{named}{more}"
            attempt.warn(INPUTS_CHANGED(count=len(changes), samples=changes, run_id=before.run_id, changes=changed))


def _changes(before: RecordedInputs, now: Mapping[str, str], complete: bool) -> list[dict[str, str | None]]:
    """An input missing from a run that did not read everything is no change."""
    found: list[dict[str, str | None]] = []
    for key in sorted({*before.hashes, *now}):
        old, new = before.hashes.get(key), now.get(key)
        if old == new or (old is None and not before.complete) or (new is None and not complete):
            continue
        change = "was not read then" if old is None else "is not read any more" if new is None else "has other content"
        found.append({"s3_key": key, "change": change, "before": old, "now": new})
    return found


async def recorded_before(run: Run, clients: Clients) -> RecordedInputs | None:
    """The inputs of the nearest earlier run of the batch that read any; None when none did."""
    earlier_id = run.retry_of
    while earlier_id is not None:
        earlier = await clients.ledger.get_run(earlier_id)
        if earlier is None:
            return None
        found = await _in_log(earlier, clients.ledger) or await _in_asset(earlier, clients)
        if found is not None:
            return found
        earlier_id = earlier.retry_of
    return None


async def _in_log(run: Run, ledger: Ledger) -> RecordedInputs | None:
    last: Mapping[str, Any] | None = None
    seq = 0
    while events := await ledger.list_events(run.run_id, seq, _EVENTS_PER_PAGE):
        seq = events[-1].seq
        last = next((event.data for event in reversed(events) if event.code == FETCHED), last)
    if last is None:
        return None
    return RecordedInputs(
        run.run_id, {each["s3_key"]: each["sha256"] for each in last["inputs"]}, bool(last["complete"])
    )


async def _in_asset(run: Run, clients: Clients) -> RecordedInputs | None:
    """For runs of a release that did not log inputs. Without the versions that it read: those had no hash there."""
    asset = await registered_asset(run, clients)
    sources = [each for each in asset.inputs if isinstance(each, SourceInput)] if asset is not None else []
    if not sources:
        return None
    return RecordedInputs(run.run_id, {each.s3_key: each.sha256 for each in sources}, complete=True)
