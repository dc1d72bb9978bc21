"""Carries out faults, and undoes each of them after its time."""

from __future__ import annotations

import signal
import sqlite3
import threading
import time
import traceback
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from chaos.parts import PATIENCE, Part, alive
from chaos.schedule import LINK_KINDS, Fault
from tests.servers.proxy import TcpProxy

_DELAY_SECONDS = 0.15
_BREAK_BYTES = 40_000


@dataclass(frozen=True, slots=True)
class Struck:
    """A fault that hit a victim. began, ended: seconds since the start of the campaign."""

    fault: Fault
    began: float
    ended: float


class Striker:
    """Each fault lasts on a thread of the pool. A victim that is down already is not struck again."""

    def __init__(self, parts: Mapping[str, Part], links: Mapping[str, TcpProxy], ledger_file: Path | None) -> None:
        self._parts, self._links, self._ledger_file = parts, links, ledger_file
        self._down: set[str] = set()
        self._lock = threading.Lock()
        # Children die with the thread that started them (PR_SET_PDEATHSIG), so threads live as long as the campaign.
        self._pool = ThreadPoolExecutor(32, thread_name_prefix="fault")
        self._born = time.monotonic()
        self.struck: list[Struck] = []
        self.missed = 0
        self.problems: list[str] = []

    def start_all(self, names: tuple[str, ...]) -> None:
        """Start these parts, one after the other."""
        for name in names:
            self._pool.submit(self._parts[name].revive).result()

    def strike(self, fault: Fault) -> bool:
        """Start the fault; False if there is no victim at the moment."""
        covers = (fault.victim,) if fault.kind in (*LINK_KINDS, "lock") else self._parts[fault.victim].covers
        mark = {f"{'link' if fault.kind in LINK_KINDS else 'part'}:{name}" for name in covers}
        with self._lock:
            if mark & self._down:
                self.missed += 1
                return False
            self._down |= mark
        victims: list[psutil.Process] = []
        if fault.kind in ("kill", "stop", "term"):
            victims = self._parts[fault.victim].processes(fault.pick)
            if not victims:
                with self._lock:
                    self._down -= mark
                self.missed += 1
                return False
        self._pool.submit(self._carry_out, fault, victims, mark)
        return True

    def _carry_out(self, fault: Fault, victims: list[psutil.Process], mark: set[str]) -> None:
        began = time.monotonic() - self._born
        try:
            if fault.kind in LINK_KINDS:
                _disturb(self._links[fault.victim], fault)
            elif fault.kind == "lock":
                self._hold_the_file(fault.seconds)
            else:
                self._strike_processes(fault, victims)
        except Exception:
            self.problems.append(f"fault {fault.number} ({fault.kind} {fault.victim}):\n{traceback.format_exc()}")
        finally:
            with self._lock:
                self._down -= mark
            self.struck.append(Struck(fault, began, time.monotonic() - self._born))

    def _strike_processes(self, fault: Fault, victims: list[psutil.Process]) -> None:
        stops_at = self._parts[fault.victim].stops_at
        sign = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "term": stops_at}[fault.kind]
        for victim in victims[:1] if fault.kind == "term" else victims:
            with suppress(psutil.NoSuchProcess):
                victim.send_signal(sign)
        if fault.kind == "term":
            _, left = psutil.wait_procs(victims[:1], timeout=PATIENCE)
            if alive(left):
                self.problems.append(
                    f"fault {fault.number}: {fault.victim} did not stop within {PATIENCE:g} s of SIGTERM"
                )
                left[0].kill()
        time.sleep(fault.seconds)
        if fault.kind == "stop":
            for victim in victims:
                with suppress(psutil.NoSuchProcess):
                    victim.resume()
        else:
            self._parts[fault.victim].revive()

    def _hold_the_file(self, seconds: float) -> None:
        assert self._ledger_file is not None
        with closing(sqlite3.connect(self._ledger_file, timeout=10, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            time.sleep(seconds)
            other.execute("ROLLBACK")

    def end(self) -> None:
        """Call when everything is stopped: processes that a fault started end with its thread."""
        self._pool.shutdown(wait=True)

    def wait_for_calm(self) -> None:
        """Wait until every fault is undone."""
        while True:
            with self._lock:
                if not self._down:
                    return
            time.sleep(0.05)


def _disturb(link: TcpProxy, fault: Fault) -> None:
    begin = {
        "cut": link.cut,
        "drop": link.drop,
        "hold": link.hold,
        "lose": link.lose,
        "delay": lambda: link.delay(_DELAY_SECONDS),
        "break": lambda: link.break_after(int(fault.pick * _BREAK_BYTES)),
    }[fault.kind]
    begin()
    time.sleep(fault.seconds)
    # Half of the held data is delivered late, half never.
    if fault.kind == "hold" and fault.pick < 0.5:
        link.reset_connections()
    link.restore()
