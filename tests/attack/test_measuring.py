"""What the attacks measure with finds what it is there for."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

from attack.bodies import KINDS, KiB, bodies
from attack.client import Answer, Client
from attack.manifests import made
from attack.probe import LIMIT, TRIES, Look, probing, waited_between
from attack.report import Check, Part, none_of, write
from attack.senders import Watched


@contextmanager
def one_at_a_time(slow: list[float]) -> Iterator[str]:
    """URL of a service that answers requests one after the other; each POST takes as long as the next one of `slow`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(b"{}")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(slow.pop(0))
            self._answer(b"x" * 2 * KiB * KiB)

        def _answer(self, content: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join()


def post(url: str) -> Answer:
    with Client(url) as client:
        return client.post("/manifests", {})


def test_a_service_that_is_blocked_is_seen_every_time() -> None:
    with one_at_a_time([4 * LIMIT] * TRIES) as url, probing(url, os.getpid()) as probe:
        answers, looks = probe.beside(lambda: post(url))
    assert [answer.status for answer in answers] == [200] * TRIES
    assert all(look.by_clock > LIMIT for look in looks)
    assert len(looks) == TRIES


def test_what_happens_once_is_measured_again() -> None:
    with one_at_a_time([4 * LIMIT, 0, 0]) as url, probing(url, os.getpid()) as probe:
        _, looks = probe.beside(lambda: post(url))
    assert looks[0].by_clock > LIMIT
    assert 1 < len(looks) <= TRIES


def test_large_answers_and_missing_ones_are_faults() -> None:
    with one_at_a_time([0] * TRIES) as url, probing(url, os.getpid()) as probe:
        watched = Watched(probe)
        watched.send("large", lambda: [post(url)])
        watched.send("none", lambda: [post("http://127.0.0.1:1")])
        watched.send("closed", lambda: [post("http://127.0.0.1:1")], closes=True)
    _, largest, faults = watched.checks()
    assert (largest.holds, largest.details) == (False, "large")
    assert (faults.holds, faults.measured) == (False, (1.0,))
    assert faults.details.startswith("none: no answer")


def test_waiting_for_a_processor_is_taken_off() -> None:
    before, after = {"7": 10**9, "8": 0}, {"7": 2 * 10**9, "8": 10**9, "9": 3 * 10**9}
    waited = waited_between(before, after, 7)
    assert waited == 4.0, "of the first thread, and of the one that waited longest"
    assert Look(0, 5, waited).seconds == 1.0
    assert Look(0, 1, waited).seconds == 0.0


def test_a_bound_is_missed_when_every_measurement_misses_it() -> None:
    assert Check("w", (3.0, 2.5, 1.9), 2).holds
    assert not Check("w", (3.0, 2.5, 2.1), 2).holds
    assert none_of("w", []).holds
    assert none_of("w", ["a", "b", "a"]).details == "2 x a; b"


def test_a_report_for_programs(tmp_path: Path) -> None:
    part = Part("bodies", "t", checks=[Check("w", (3.0,), 2, "ms")])
    write([part], {"seed": 1}, tmp_path / "figures.json")
    found = json.loads((tmp_path / "figures.json").read_text())
    assert found["options"] == {"seed": 1}
    assert found["parts"][0]["checks"][0]["holds"] is False
    assert not part.holds


def test_bodies_have_their_size_and_follow_from_their_seed() -> None:
    for name, make in KINDS.items():
        size = len(make(64 * KiB))
        assert 48 * KiB < size <= 68 * KiB, f"{name}: {size}"
    assert {body.name for body in bodies([64 * KiB])} > {f"{name}, 64 KiB" for name in KINDS}
    assert made(17, 1) == made(17, 1) != made(17, 2)
