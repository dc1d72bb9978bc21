"""What a job's process leaves for the worker that forked it, however it dies: a page of memory that both share.

Only the job writes. A note that was broken off in the middle counts as none.
"""

from __future__ import annotations

import json
import mmap
import threading
from typing import Any

_SIZE = 16 * 1024
# Byte 0: whether the job is done. Bytes 1 to 4: the length of the notes behind them, 0 while they are being written.
_DONE, _LENGTH, _TEXT = 0, slice(1, 5), 5


class JobNotes:
    """Names and JSON values; all of them together are small."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _SIZE)
        self._own: dict[str, Any] = {}
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Before a job begins; by the process that will write."""
        self._memory[_DONE] = 0
        self._own = {}
        self.write()

    def write(self, **values: Any) -> None:
        """Add to the notes, or replace what has the same name."""
        with self._lock:
            if values and values.items() <= self._own.items():
                return
            self._own |= values
            text = json.dumps(self._own).encode()
            if len(text) > _SIZE - _TEXT:
                return
            self._memory[_LENGTH] = bytes(4)
            self._memory[_TEXT : _TEXT + len(text)] = text
            self._memory[_LENGTH] = len(text).to_bytes(4, "little")

    def get(self, name: str) -> Any:
        """What this process wrote under that name."""
        return self._own.get(name)

    def read(self) -> dict[str, Any]:
        length = int.from_bytes(self._memory[_LENGTH], "little")
        found: dict[str, Any] = json.loads(self._memory[_TEXT : _TEXT + length]) if length else {}
        return found

    @property
    def done(self) -> bool:
        """Whether nothing but the queue's own bookkeeping is left to do."""
        return bool(self._memory[_DONE])

    def finish(self) -> None:
        self._memory[_DONE] = 1


# One for each process: a worker has one job at a time. It has to be there before the fork, so it is made here.
notes = JobNotes()


def file_at_hand(name: str | None) -> None:
    """The source that is being read: what a run names when the process dies of it."""
    notes.write(file=name)
