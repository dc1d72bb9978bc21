"""What the end of a job's process says about its cause."""

from __future__ import annotations

import os
import signal
from typing import Any

from app.models.attempt import AttemptEnd, Outcome

_MIB = 2**20
# Libraries end the process where the limit refuses them memory. Nearer to the limit than this, that is what happened.
_NEARLY_ALL = 0.9


def cause_of_death(
    status: int, notes: dict[str, Any], *, memory_limit: int, most_memory: int = 0, by_kernel: bool = False
) -> AttemptEnd:
    """status: as os.waitpid gives it. notes: the job's. most_memory: bytes that it held at most.

    by_kernel: memory ran out, and the kernel killed a process since the job was seen alive.
    """
    step, file = notes.get("step"), notes.get("file")
    outcome, detail = _told(status, memory_limit, most_memory, by_kernel=by_kernel)
    at = f" in step {step}" if step else ""
    at += f" with {file} at hand" if file else ""
    return AttemptEnd(outcome=outcome, detail=detail + at, step=step, file=file)


def _told(status: int, memory_limit: int, most_memory: int, *, by_kernel: bool) -> tuple[Outcome, str]:
    if not os.WIFSIGNALED(status):
        return Outcome.ABORTED, f"its process ended with exit status {os.waitstatus_to_exitcode(status)}"
    number = os.WTERMSIG(status)
    name, held = _name(number), f"{most_memory // _MIB} MiB"
    if number == signal.SIGKILL and by_kernel:
        return Outcome.OUT_OF_MEMORY, f"memory ran out, and the kernel killed its process, which had held {held}"
    if number in (signal.SIGKILL, signal.SIGTERM):
        return Outcome.KILLED, f"its process was killed from outside ({name})"
    if most_memory >= _NEARLY_ALL * memory_limit:
        return Outcome.MEMORY_LIMIT, f"a library ended its process ({name}) at {held} of {memory_limit // _MIB} MiB"
    if number in (signal.SIGSEGV, signal.SIGBUS):
        return Outcome.SEGFAULT, f"native code crashed ({name})"
    return Outcome.ABORTED, f"native code ended its process ({name})"


def _name(number: int) -> str:
    try:
        return f"signal {number}, {signal.Signals(number).name}"
    except ValueError:
        return f"signal {number}"
