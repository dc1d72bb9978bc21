"""The state of the service after the faults, gathered once, as plain data for the checks."""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import psutil

from chaos.book import Book
from chaos.client import Answers
from chaos.system import System

Json = dict[str, Any]

FINAL = ("success", "failure", "canceled")
# After that long without a change there will be none: leases, deadlines and the scan for old scratch are shorter.
_STUCK_SECONDS = 90.0
_LOOK_EVERY = 2.0
_PAGE = {"limit": 1000}


@dataclass
class Evidence:
    """runs: by run_id. events: by run_id, oldest first. counters: newest number given out for each dataset.

    lake: size and sha256 by key. memory: highest MiB by role. silent: active runs that were seen without a deadline.
    """

    book: Book
    answers: Answers
    max_attempts: int
    manifests: dict[str, Json] = field(default_factory=dict)
    runs: dict[str, Json] = field(default_factory=dict)
    events: dict[str, list[Json]] = field(default_factory=dict)
    assets: list[Json] = field(default_factory=list)
    activity: list[Json] = field(default_factory=list)
    deliveries: list[Json] = field(default_factory=list)
    counters: dict[str, int] = field(default_factory=dict)
    totals: dict[str, int] = field(default_factory=dict)
    documents: dict[str, int] = field(default_factory=dict)
    repairs: dict[str, int] = field(default_factory=dict)
    lake: Mapping[str, tuple[int, str]] = field(default_factory=dict)
    landing: dict[str, str] = field(default_factory=dict)
    scratch: list[str] = field(default_factory=list)
    schemas: list[str] = field(default_factory=list)
    processes: list[str] = field(default_factory=list)
    memory: dict[str, float] = field(default_factory=dict)
    without_deadline: list[str] = field(default_factory=list)
    leaks: list[str] = field(default_factory=list)
    tracebacks: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


class Watch:
    """Polls the service during the campaign."""

    def __init__(self) -> None:
        self.memory: dict[str, float] = {}
        self.without_deadline: list[str] = []

    @contextmanager
    def looking(self, system: System) -> Iterator[None]:
        over = threading.Event()

        def go_on() -> None:
            while not over.wait(_LOOK_EVERY):
                self._look(system)

        thread = threading.Thread(target=go_on)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    def _look(self, system: System) -> None:
        for process in system.api_processes():
            try:
                name, size = " ".join(process.cmdline()[2:4]), process.memory_info().rss / 2**20
            except psutil.NoSuchProcess:
                continue
            self.memory[name] = max(size, self.memory.get(name, 0))
        for status in ("running", "canceling"):
            try:
                response = httpx.get(f"{system.direct_url}/runs", params={"status": status}, timeout=2, trust_env=False)
            except httpx.HTTPError:
                continue
            if response.status_code == 200:
                self.without_deadline += [
                    f"run {run['run_id']} is {status} without a lease"
                    for run in response.json()["items"]
                    if not (run.get("lease") or {}).get("expires_at")
                ]


def settle(system: System) -> float:
    """Wait until no work is active or left over, or nothing changes any more; the seconds that it took."""
    began = changed = time.monotonic()
    last: list[str] = []
    while (left := _left(system)) and time.monotonic() - changed < _STUCK_SECONDS:
        if left != last:
            last, changed = left, time.monotonic()
        time.sleep(0.25)
    return time.monotonic() - began


def _left(system: System) -> list[str]:
    """What has not reached its final state yet."""
    if not system.ready():
        return ["the servers"]
    left = [*system.scratch(), *system.schemas()]
    with httpx.Client(base_url=system.direct_url, timeout=30, trust_env=False) as http:
        for status in ("queued", "running", "canceling"):
            runs = http.get("/runs", params={"status": status, "limit": 1000}).json().get("items", [])
            left += [f"{run['run_id']} {run['status']} {run['attempt']} {run['step']}" for run in runs]
        deliveries = http.get("/webhooks/deliveries", params={"status": "received"}).json().get("items", [])
        left += [each["delivery_id"] for each in deliveries]
        left += [each["key"] for each in http.get("/landing", params={"prefix": "manifests/"}).json().get("items", [])]
        if not left:
            registered = {key for asset in _versions(http) for key in keys_of(asset)}
            left = sorted(set(system.lake()) - registered)
    return left


