"""What a job's process leaves for the worker that forked it, however it dies: some memory that both share.

Only the job writes, and it may die in the middle of a write. Readers get the last complete state, and never wait.
"""

from __future__ import annotations

import json
import mmap
import struct
import threading
import zlib
from collections.abc import Callable
from typing import Any

# Byte 0: whether the job is done. Behind it two slots, written in turn, so that one of them is always complete.
_SLOT_BYTES = 16 * 1024
_DONE, _SLOTS = 0, (1, 1 + _SLOT_BYTES)
# At the start of a slot: checksum of all that follows, number of the write (from 1), length of the JSON text behind.
_HEADER = struct.Struct("<IQI")
# Slots may be overwritten while they are copied, though hardly both of them twice in a row.
_TRIES = 50


class SharedJobState:
    """Names and JSON values, 16 KiB at most. Make it before the fork; then one process writes, and any may read."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, 1 + 2 * _SLOT_BYTES)
        self._own: dict[str, Any] = {}
        self._last_read: tuple[int, dict[str, Any]] = 0, {}
        self._lock = threading.Lock()

    def clear(self) -> None:
        """Before a job begins; by the process that will write."""
        self._memory[_DONE] = 0
        self._own = {}
        self.write()

    def write(self, **values: Any) -> None:
        """Add values, or replace those of the same name. Nothing changes for readers if they do not fit."""
        with self._lock:
            if values and values.items() <= self._own.items():
                return
            self._own |= values
            text = json.dumps(self._own).encode()
            if len(text) > _SLOT_BYTES - _HEADER.size:
                return
            # From the memory: an earlier process may have been the last one to write.
            number = 1 + max((number for number, _ in self._complete_slots()), default=0)
            start = _SLOTS[number % 2]
            data = _HEADER.pack(0, number, len(text))[4:] + text
            self._memory[start : start + 4 + len(data)] = struct.pack("<I", zlib.crc32(data)) + data

    def get(self, name: str) -> Any:
        """What this process wrote under that name."""
        return self._own.get(name)

    def read(self) -> dict[str, Any]:
        """The last complete state; never raises. What this process read before, should writes be too fast for it."""
        for _ in range(_TRIES):
            number, text = max(self._complete_slots(), default=(0, b""))
            # Between two copies the writer may change both slots: then the older one is all that was found.
            if number and number >= self._last_read[0]:
                self._last_read = number, json.loads(text)
                break
        return dict(self._last_read[1])

    @property
    def done(self) -> bool:
        """Whether nothing but the queue's own bookkeeping is left to do."""
        return bool(self._memory[_DONE])

    def finish(self) -> None:
        self._memory[_DONE] = 1

    def _complete_slots(self) -> list[tuple[int, bytes]]:
        """(number of the write, JSON text) of the slots that no write has broken off or is changing."""
        found = []
        for start in _SLOTS:
            checksum, _, length = _HEADER.unpack(self._memory[start : start + _HEADER.size])
            data = self._memory[start + 4 : start + _HEADER.size + min(length, _SLOT_BYTES - _HEADER.size)]
            # The copy has its own header: the one read before may be of another write.
            number = int.from_bytes(data[:8], "little")
            if number and zlib.crc32(data) == checksum:
                found.append((number, data[_HEADER.size - 4 :]))
        return found


# One for each process: a worker has one job at a time. It has to be there before the fork, so it is made here.
job_state = SharedJobState()


def record_current_file(name: str | None) -> None:
    """The source that is being read: a run names it when the process dies."""
    _record(name)


def forward_current_file(record: Callable[[str | None], None]) -> None:
    """From now on, `record` is called instead: in a reader, which shares no memory with its job."""
    global _record  # noqa: PLW0603 # a process has one job
    _record = record


def _write_current_file(name: str | None) -> None:
    job_state.write(file=name)


_record: Callable[[str | None], None] = _write_current_file
