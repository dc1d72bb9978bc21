"""Keyset pages: a cursor names the last item seen, so pages stay right while rows are added."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page:
    """What the caller asks for: at most `limit` items after `cursor` (None: from the start)."""

    limit: int = 50
    cursor: str | None = None


@dataclass(frozen=True, slots=True)
class Slice(Generic[T]):
    """One page of items; `next_cursor` is None on the last one."""

    items: tuple[T, ...]
    next_cursor: str | None = None
