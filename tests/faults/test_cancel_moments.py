"""A cancel that comes at one exact moment of a run: on a real ledger and a real store, the run in this process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from app.errors import StoreUnavailable
from app.models.base import utcnow
from app.models.runs.run import Run, RunStatus
from app.services.runs import control as runs_control
from tests.place import Place, a_place
from tests.service import POINTS, manifest

LANES = frozenset({"spatial"})


class Interrupted:
    """A ledger or store that has something happen around one of its methods."""

    def __init__(self, inner: Any, name: str, around: Callable[..., Awaitable[Any]]) -> None:
        self._inner, self._name, self._around = inner, name, around

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._inner, name)
        if name != self._name:
            return method

        async def call(*args: Any, **kwargs: Any) -> Any:
            return await self._around(method, *args, **kwargs)

        return call


class Canceled(Place):
    """Runs of one file, and their cancels."""

    def submit(self, batch: str) -> Run:
        self.put("p.geojson", POINTS)
        return self.accept(manifest(batch, ("p.geojson", "GeoJSON"), tags={"dataset_id": "points"})).run

    async def cancel(self, run: Run) -> None:
        assert (await runs_control.cancel(run.run_id, self.clients, seconds=5)).status is RunStatus.CANCELING


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Canceled]:
    with a_place(tmp_path / "data") as made:
        yield Canceled(made.portal, made.clients, made.settings)


def test_past_the_commit_point_a_run_ends_in_success_and_says_so(place: Canceled) -> None:
    run = place.submit("late")

    async def then_cancel(commit: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        asset = await commit(*args)
        await place.cancel(run)
        return asset

    ended = place.carry(run, ledger=Interrupted(place.ledger, "commit_asset", then_cancel))
    assert (ended.status, ended.reserved_version, ended.lease) == (RunStatus.SUCCESS, 1, None)
    warning = ended.warnings[-1]
    assert warning.code == "cancel_too_late"
    assert "points version 1" in warning.message
    assert place.codes(run)[-2:] == ["cancel_too_late", "run.success"]
    assert len(place.lake()) == 1


@pytest.mark.parametrize("moment", ["commit_asset", "reserve_version"])
def test_just_before_the_commit_point_a_run_ends_canceled(place: Canceled, moment: str) -> None:
    run = place.submit("in-time")

    async def cancel_first(method: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        await place.cancel(run)
        return await method(*args)

    ended = place.carry(run, ledger=Interrupted(place.ledger, moment, cancel_first))
    assert (ended.status, ended.lease) == (RunStatus.CANCELED, None)
    assert "cancel_too_late" not in {warning.code for warning in ended.warnings}
    assert place.codes(run)[-1] == "run.canceled"
    assert place.lake() == []
    assert place.portal.call(place.ledger.get_asset, "points") is None


def test_a_run_that_finds_its_version_there_is_canceled_all_the_same(place: Canceled) -> None:
    assert place.carry(place.submit("first")).status is RunStatus.SUCCESS
    run = place.submit("again")

    async def then_cancel(method: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        asset = await method(*args)
        await place.cancel(run)
        return asset

    ended = place.carry(run, ledger=Interrupted(place.ledger, "get_asset", then_cancel))
    assert (ended.status, ended.unchanged_version) == (RunStatus.CANCELED, None)
    assert "asset.unchanged" in place.codes(run)
    assert len(place.lake()) == 1


def test_an_attempt_that_fails_while_it_is_being_canceled_has_no_next_one(place: Canceled) -> None:
    run = place.submit("store-away")

    async def fail(_method: Callable[..., Awaitable[Any]], *_args: Any, **_kwargs: Any) -> Any:
        await place.cancel(run)
        raise StoreUnavailable("The store is away.")

    ended = place.carry(run, objects=Interrupted(place.clients.objects, "put_file", fail))
    assert (ended.status, ended.attempt) == (RunStatus.CANCELED, 1)
    assert place.codes(run)[-2:] == ["attempt.died", "run.canceled"]


def test_a_run_that_died_after_its_commit_is_not_canceled_in_the_queue(place: Canceled) -> None:
    run = place.submit("died")

    async def no_end(
        method: Callable[..., Awaitable[Any]], run_id: str, guard: Any, *outbox: Any, **changes: Any
    ) -> Any:
        # Its process dies before it can write its end, and somebody gives the run its next attempt.
        if changes.get("status") is RunStatus.SUCCESS:
            return await method(run_id, guard, status=RunStatus.QUEUED, lease=None)
        return await method(run_id, guard, *outbox, **changes)

    queued = place.carry(run, ledger=Interrupted(place.ledger, "change_run", no_end))
    assert queued.status is RunStatus.QUEUED

    async def cancel() -> Run:
        return await runs_control.cancel(run.run_id, place.clients, seconds=5)

    assert place.portal.call(cancel).status is RunStatus.QUEUED
    ended = place.carry(run)
    assert (ended.status, ended.attempt, ended.reserved_version) == (RunStatus.SUCCESS, 2, 1)


def test_the_deadline_is_not_moved_by_asking_again(place: Canceled) -> None:
    run = place.submit("twice")

    async def ask_twice(method: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        before = utcnow()
        first = await runs_control.cancel(run.run_id, place.clients, seconds=5)
        again = await runs_control.cancel(run.run_id, place.clients, seconds=500)
        assert first == again
        assert first.lease is not None
        assert 4 < (first.lease.expires_at - before).total_seconds() < 6
        return await method(*args)

    ended = place.carry(run, ledger=Interrupted(place.ledger, "reserve_version", ask_twice))
    assert ended.status is RunStatus.CANCELED
