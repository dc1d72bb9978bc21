"""Whole listings: every item of a paged listing, page by page, so that memory is bounded by one page."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from app.models.page import Page, Slice
from app.objects import ObjectInfo, ObjectStore

T = TypeVar("T")
S = TypeVar("S")


async def all_items(read: Callable[[Page], Awaitable[Slice[T]]], page_size: int = 1000) -> AsyncIterator[T]:
    """Every item of a listing of the ledger.

    Args:
        read: reads one page, e.g. `lambda page: ledger.list_runs(where, page)`.
        page_size: items of one page.
    """
    page: Page | None = Page(limit=page_size)
    while page is not None:
        found = await read(page)
        for item in found.items:
            yield item
        page = Page(page_size, found.next_cursor) if found.next_cursor else None


async def read_in_parts(
    read: Callable[[Page], Awaitable[Slice[T]]], page: Page, shorten: Callable[[T], S], part: int = 10
) -> Slice[S]:
    """One page of a listing whose items may be large: read a few at a time, and kept as `shorten` makes them."""
    found: list[S] = []
    cursor = page.cursor
    while True:
        some = await read(Page(min(part, page.limit - len(found)), cursor))
        found += map(shorten, some.items)
        cursor = some.next_cursor
        if cursor is None or len(found) >= page.limit:
            return Slice(tuple(found), cursor)


async def all_objects(objects: ObjectStore, bucket: str, prefix: str) -> AsyncIterator[ObjectInfo]:
    """Every object of the bucket whose key begins with `prefix`, in key order."""
    after: str | None = ""
    while after is not None:
        listing = await objects.list_objects(bucket, prefix, after)
        for info in listing.objects:
            yield info
        after = listing.next_after
