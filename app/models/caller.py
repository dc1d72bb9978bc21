"""Who asks: the holder of an API key, or whoever reaches a service that demands none."""

from __future__ import annotations

from dataclasses import dataclass

from app.models.api_key import ANONYMOUS, Scope


@dataclass(frozen=True, slots=True)
class Caller:
    """prefixes: of the landing zone, outside of which nothing is read or written; none: all of it."""

    user: str = ANONYMOUS
    ip: str | None = None
    scope: Scope = Scope.ADMIN
    prefixes: tuple[str, ...] = ()

    def may_use(self, key: str) -> bool:
        """Whether an object of the landing zone is one of the caller's."""
        return not self.prefixes or key.startswith(self.prefixes)


# Of a service that demands no key.
ANYBODY = Caller()
