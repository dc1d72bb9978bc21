"""Runs as their readers see them: one run, its log, and waiting for news of either.

Many may wait for the same run: one task for each run and process looks at the ledger for all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, Self, TypeVar

from app.ledger import Ledger
from app.models.base import utcnow
from app.models.run import Run, RunEvent, RunStatus
from app.services.run_reader import RunReader, not_found

T = TypeVar("T")

MAX_WAIT_SECONDS = 60
KEEP_ALIVE_SECONDS = 15.0

# Seconds between two looks while somebody waits: the first after each change, growing to the longest.
_FIRST_PAUSE, _LONGEST_PAUSE, _GROWTH = 0.1, 1.0, 1.5
_EVENTS_AT_ONCE = 100
_LAST_LINES = frozenset(f"run.{status}" for status in RunStatus if status.is_final)
# A worker that dies between a run's outcome and the last line of its log leaves a log without one.
_LAST_LINE_SECONDS = 10.0


async def get_run(ledger: Ledger, run_id: str) -> Run:
    """Raises NotFound."""
    run = await ledger.get_run(run_id)
    if run is None:
        raise not_found(run_id)
    return run


@dataclass(frozen=True, slots=True)
class LogEnd:
    """How far a run's log goes, and the run as it was just before that was read."""

    run: Run
    last_seq: int


class RunWatch:
    """Who waits for news of runs in this process. Close it first when the process stops: then nobody waits any more."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.reader = RunReader(ledger)
        self.runs: Shared[Run] = Shared(self._look_at_run)
        self.logs: Shared[LogEnd] = Shared(self._look_at_log)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, err: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
        await self.runs.ended()
        await self.logs.ended()

    def close(self) -> None:
        """Answer everybody who waits, now and from now on."""
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
        cursor = after
        while not self.logs.closed:
            events = await self.ledger.list_events(run_id, cursor, _EVENTS_AT_ONCE)
            for event in events:
                yield event
                cursor = event.seq
                if event.code in _LAST_LINES:
                    return
            if len(events) == _EVENTS_AT_ONCE:
                continue
            run = await get_run(self.ledger, run_id)
            if await self.log_has_ended(run, cursor):
                return
            # Of a run that is over the last line is on its way, so the wait is short.
            seconds = _LAST_LINE_SECONDS if run.status.is_final else KEEP_ALIVE_SECONDS
            if await self.logs.next(run_id, _reaches(cursor + 1), seconds) is None:
                yield None

    async def log_has_ended(self, run: Run, after: int) -> bool:
        """Whether nothing comes after that event any more."""
        if not run.status.is_final or await self.ledger.list_events(run.run_id, after, 1):
            return False
        last = await self.ledger.list_events(run.run_id, after - 1, 1) if after else ()
        return _log_is_over(run) or any(event.code in _LAST_LINES for event in last)

    async def _look_at_run(self, run_id: str, _before: Run | None) -> Run:
        return await self.reader.get(run_id)

    async def _look_at_log(self, run_id: str, before: LogEnd | None) -> LogEnd:
        run = await get_run(self.ledger, run_id)
        last_seq = before.last_seq if before else 0
        while events := await self.ledger.list_events(run_id, last_seq, 1000):
            last_seq = events[-1].seq
        return LogEnd(run, last_seq)


def _reaches(seq: int) -> Callable[[LogEnd], bool]:
    return lambda end: end.last_seq >= seq


def _log_is_over(run: Run) -> bool:
    if run.completed_at is None:
        return run.status.is_final
    return run.status.is_final and (utcnow() - run.completed_at).total_seconds() >= _LAST_LINE_SECONDS


@dataclass(eq=False)
class _Watch(Generic[T]):
    """One thing that is looked at. `news` is replaced by a fresh one with each piece of news."""

    latest: T | None = None
    error: Exception | None = None
    waiting: int = 0
    news: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    def tell(self) -> None:
        self.news.set()
        self.news = asyncio.Event()


class Shared(Generic[T]):
    """One look for all who wait for the same key. look: gets the key and what the look before found."""

    def __init__(self, look: Callable[[str, T | None], Awaitable[T]]) -> None:
        self._look = look
        self._watches: dict[str, _Watch[T]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.closed = False

    @property
    def watched(self) -> dict[str, int]:
        """How many wait for each key."""
        return {key: watch.waiting for key, watch in self._watches.items()}

    async def next(self, key: str, is_news: Callable[[T], bool], seconds: float) -> T | None:
        """The first that `is_news`; None when the time is over or this is closed. Raises what the look raised."""
        if self.closed:
            return None
        watch = self._watches.get(key) or self._start(key)
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
        """Wait for the looks that are under way."""
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _start(self, key: str) -> _Watch[T]:
        watch = self._watches[key] = _Watch()
        task = asyncio.create_task(self._poll(key, watch))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return watch

    def _stop(self, key: str, watch: _Watch[T]) -> None:
        watch.over.set()
        if self._watches.get(key) is watch:
            del self._watches[key]

    async def _poll(self, key: str, watch: _Watch[T]) -> None:
        """Never canceled, so that no query is broken off in the middle."""
        pause = _FIRST_PAUSE
        while not watch.over.is_set():
            try:
                found = await self._look(key, watch.latest)
            except Exception as err:
                watch.error = err
                self._stop(key, watch)
                watch.tell()
                return
            if found != watch.latest:
                watch.latest, pause = found, _FIRST_PAUSE
                watch.tell()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(watch.over.wait(), pause)
            pause = min(pause * _GROWTH, _LONGEST_PAUSE)
