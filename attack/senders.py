"""One sender against the others: bodies by size, mutated manifests, and what thousands of refused ones leave behind."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import chain
from pathlib import Path

import psutil

from attack import bodies as of_bodies
from attack.bodies import Body
from attack.client import Answer, Client
from attack.manifests import MiB, made
from attack.probe import LIMIT, Look, Probe, probing
from attack.report import Check, Part, none_of, progress
from tests.service import Service, running_service

# What a manifest may be answered with, however bad it is.
_ALLOWED = frozenset({200, 202, 400, 409, 413, 415, 422, 429})
_AT_ONCE = 8
# Private memory that thousands of refused manifests may leave: what the allocator keeps, not what grows with them.
_LEAK_MIB = 32.0


def best(looks: Sequence[Look]) -> Look:
    return min(looks, key=lambda look: look.seconds)


def looks_check(what: str, looks: Sequence[Look], details: str = "") -> Check:
    clock = f"{best(looks).by_clock * 1000:.0f} ms by the clock"
    return Check(
        what,
        tuple(look.seconds * 1000 for look in looks),
        LIMIT * 1000,
        "ms",
        "; ".join(filter(None, (clock, details))),
    )


@dataclass
class Watched:
    """What was answered, and how long the others waited. worst: the looks beside the body that delayed them most."""

    probe: Probe
    statuses: Counter[int] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    largest: tuple[int, str] = (0, "")
    worst: tuple[list[Look], str] = field(default_factory=lambda: ([Look(0, 0)], ""))
    repeated: int = 0

    def send(self, name: str, send: Callable[[], list[Answer]], *, closes: bool = False) -> None:
        found: list[Answer] = []

        def once() -> Answer:
            answers = send()
            found.extend(answers)
            return answers[-1]

        _, looks = self.probe.beside(once)
        self.repeated += len(looks) > 1
        if best(looks).seconds > best(self.worst[0]).seconds:
            self.worst = (looks, name)
        for answer in found:
            self.statuses[answer.status] += 1
            if answer.status not in _ALLOWED and not (closes and answer.status == 0):
                self.faults.append(f"{name}: {answer.status or 'no answer'} after {answer.seconds:.1f} s")
            if len(answer.content) > self.largest[0]:
                self.largest = (len(answer.content), name)

    def checks(self) -> list[Check]:
        looks, name = self.worst
        return [
            looks_check("worst GET /health meanwhile", looks, f"{name}; {self.repeated} bodies measured again"),
            Check("largest answer", (self.largest[0] / 1024,), 1024, "KiB", self.largest[1]),
            none_of("answers that no manifest may have", self.faults),
        ]

    def told(self) -> str:
        return ", ".join(f"{n} {status or 'closed'}" for status, n in sorted(self.statuses.items()))


@dataclass(frozen=True, slots=True)
class Attacked:
    service: Service
    client: Client
    probe: Probe

    def memory(self) -> float:
        """MiB of private memory of the process of API and sweep."""
        return float(psutil.Process(self.service.process.pid).memory_full_info().uss) / MiB


@contextmanager
def attacked(folder: Path) -> Iterator[Attacked]:
    """A service without workers: what is accepted stays in the queue."""
    with (
        running_service(folder, SPATIAL_ETL_WORKER__PROCESSES="0") as service,
        probing(service.url, service.process.pid) as probe,
        Client(service.url) as client,
    ):
        client.send("GET", "/health")
        yield Attacked(service, client, probe)


def bodies(folder: Path, *, short: bool, seed: int) -> Part:
    """Hostile bodies of several sizes to every route that reads a manifest, one by one, at once, and dropped."""
    del seed
    part = Part("bodies", "hostile bodies by kind and size, beside somebody who asks /health")
    sizes = of_bodies.SHORT_SIZES if short else of_bodies.SIZES
    with attacked(folder) as at:
        part.about["probe"] = at.probe.alone(3.0)
        watched = Watched(at.probe)
        for body in of_bodies.bodies(sizes):
            for path in ("/manifests",) if short else ("/manifests", "/manifests/plan"):
                progress(f"bodies: {body.name} to {path}")
                watched.send(f"{body.name} to {path}", partial(_post, at.client, path, body), closes=body.closes)
        largest = {name: make(MiB) for name, make in of_bodies.KINDS.items()}
        for name, content in largest.items():
            body = Body(name, content)
            watched.send(f"{_AT_ONCE} at once: {body.name}", partial(_post_at_once, at.service.url, body))
        part.about["answers"] = watched.told()
        part.checks += watched.checks()
        # Larger ones stay where they are.
        part.checks += _dropped(at, [content for content in largest.values() if len(content) <= MiB])
        part.about["afterwards"] = at.probe.alone(3.0)
    return part


def _post(client: Client, path: str, body: Body) -> list[Answer]:
    content = body.content if isinstance(body.content, bytes) else body.content()
    return [client.send("POST", path, content, body.headers)]


def _post_at_once(url: str, body: Body) -> list[Answer]:
    def one(_: int) -> list[Answer]:
        with Client(url) as client:
            return _post(client, "/manifests", body)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(chain.from_iterable(pool.map(one, range(_AT_ONCE))))


def _dropped(at: Attacked, largest: list[bytes]) -> list[Check]:
    """The same below `manifests/`: the sweep reads them, and what it keeps is in the listings."""

    def drop() -> Answer:
        for number, content in enumerate(largest):
            at.client.send("PUT", f"/landing/manifests/{number}.json", content)
        until = time.monotonic() + 120
        while time.monotonic() < until:
            answer = at.client.send("GET", "/landing?prefix=manifests/")
            if answer.status == 200 and not answer.json()["items"]:
                return answer
            time.sleep(0.2)
        return Answer(0, b"", 120)

    answers, looks = at.probe.beside(drop)
    listed = at.client.send("GET", "/manifests?limit=1000")
    return [
        looks_check("worst GET /health while the same are dropped", looks),
        none_of("dropped and not archived within 120 s", ["some"] * (not answers[-1].status)),
        Check("the listing of what was kept of them", (len(listed.content) / 1024,), 1024, "KiB"),
    ]


def fuzz(folder: Path, *, short: bool, seed: int) -> Part:
    """Mutated manifests, one by one."""
    count = 200 if short else 10_000
    part = Part("fuzz", f"{count:,} mutated manifests, seed {seed}")
    with attacked(folder) as at:
        part.about["probe"] = at.probe.alone(3.0)
        watched = Watched(at.probe)
        for number in range(count):
            body = made(number, seed)
            progress(f"fuzz: {number} of {count}")
            sent = Body(f"body {number}, {body.kind}", body.content, {"Content-Type": body.content_type})
            watched.send(sent.name, partial(_post, at.client, "/manifests", sent))
        part.about["answers"] = watched.told()
        part.checks += watched.checks()
        good = watched.statuses[202] + watched.statuses[200]
        # Else only the parser was attacked.
        part.checks.append(none_of("kinds of answers that did not occur", [] if good else ["accepted"]))
    return part


def leak(folder: Path, *, short: bool, seed: int) -> Part:
    """Private memory of the API before and after thousands of refused manifests."""
    count = 500 if short else 5_000
    part = Part("leak", f"memory after {count:,} refused manifests, seed {seed}")
    with attacked(folder) as at:
        numbers = iter(range(10**9))
        _refuse(at.client, numbers, seed, count // 5)
        before = at.memory()
        grown: list[float] = []
        # What is kept for each of them grows every time; what the allocator keeps does not.
        while len(grown) < 3 and (not grown or grown[-1] > _LEAK_MIB):
            _refuse(at.client, numbers, seed, count)
            after = at.memory()
            grown.append(after - before)
            before = after
        part.about["memory"] = f"{before:.0f} MiB at the end, warmed up with {count // 5}"
        part.checks.append(Check("more private memory of the API", tuple(grown), _LEAK_MIB, "MiB"))
    return part


def _refuse(client: Client, numbers: Iterator[int], seed: int, count: int) -> None:
    refused = 0
    while refused < count:
        progress(f"leak: {refused} of {count}")
        body = made(next(numbers), seed)
        sent = Body(body.kind, body.content, {"Content-Type": body.content_type})
        refused += _post(client, "/manifests", sent)[0].status not in (200, 202)