def gather(system: System, book: Book, answers: Answers, watch: Watch, max_attempts: int) -> Evidence:
    found = Evidence(book, answers, max_attempts, memory=watch.memory, without_deadline=watch.without_deadline)
    with httpx.Client(base_url=system.direct_url, timeout=30, trust_env=False) as http:
        found.manifests = {each["batch_id"]: each for each in _all(http, "/manifests")}
        found.runs = {each["run_id"]: each for each in _all(http, "/runs")}
        found.events = {run_id: _events(http, run_id) for run_id in found.runs}
        found.assets = _versions(http)
        found.activity = _all(http, "/activity")
        found.deliveries = _all(http, "/webhooks/deliveries")
        found.landing = {key: hashlib.sha256(http.get(f"/landing/{key}").content).hexdigest() for key in book.uploads}
        left = http.get("/landing", params={"prefix": "manifests/"}).json()["items"]
        metrics = http.get("/metrics").text
    found.scratch = [*system.scratch(), *(f"landing-zone/{each['key']}" for each in left)]
    found.totals, found.repairs = _run_totals(metrics), _samples(metrics, "spatial_etl_repairs_total")
    found.counters = _numbers_given(system)
    found.documents = {name: len(system.documents(name)) for name in ("manifests", "runs", "run_events", "assets")}
    found.lake, found.schemas = system.lake(), system.schemas()
    return found


def add_logs(found: Evidence, system: System) -> None:
    """After everything was stopped: add processes that still run, and findings in the logs."""
    found.processes = [f"{each.pid} {' '.join(each.cmdline())[:120]}" for each in system.processes()]
    for path in sorted(system.logs.iterdir()):
        text = path.read_text(errors="replace")
        found.leaks += [f"{path.name} has a secret ({secret[:4]}…)" for secret in system.secrets() if secret in text]
        found.tracebacks += [f"{path.name}: {each}" for each in _tracebacks(text)]


def _tracebacks(text: str) -> list[str]:
    """The last line of each."""
    return re.findall(r"^Traceback.*\n(?:(?:[ \t|+].*)?\n)*(\S.*)", text, flags=re.MULTILINE)


def _all(http: httpx.Client, path: str) -> list[Json]:
    items: list[Json] = []
    url: str | None = path
    params: Mapping[str, int] | None = _PAGE
    while url:
        page = http.get(url, params=params).raise_for_status().json()
        items += page["items"]
        url, params = page.get("next"), None
    return items


def _events(http: httpx.Client, run_id: str) -> list[Json]:
    items: list[Json] = []
    while True:
        after = items[-1]["seq"] if items else 0
        page = http.get(f"/runs/{run_id}/events", params={"after": after, **_PAGE}).raise_for_status().json()
        items += page
        if len(page) < _PAGE["limit"]:
            return items


def _versions(http: httpx.Client) -> list[Json]:
    """All of all datasets."""
    newest = _all(http, "/assets")
    return [
        version
        for asset in newest
        for version in ([asset] if asset["version"] == 1 else _all(http, f"/assets/{asset['dataset_id']}"))
    ]


def keys_of(asset: Json) -> dict[str, tuple[int, str]]:
    """Size and hash of the objects of a version, as the catalogue says, by key."""
    files = [asset, *asset["metadata"].get("companions", ())]
    return {file["s3_key"]: (file["size"], file["content_hash"]) for file in files}


def _samples(metrics: str, name: str) -> dict[str, int]:
    """The values of a metric by their labels, as they are written."""
    lines = re.findall(rf"^{name}\{{([^}}]*)\}} (\S+)$", metrics, flags=re.MULTILINE)
    return {labels: int(float(value)) for labels, value in lines}


def _run_totals(metrics: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for labels, value in _samples(metrics, "spatial_etl_runs").items():
        (status,) = re.findall(r'status="(\w+)"', labels)
        found[status] = found.get(status, 0) + value
    return found


def _numbers_given(system: System) -> dict[str, int]:
    """The two kinds of ledger name these fields in their own way."""
    rows = system.documents("dataset_versions")
    return {
        str(row.get("dataset_id", row.get("_id"))): int(row.get("last_version", row.get("value", 0))) for row in rows
    }
