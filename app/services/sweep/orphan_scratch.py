"""Scratch directories of this host whose owners are gone."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Container, Iterator
from pathlib import Path

from app.services.sweep.idle_timer import IdleTimer
from app.system.processes import is_gone

# Seconds for which a directory without a known owner is seen before it is removed.
_IDLE_SECONDS = 60.0
# The same for a plan, which is not in the ledger: longer than any time limit of plans.
_PLAN_IDLE_SECONDS = 900.0


class OrphanScratch:
    """Finds and removes scratch directories without an owner. `keep`: names of those that attempts still use."""

    def __init__(self, scratch: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._scratch = scratch
        self._idle = IdleTimer(_IDLE_SECONDS / 3, clock)

    def remove(self, keep: Container[str]) -> tuple[str, ...]:
        """Remove those of dead owners at once, others once they were seen for long enough; the names."""
        found = dict(self._not_kept(keep))
        # How long they were seen here, not their age: that would depend on clocks.
        self._idle.look(dict.fromkeys(found, True))
        over = [
            name
            for name, owner_is_gone in found.items()
            if owner_is_gone
            or self._idle.seconds(name) >= (_PLAN_IDLE_SECONDS if name.startswith("plan-") else _IDLE_SECONDS)
        ]
        for name in over:
            shutil.rmtree(self._scratch / name, ignore_errors=True)
        return tuple(over)

    def find(self, keep: Container[str]) -> tuple[str, ...]:
        """The names of those that `remove` would remove at once."""
        return tuple(name for name, owner_is_gone in self._not_kept(keep) if owner_is_gone)

    def _not_kept(self, keep: Container[str]) -> Iterator[tuple[str, bool]]:
        """(name, whether the owner is certainly gone) of directories that may be orphans."""
        if not self._scratch.is_dir():
            return
        for directory in self._scratch.iterdir():
            try:
                owner_is_gone = is_gone((directory / ".owner").read_text())
            except OSError:
                owner_is_gone = False
            if owner_is_gone or directory.name not in keep:
                yield directory.name, owner_is_gone
