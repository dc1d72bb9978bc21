"""Run a program and say what it cost. The caller must stay small: a child's peak memory is never less than its own."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

MiB = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Cost:
    """Of one whole process: wall and processor seconds, and its largest resident memory.

    others: the share of the machine's processor time that other processes took meanwhile.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    others: float


def run(command: Sequence[str], log: Path, timeout: float = 900) -> Cost:
    """Raises RuntimeError with the end of the program's output when it fails."""
    with log.open("wb") as output:
        busy, began = busy_seconds(), time.perf_counter()
        child = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        alarm = threading.Timer(timeout, child.kill)
        alarm.start()
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - began
        alarm.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        text = log.read_text(errors="replace")[-2000:]
        raise RuntimeError(f"{' '.join(command)} ended with {child.returncode} after {seconds:.1f} s:\n{text}")
    cpu = usage.ru_utime + usage.ru_stime
    others = max(0.0, busy_seconds() - busy - cpu) / (seconds * (os.cpu_count() or 1))
    return Cost(seconds, cpu, usage.ru_maxrss * 1024, round(others, 3))


def busy_seconds() -> float:
    """Processor seconds that the whole machine has worked, or was kept from working, since it started."""
    user, nice, system, _, _, irq, softirq, steal, *_ = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    return sum(map(int, (user, nice, system, irq, softirq, steal))) / os.sysconf("SC_CLK_TCK")
