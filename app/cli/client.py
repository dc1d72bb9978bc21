"""A client of the REST API: problems become exceptions, pages become lists."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx

from app.cli.show import visible

Json = dict[str, Any]

_CHUNK = 1024 * 1024


class ServiceError(Exception):
    """The service answered with a problem, or did not answer (problem is None)."""

    def __init__(self, message: str, problem: Json | None = None) -> None:
        super().__init__(message)
        self.problem = problem


class Client:
    """A client of one service. key: API key, if the service requires one."""

    def __init__(self, url: str, key: str | None = None) -> None:
        self.url = url.rstrip("/")
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        self._http = httpx.Client(
            base_url=self.url, headers=headers, timeout=httpx.Timeout(30, read=300), trust_env=False
        )

    def close(self) -> None:
        self._http.close()

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Send a request. Raises ServiceError for every status from 400 on, and without an answer."""
        try:
            response = self._http.request(method, path, **options)
        except httpx.HTTPError as err:
            raise ServiceError(
                f"No answer from {self.url} ({err}). Is it running? Start it with: spatial-etl serve"
            ) from err
        if response.is_error:
            raise _error(response)
        return response

    def get(self, path: str, **params: Any) -> Any:
        wanted = {name: value for name, value in params.items() if value is not None}
        return self.request("GET", path, params=wanted).json()

    def items(self, path: str, limit: int, **params: Any) -> list[Json]:
        """Up to `limit` items of a listing, from as many pages as needed."""
        found: list[Json] = []
        page = self.get(path, limit=min(limit, 1000), **params)
        while True:
            found += page["items"]
            if len(found) >= limit or not page.get("next"):
                return found[:limit]
            page = self.get(page["next"])

    def upload(self, path: Path, key: str, progress: Callable[[int], None] = lambda _bytes: None) -> Json:
        """Stream a local file into the landing zone."""

        def chunks() -> Iterator[bytes]:
            with path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    progress(len(chunk))
                    yield chunk

        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(path.stat().st_size)}
        answer: Json = self.request("PUT", f"/landing/{quote(key)}", content=chunks(), headers=headers).json()
        return answer

    def submit(self, manifest: Any) -> tuple[Json, bool]:
        """Submit a manifest; returns its run, and whether it is new."""
        response = self.request("POST", "/manifests", json=manifest)
        return response.json(), response.status_code == httpx.codes.ACCEPTED

    def follow(self, run_id: str, seen: Callable[[Json], None] = lambda _run: None, every: float = 0.1) -> Json:
        """Poll the run until it is over; `seen` is called with each change."""
        etag = ""
        while True:
            response = self.request("GET", f"/runs/{run_id}", headers={"If-None-Match": etag} if etag else {})
            if response.status_code == httpx.codes.OK:
                run: Json = response.json()
                etag = response.headers["ETag"]
                seen(run)
                if run["status"] in ("success", "failure", "canceled"):
                    return run
            time.sleep(every)


@contextmanager
def connected(url: str, key: str | None = None) -> Iterator[Client]:
    client = Client(url, key)
    try:
        yield client
    finally:
        client.close()


def _error(response: httpx.Response) -> ServiceError:
    try:
        problem: Json = response.json()
    except ValueError:
        return ServiceError(f"{response.request.url} answered {response.status_code}.")
    lines = [f"{problem.get('detail', response.status_code)} {problem.get('fix', '')}".strip()]
    lines += [f"  {e['pointer'] or '/'}: {e['detail']} {e['fix']} [{e['code']}]" for e in problem.get("errors", [])]
    # Each is one line: what others have written cannot begin another.
    return ServiceError("\n".join(visible(line) for line in lines), problem)
