"""Runs as their readers see them: one run, its log, and waiting for news of either.

One task of each process looks at the ledger for all who wait for any run.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import operator
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Generic, Self, TypeVar

from app.ledger import Ledger
from app.models.base import utcnow
from app.models.runs.run import Run, RunEvent, RunStatus
from app.services.runs.batch_reader import RunReader, not_found

T = TypeVar("T")

MAX_WAIT_SECONDS = 60
KEEP_ALIVE_SECONDS = 15.0

# Seconds between two queries while a request waits: the first after each change, growing to the longest.
_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH = 0.1, 1.0, 1.5
# Seconds: looks at about the same time are one.
_GRID = 0.05
_BUSY = 9
_EVENTS_AT_ONCE, _RUNS_AT_ONCE = 100, 500
_LAST_LINES = frozenset(f"run.{status}" for status in RunStatus if status.is_final)
# A worker that dies between a run's outcome and the last line of its log leaves a log without one.
_LAST_LINE_SECONDS = 10.0


async def get_run(ledger: Ledger, run_id: str) -> Run:
    """Raises NotFound."""
    run = await ledger.get_run(run_id)
    if run is None:
        raise not_found(run_id)
    return run


class RunWatch:
    """Requests of this process that wait for changes of runs. Close it first when the process stops."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.reader = RunReader(ledger)
        self.runs: Shared[Run] = Shared(self._look_at_runs)
        # The seq of a line that each log has.
        self.logs: Shared[int] = Shared(self._look_at_logs)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        await self.runs.ended()
        await self.logs.ended()

    def close(self) -> None:
        """Answer all waiting requests now, and later ones without waiting."""
        self.runs.close()
        self.logs.close()

    async def wait_for(self, run: Run, enough: Callable[[Run], bool], seconds: float) -> Run:
        """The run as soon as it is `enough`, or as it is when the time is over. Raises NotFound, LedgerUnavailable."""
        if enough(run) or seconds <= 0:
            return run
        # Another reader's last look may be older than what this one has read already.
        later = await self.runs.next(run.run_id, lambda found: found.revision > run.revision and enough(found), seconds)
        return later or await self.reader.get(run.run_id)

    async def follow_log(self, run_id: str, after: int) -> AsyncIterator[RunEvent | None]:
        """Each event once, in order, until the log has its end; None when a connection should show signs of life."""
        # known: the last seq that was seen. `after` is what the client says, and may be any number.
        cursor, known = after, None
        while not self.logs.closed:
            events = await self.ledger.list_events(run_id, cursor, _EVENTS_AT_ONCE)
            for event in events:
                yield event
                cursor = known = event.seq
                if event.code in _LAST_LINES:
                    return
            if len(events) == _EVENTS_AT_ONCE:
                continue
            run = await self.reader.get(run_id)
            if await self.log_has_ended(run, cursor):
                return
            while not self.logs.closed:
                # Of a run that is over the last line is on its way, so the wait is short.
                seconds = _LAST_LINE_SECONDS if run.status.is_final else KEEP_ALIVE_SECONDS
                if await self.logs.next(run_id, partial(operator.lt, cursor), seconds, first=known) is not None:
                    break
                yield None
                run = await self.reader.get(run_id)
                if run.status.is_final:
                    break

    async def log_has_ended(self, run: Run, after: int) -> bool:
        """Whether nothing comes after that event any more."""
        if not run.status.is_final or await self.ledger.list_events(run.run_id, after, 1):
            return False
        last = await self.ledger.list_events(run.run_id, after - 1, 1) if after else ()
        return _log_is_over(run) or any(event.code in _LAST_LINES for event in last)

    async def _look_at_runs(self, before: Mapping[str, Run | None]) -> Mapping[str, Run | Exception]:
        run_ids = tuple(before)
        found: dict[str, Run | Exception] = {run_id: not_found(run_id) for run_id in run_ids}
        for start in range(0, len(run_ids), _RUNS_AT_ONCE):
            runs = await self.ledger.get_runs(run_ids[start : start + _RUNS_AT_ONCE])
            found.update({run.run_id: run for run in runs})
        return found

    async def _look_at_logs(self, before: Mapping[str, int | None]) -> Mapping[str, int | Exception]:
        return dict(await self.ledger.log_ends({run_id: seq or 0 for run_id, seq in before.items()}))


