"""How long values have not changed, measured without comparing the clocks of two hosts."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping


class IdleTimer:
    """Seconds for which values did not change, as seen in looks of this process, on its own monotonic clock.

    step: the most that one look adds. Time between looks (a server was away, this process stood still) does not count
    in full, because the owners of the values may have been held up by the same cause.
    """

    def __init__(self, step: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._step = step
        self._clock = clock
        self._looked_at: float | None = None
        self._seen: dict[str, tuple[Hashable, float]] = {}

    def look(self, values: Mapping[str, Hashable]) -> None:
        """Take the current values by name. Names that are missing are forgotten."""
        now = self._clock()
        passed = 0.0 if self._looked_at is None else min(now - self._looked_at, self._step)
        self._looked_at = now
        before, self._seen = self._seen, {}
        for name, value in values.items():
            old, seconds = before.get(name, (None, 0.0))
            self._seen[name] = (value, seconds + passed if name in before and old == value else 0.0)

    def seconds(self, name: str) -> float:
        """How long the value was seen unchanged; 0 for an unknown name."""
        return self._seen[name][1] if name in self._seen else 0.0
