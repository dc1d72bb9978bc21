"""Pages of a MongoDB collection: the query after a cursor, and the slice made of its documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, TypeVar

from app.models.page import Page, Slice
from app.storage.mongo.documents import Document, milliseconds
from app.storage.shared.ledger_rules import decode_cursor, encode_cursor, plain_text

T = TypeVar("T")
SortKey = tuple[tuple[str, type[datetime | str | int]], ...]


class Listing:
    """One page of a collection, newest first by `key`, whose last field is unique.

    So documents of equal time keep their order across pages. `sort_at` is used for the time in the key.

    Attributes:
        sort: the order, for `Collection.many`.
        limit: one more than the page holds, to see whether there is a next page.
    """

    def __init__(self, name: str, key: SortKey, page: Page) -> None:
        if page.limit < 1:
            raise ValueError(f"A page has at least one item, not {page.limit}.")
        self._name, self._page = name, page
        self._key = tuple(field for field, _ in key)
        self._fields = tuple("sort_at" if kind is datetime else field for field, kind in key)
        self._last: tuple[Any, ...] | None = None
        if page.cursor is not None:
            last = decode_cursor(name, page.cursor, tuple(kind for _, kind in key))
            self._last = tuple(_comparable(part) for part in last)
        self.sort = tuple((field, -1) for field in self._fields)
        self.limit = page.limit + 1

    def query(self, terms: Mapping[str, Any], after: Document | None = None) -> Document:
        """Return a query for the documents of `terms` that come after the cursor, or after the document `after`."""
        last = self._last if after is None else tuple(after[field] for field in self._fields)
        if last is None:
            return dict(terms)
        later = [
            {**dict(zip(self._fields[:index], last[:index], strict=True)), field: {"$lt": last[index]}}
            for index, field in enumerate(self._fields)
        ]
        # The bound of the first field repeats the condition, so that the index scan begins where the page does.
        return {"$and": [dict(terms), {self._fields[0]: {"$lte": last[0]}, "$or": later}]}

    def slice(self, found: list[Document], make: Callable[[Mapping[str, Any]], T]) -> Slice[T]:
        """Return the page of the documents found, as models, with the cursor of the next page."""
        cursor = None
        if len(found) > self._page.limit:
            last = found[self._page.limit - 1]
            cursor = encode_cursor(self._name, tuple(last[field] for field in self._key))
        return Slice(tuple(make(each) for each in found[: self._page.limit]), cursor)


def _comparable(part: datetime | str | int) -> str | int:
    if isinstance(part, datetime):
        return milliseconds(part)
    return plain_text(part) if isinstance(part, str) else part
