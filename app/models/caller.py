"""The caller of a request: the holder of an API key, or any client if the service requires no key."""

from __future__ import annotations

from dataclasses import dataclass

from app.models.api_key import ANONYMOUS, Scope


@dataclass(frozen=True, slots=True)
class Caller:
    """Who makes a request.

    prefixes: the folders of the landing zone that the caller may use. Empty: all.
    without_key: the service requires a key, and this path answers without one too, with less.
    """

    user: str = ANONYMOUS
    ip: str | None = None
    scope: Scope = Scope.ADMIN
    prefixes: tuple[str, ...] = ()
    without_key: bool = False

    def may_use(self, key: str) -> bool:
        """Return whether the caller may use this object of the landing zone."""
        return not self.prefixes or key.startswith(self.prefixes)


# The caller when no key is required.
ANYBODY = Caller()
