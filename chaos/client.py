"""A correct client: it repeats a request without an answer, or with Retry-After, always with the same batch_id."""

from __future__ import annotations

import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx

Json = dict[str, Any]

# Longer than the longest fault and its repair.
_PATIENCE = 150.0
_TIMEOUT = httpx.Timeout(8, connect=3)
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 2.0


class GivenUpError(Exception):
    """No answer within the patience of the client."""


@dataclass
class Answers:
    """Answers to all clients. broken: requests without an answer. bad: answers that must not occur."""

    statuses: Counter[int] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, request: str, response: httpx.Response) -> None:
        with self.lock:
            self.statuses[response.status_code] += 1
            if response.status_code >= 500 and (reason := what_is_bad(response)):
                self.bad.append(f"{request}: {response.status_code}, {reason}")

    def add_broken(self, err: httpx.HTTPError) -> None:
        with self.lock:
            self.broken[type(err).__name__] += 1


def what_is_bad(response: httpx.Response) -> str:
    """Why this 5xx is not a proper problem document that names the failed server; empty if it is."""
    if not response.headers.get("content-type", "").startswith("application/problem+json"):
        return f"no problem+json but {response.headers.get('content-type')!r}: {response.text[:200]!r}"
    problem = response.json()
    if not (problem.get("code") and problem.get("detail")) or problem.get("status") != response.status_code:
        return f"an incomplete problem: {problem}"
    if problem["code"] == "internal_error":
        return f"an unknown error: {problem}"
    if response.status_code == 503 and "retry-after" not in response.headers:
        return f"no Retry-After: {problem}"
    return ""


class Client:
    """The client of one thread. tries: how often its last request was sent; each may have taken effect."""

    def __init__(self, url: str, answers: Answers, over: threading.Event) -> None:
        self._http = httpx.Client(base_url=url, timeout=_TIMEOUT, trust_env=False)
        self._answers, self._over = answers, over
        self.tries = 0

    def close(self) -> None:
        self._http.close()

    def send(self, method: str, path: str, **more: Any) -> httpx.Response:
        """Repeat the request until an answer is below 500 and not 429. Raises GivenUpError."""
        deadline = time.monotonic() + _PATIENCE
        pause = _FIRST_PAUSE
        self.tries = 0
        while time.monotonic() < deadline:
            self.tries += 1
            try:
                response = self._http.request(method, path, **more)
                self._answers.add(f"{method} {path}", response)
                if response.status_code < 500 and response.status_code != 429:
                    return response
            except httpx.HTTPError as err:
                self._answers.add_broken(err)
            time.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
        raise GivenUpError(f"{method} {path}: no answer for {_PATIENCE:g} s")

    def once(self, method: str, path: str, **more: Any) -> httpx.Response | None:
        """Send once: the answer, or None if there was none."""
        try:
            response = self._http.request(method, path, **more)
        except httpx.HTTPError as err:
            self._answers.add_broken(err)
            return None
        self._answers.add(f"{method} {path}", response)
        return response

    def run_over(self, run_id: str, patience: float) -> Json | None:
        """Wait for the end of a run; None if it is not over in time."""
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and not self._over.is_set():
            run: Json = self.send("GET", f"/runs/{run_id}", params={"wait": 3}).json()
            if run["status"] in ("success", "failure", "canceled"):
                return run
        return None
