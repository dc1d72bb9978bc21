"""A client that costs little beside what it measures: one kept connection, opened again where the service closed it."""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

# Seconds. An answer that takes longer counts as none.
PATIENCE = 150.0


@dataclass(frozen=True, slots=True)
class Answer:
    """status 0: none came; the service closed the connection, or the time was over. seconds: until it was read."""

    status: int
    content: bytes
    seconds: float
    link: str = ""

    def json(self) -> Any:
        return json.loads(self.content)

    def next_page(self) -> str:
        """Path and query of the next page; empty at the last one."""
        found = urlsplit(self.link.partition("<")[2].partition(">")[0])
        return f"{found.path}?{found.query}" if 'rel="next"' in self.link else ""


class Client:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        self._connection = http.client.HTTPConnection(parts.hostname or "127.0.0.1", parts.port, timeout=PATIENCE)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._connection.close()

    def send(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Chunks of bytes as a body are sent without a length."""
        began = time.monotonic()
        kept = self._connection.sock is not None
        found = self._once(method, path, body, headers)
        if found is None and kept and isinstance(body, bytes | None):
            # The service closes a connection that was idle for some seconds.
            found = self._once(method, path, body, headers)
        status, content, link = found or (0, b"", "")
        return Answer(status, content, time.monotonic() - began, link)

    def _once(
        self, method: str, path: str, body: Any, headers: Mapping[str, str] | None
    ) -> tuple[int, bytes, str] | None:
        try:
            self._connection.request(method, path, body, dict(headers or {}))
            response = self._connection.getresponse()
            return response.status, response.read(), response.headers.get("Link", "")
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return None

    def post(self, path: str, document: Any) -> Answer:
        return self.send("POST", path, json.dumps(document).encode(), {"Content-Type": "application/json"})
