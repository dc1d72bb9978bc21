"""Somebody else who asks GET /health all the time: how long the others wait while a body is checked.

It is a process of its own: in the sender's process it would also wait for the sender. On a machine with other work, it
and the service wait for a processor; the kernel counts that, and it is taken off what a look took by the clock.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from attack.client import PATIENCE, Answer, Client

# Seconds between two looks.
_PAUSE = 0.005
# Seconds that the worst look may take.
LIMIT = 0.25
TRIES = 3


@dataclass(frozen=True, slots=True)
class Look:
    """One GET /health, in seconds of the host's monotonic clock, which all processes share.

    waited: seconds for which probe and service were ready to run and had no processor.
    """

    began: float
    ended: float
    waited: float = 0.0

    @property
    def by_clock(self) -> float:
        return self.ended - self.began

    @property
    def seconds(self) -> float:
        return max(0.0, self.by_clock - self.waited)


NEVER = Look(0.0, float("inf"))


class Probe:
    """The looks of the probing process. A look without a 200 counts as one that took for ever."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._looks: list[Look] = []
        self._news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self._process.stdout or ():
            began, ended, waited, status = line.split()
            look = Look(float(began), float(ended) if status == "200" else float("inf"), float(waited))
            with self._news:
                self._looks.append(look)
                self._news.notify_all()

    def worst(self, began: float, ended: float) -> Look:
        """The longest look that was under way between these moments."""
        found = Look(0.0, 0.0)
        with self._news:
            if not self._news.wait_for(lambda: bool(self._looks) and self._looks[-1].began >= ended, PATIENCE):
                return NEVER
            for look in reversed(self._looks):
                if look.ended < began:
                    break
                if look.began <= ended and look.seconds >= found.seconds:
                    found = look
        return found

    def alone(self, seconds: float) -> str:
        """What looks take while nobody else asks, as text: that is this machine, and what else it does."""
        began = time.monotonic()
        time.sleep(seconds)
        longest = self.worst(began, time.monotonic())
        with self._news:
            median = statistics.median(look.by_clock for look in self._looks if look.began >= began)
        return (
            f"GET /health alone: median {median * 1000:.1f} ms, worst {longest.seconds * 1000:.1f} ms "
            f"({longest.by_clock * 1000:.1f} ms by the clock)"
        )

    def beside(self, send: Callable[[], Answer]) -> tuple[list[Answer], list[Look]]:
        """Send, and while the others waited too long, send the same again: the answers, and the longest look of each.

        Other processes of the machine delay a look now and then; what the body itself does, it does every time.
        """
        answers: list[Answer] = []
        worst: list[Look] = []
        while len(worst) < TRIES and (not worst or worst[-1].seconds > LIMIT):
            began = time.monotonic()
            answers.append(send())
            worst.append(self.worst(began, time.monotonic()))
        return answers, worst


@contextmanager
def probing(url: str, pid: int) -> Iterator[Probe]:
    """pid: of the process that serves it."""
    command = [sys.executable, "-m", "attack.probe", url, str(pid)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)  # noqa: S603 # this module
    try:
        probe = Probe(process)
        # Not before it looks: else it would miss what is sent first.
        if probe.worst(0.0, 0.0) is NEVER:
            raise RuntimeError(f"no look at {url}/health")
        yield probe
    finally:
        process.terminate()
        process.wait(30)


def waits_for_processor(pid: int) -> dict[str, int]:
    """Nanoseconds for which each thread of a process waited for a processor so far, by its id."""
    found = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        with suppress(OSError, ValueError, IndexError):
            found[thread.name] = int((thread / "schedstat").read_text().split()[1])
    return found


def waited_between(before: dict[str, int], after: dict[str, int], pid: int) -> float:
    """Seconds for which an answer waited for a processor: the event loop's thread, and the one that it waits for."""
    more = {thread: waited - before.get(thread, 0) for thread, waited in after.items()}
    return (more.pop(str(pid), 0) + max(more.values(), default=0)) / 1e9


def main(url: str, pid: int) -> None:
    me = os.getpid()
    with Client(url) as client:
        while True:
            before, mine = waits_for_processor(pid), waits_for_processor(me)
            began = time.monotonic()
            answer = client.send("GET", "/health")
            waited = waited_between(before, waits_for_processor(pid), pid)
            waited += waited_between(mine, waits_for_processor(me), me)
            sys.stdout.write(f"{began} {began + answer.seconds} {waited} {answer.status}\n")
            sys.stdout.flush()
            time.sleep(_PAUSE)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
