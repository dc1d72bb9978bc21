"""Scratch directories of this host that nobody uses any more."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Container, Iterator
from pathlib import Path

from app.processes import is_gone
from app.services.silence import Silence

# Seconds for which a directory without a living owner is seen before it is nobody's.
_STRAY_SECONDS = 60.0
# The same of a plan, which is in no ledger: more than the longest time limit that one can be given.
_PLAN_SECONDS = 900.0


class ScratchRemains:
    """`keep`: names of the directories of attempts that somebody carries."""

    def __init__(self, scratch: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._scratch = scratch
        self._silence = Silence(_STRAY_SECONDS / 3, clock)

    def remove(self, keep: Container[str]) -> tuple[str, ...]:
        """Names of what was removed: at once where the owner is gone, else when it was seen long enough."""
        found = dict(self._unkept(keep))
        # The age of a directory would depend on clocks: it is how long it was seen here.
        self._silence.look(dict.fromkeys(found, True))
        over = [name for name, gone in found.items() if gone or self._silence.seconds(name) >= _patience(name)]
        for name in over:
            shutil.rmtree(self._scratch / name, ignore_errors=True)
        return tuple(over)

    def find(self, keep: Container[str]) -> tuple[str, ...]:
        """Names of what one look shows to be nobody's."""
        return tuple(name for name, gone in self._unkept(keep) if gone)

    def _unkept(self, keep: Container[str]) -> Iterator[tuple[str, bool]]:
        """The directories that may be nobody's, and whether their owner is certainly gone."""
        if not self._scratch.is_dir():
            return
        for directory in self._scratch.iterdir():
            try:
                gone = is_gone((directory / ".owner").read_text())
            except OSError:
                gone = False
            if gone or directory.name not in keep:
                yield directory.name, gone


def _patience(name: str) -> float:
    return _PLAN_SECONDS if name.startswith("plan-") else _STRAY_SECONDS
