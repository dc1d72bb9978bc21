"""Why the process of a job died."""

from __future__ import annotations

import os
import signal
from typing import Any

from app.models.runs.attempt import AttemptEnd, AttemptOutcome

_MIB = 2**20
# Libraries end the process when they get no memory. Above this share of the limit, that is taken as the cause.
_NEARLY_ALL = 0.9


def cause_of_death(
    status: int,
    state: dict[str, Any],
    *,
    memory_limit: int,
    most_memory: int = 0,
    by_kernel: bool = False,
    had_no_memory: bool = False,
) -> AttemptEnd:
    """The end of an attempt whose process died.

    Args:
        status: of the process, as os.waitpid returns it.
        state: what the job shared with its worker.
        memory_limit: of the process, in bytes.
        most_memory: the most bytes that it held.
        by_kernel: the kernel killed a process for lack of memory since the job was last seen alive.
        had_no_memory: a library wrote that it got no memory.
    """
    step, file = state.get("step"), state.get("file")
    if had_no_memory and not _was_killed(status):
        how = "a library found no memory and ended its process"
        outcome, detail = AttemptOutcome.MEMORY_LIMIT, f"{how}, whose limit is {memory_limit // _MIB} MiB,"
    else:
        outcome, detail = _outcome(status, memory_limit, most_memory, by_kernel=by_kernel)
    at = f" in step {step}" if step else ""
    at += f" while processing {file}" if file else ""
    return AttemptEnd(outcome=outcome, detail=detail + at, step=step, file=file)


def _was_killed(status: int) -> bool:
    return os.WIFSIGNALED(status) and os.WTERMSIG(status) in (signal.SIGKILL, signal.SIGTERM)


def _outcome(status: int, memory_limit: int, most_memory: int, *, by_kernel: bool) -> tuple[AttemptOutcome, str]:
    if not os.WIFSIGNALED(status):
        return AttemptOutcome.ABORTED, f"its process ended with exit status {os.waitstatus_to_exitcode(status)}"
    number = os.WTERMSIG(status)
    name, held = _name(number), f"{most_memory // _MIB} MiB"
    if number == signal.SIGKILL and by_kernel:
        return AttemptOutcome.OUT_OF_MEMORY, f"memory ran out, and the kernel killed its process, which had held {held}"
    if _was_killed(status):
        return AttemptOutcome.KILLED, f"its process was killed from outside ({name})"
    if most_memory >= _NEARLY_ALL * memory_limit:
        return (
            AttemptOutcome.MEMORY_LIMIT,
            f"a library ended its process ({name}) at {held} of {memory_limit // _MIB} MiB",
        )
    if number in (signal.SIGSEGV, signal.SIGBUS):
        return AttemptOutcome.SEGFAULT, f"native code crashed ({name})"
    return AttemptOutcome.ABORTED, f"native code ended its process ({name})"


def _name(number: int) -> str:
    try:
        return f"signal {number}, {signal.Signals(number).name}"
    except ValueError:
        return f"signal {number}"