def _log_is_over(run: Run) -> bool:
    if run.completed_at is None:
        return run.status.is_final
    return run.status.is_final and (utcnow() - run.completed_at).total_seconds() >= _LAST_LINE_SECONDS


@dataclass(eq=False)
class _Watch(Generic[T]):
    """One thing that is looked at. `news` is replaced by a fresh one with each piece of news.

    due: when the next look is, on the clock of the event loop. pause: seconds to the look after that.
    """

    latest: T | None = None
    error: Exception | None = None
    waiting: int = 0
    due: float = 0.0
    pause: float = _FIRST_PAUSE
    news: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self) -> None:
        self.news.set()
        self.news = asyncio.Event()


class Shared(Generic[T]):
    """One look for all who wait for any key.

    look: gets what the look before found for each key; returns what is there now, or why there is nothing. It may leave
    out keys without news.
    """

    def __init__(self, look: Callable[[Mapping[str, T | None]], Awaitable[Mapping[str, T | Exception]]]) -> None:
        self._look = look
        self._watches: dict[str, _Watch[T]] = {}
        self._task: asyncio.Task[None] | None = None
        self._changed = asyncio.Event()
        self.closed = False

    @property
    def watched(self) -> dict[str, int]:
        """How many wait for each key."""
        return {key: watch.waiting for key, watch in self._watches.items()}

    async def next(self, key: str, is_news: Callable[[T], bool], seconds: float, first: T | None = None) -> T | None:
        """The first that `is_news`; None when the time is over or this is closed. Raises what the look raised.

        first: what the caller knows already.
        """
        if self.closed:
            return None
        watch = self._watches.get(key) or self._start(key, first)
        watch.waiting += 1
        try:
            async with asyncio.timeout(seconds):
                while not self.closed:
                    if watch.latest is not None and is_news(watch.latest):
                        return watch.latest
                    await watch.news.wait()
                    if watch.error is not None:
                        raise watch.error
        except TimeoutError:
            pass
        finally:
            watch.waiting -= 1
            if not watch.waiting:
                self._stop(key, watch)
        return None

    def close(self) -> None:
        self.closed = True
        for key, watch in list(self._watches.items()):
            self._stop(key, watch)
            watch.tell()

    async def ended(self) -> None:
        """Wait for the look that is under way."""
        if self._task is not None:
            await asyncio.gather(self._task, return_exceptions=True)

    def _start(self, key: str, first: T | None) -> _Watch[T]:
        watch = self._watches[key] = _Watch(latest=first)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._poll())
        self._changed.set()
        return watch

    def _stop(self, key: str, watch: _Watch[T]) -> None:
        if self._watches.get(key) is watch:
            del self._watches[key]
        if not self._watches:
            self._changed.set()

    async def _poll(self) -> None:
        """Never canceled, so that no query is broken off in the middle."""
        clock = asyncio.get_running_loop().time
        while self._watches:
            self._changed.clear()
            began = clock()
            due = {key: watch for key, watch in self._watches.items() if watch.due <= began}
            if due:
                found = await self._look_at(due)
                now = clock()
                for key, watch in due.items():
                    self._note(key, watch, found.get(key))
                    # Looks take a tenth of the time at most, and those due at about the same time are one.
                    pause = max(watch.pause, _BUSY * (now - began))
                    watch.due = math.ceil((now + pause) / _GRID) * _GRID
                    watch.pause = min(watch.pause * _GROWTH, _LONGEST_PAUSE)
            if self._watches:
                with contextlib.suppress(TimeoutError):
                    until = min(watch.due for watch in self._watches.values())
                    await asyncio.wait_for(self._changed.wait(), max(0.0, until - clock()))

    async def _look_at(self, due: Mapping[str, _Watch[T]]) -> Mapping[str, T | Exception]:
        try:
            return await self._look({key: watch.latest for key, watch in due.items()})
        except Exception as err:
            return dict.fromkeys(due, err)

    def _note(self, key: str, watch: _Watch[T], found: T | Exception | None) -> None:
        if isinstance(found, Exception):
            watch.error = found
            self._stop(key, watch)
            watch.tell()
        elif found is not None and found != watch.latest:
            watch.latest, watch.pause = found, _FIRST_PAUSE
            watch.tell()
