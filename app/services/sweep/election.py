"""Elects one process of many through the ledger, and replaces it when it stops renewing.

No clocks are compared: a process that has seen the same renewal for as long as it is valid takes over, by
compare-and-set. A former leader may notice that late, so the work must be safe when two processes do it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

from app.errors import SweepAbsent
from app.ledger import Ledger
from app.models.runs.leadership import Leadership
from app.services.sweep.idle_timer import IdleTimer
from app.system.processes import is_gone

logger = logging.getLogger(__name__)

# Renewals within the time that a lease lasts.
RENEWALS = 4
_WITHOUT = "Runs of workers that die, and manifests that nothing announced, wait meanwhile."


class Election:
    """This process as a candidate for a role."""

    def __init__(
        self, ledger: Ledger, role: str, owner: str, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ledger, self._role, self._owner, self._seconds, self._clock = ledger, role, owner, seconds, clock
        self._idle = IdleTimer(seconds / 2, clock)
        self._until = clock()
        self._last_logged = ""

    @property
    def leads(self) -> bool:
        """False as soon as another process may take over."""
        return self._clock() < self._until

    async def once(self) -> bool:
        """Renew, or take over a free role. Returns whether it leads now. Raises LedgerUnavailable."""
        began = self._clock()
        found = await self._ledger.get_leadership(self._role)
        mine = found is not None and found.owner == self._owner
        if found is not None and not mine and not self._is_free(found):
            self._until = began
            self._log_change(f"stands by: {found.owner} does the {self._role}")
            return False
        led = await self._ledger.lead(self._role, self._owner, self._seconds, found)
        self._until = began + self._seconds if led is not None else began
        if led is not None:
            self._log_change(f"does the {self._role} now (term {led.term})")
        return self.leads

    def _is_free(self, found: Leadership) -> bool:
        self._idle.look({self._role: (found.owner, found.beat)})
        return found.owner is None or is_gone(found.owner) or self._idle.seconds(self._role) >= found.seconds

    async def step_down(self) -> None:
        """Give the role back, so that another process can take over at once. Raises LedgerUnavailable."""
        self._until = self._clock()
        found = await self._ledger.get_leadership(self._role)
        if found is not None and found.owner == self._owner:
            await self._ledger.lead(self._role, None, self._seconds, found)

    def _log_change(self, what: str) -> None:
        if what != self._last_logged:
            self._last_logged = what
            logger.info("this process %s", what)


class LeaderWatch:
    """Whether a process leads, for those that only report it."""

    def __init__(self, role: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._role = role
        # Looks may be rare, so each counts in full.
        self._idle = IdleTimer(float("inf"), clock)

    async def look(self, ledger: Ledger) -> Mapping[str, Any]:
        """The leader and its term. Raises SweepAbsent when there is none, LedgerUnavailable."""
        found = await ledger.get_leadership(self._role)
        fix = "Start `spatial-etl sweep` (part of `serve`), or read its log."
        if found is None:
            raise SweepAbsent(f"No {self._role} has ever run. {_WITHOUT}", fix)
        if found.owner is None:
            raise SweepAbsent(f"The last {self._role} has stopped, and there is no other. {_WITHOUT}", fix)
        self._idle.look({self._role: (found.owner, found.beat)})
        silent = self._idle.seconds(self._role)
        if silent >= found.seconds or is_gone(found.owner):
            since = f"has given no sign of life for {silent:.0f} s" if silent >= found.seconds else "is gone"
            raise SweepAbsent(f"The {self._role} ({found.owner}) {since}. {_WITHOUT}", fix)
        return {"owner": found.owner, "term": found.term}
