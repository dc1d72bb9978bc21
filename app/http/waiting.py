"""How many requests of one client may wait at once: event streams, and requests with `wait`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fastapi import Request
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from app.errors import RateLimited


class WaitingRoom:
    """Counts who waits in this process. client: a key, or an address without one."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._waiting: Counter[str] = Counter()

    def enter(self, client: str) -> Callable[[], None]:
        """Take a place; returns what gives it back, once. Raises RateLimited when the client has no place left."""
        if self._waiting[client] >= self._most:
            raise RateLimited(
                f"More than {self._most} event streams and waiting requests of the {client} are open.",
                "End some of them, or ask without `wait`. The limit: SPATIAL_ETL_API__MAX_WAITING.",
            )
        self._waiting[client] += 1
        left = False

        def leave() -> None:
            nonlocal left
            if not left:
                left = True
                self._waiting[client] -= 1
                if not self._waiting[client]:
                    del self._waiting[client]

        return leave

    @contextmanager
    def waiting(self, client: str) -> Iterator[None]:
        """Take a place while the body runs. Raises RateLimited."""
        leave = self.enter(client)
        try:
            yield
        finally:
            leave()


class WaitingStream(StreamingResponse):
    """A stream that gives its place back when it ends, even if it never began. Set `leave` after it was made."""

    leave: Callable[[], None]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self.leave()


def client_of(request: Request) -> str:
    """Who is counted for this request: the key, or the address."""
    client: str = request.state.client
    return client
