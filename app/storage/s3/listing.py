"""Listings: whole pages of valid keys, from servers that differ in what they take as a prefix or a start.

A request continues by the token of the page before, so that names which are no valid keys (and are never shown) cannot
hold a listing up. A listing that does not advance ends with an error.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from typing import Any

from botocore.parsers import ResponseParserError

from app.errors import InvalidKey, StoreUnavailable
from app.objects import Listing, ObjectInfo, begins_a_key, is_key
from app.storage.s3.errors import Location, code_of, translated
from app.storage.s3.metadata import etag_of, to_seconds

# MinIO answers MaxKeys=1 with a prefix that is itself a key by that key alone, and "not truncated".
_LEAST_KEYS, _MOST_KEYS = 2, 1000
_NOT_IN_A_KEY = re.compile(r"[\x00-\x1f\x7f\\\ud800-\udfff]")
_DOTS = (".", "..")
_RENAME = "If a key that follows has control characters, delete or rename it with another client of the object store."

Entry = dict[str, Any]


async def list_page(
    client: Any, location: Location, prefix: str, after: str, limit: int, only: Callable[[str], bool] | None
) -> Listing:
    """See `ObjectStore.list_objects`. Names that are no valid keys (such as `folder/`) are skipped."""
    # All keys with the prefix come before such an `after`, which MinIO refuses.
    if not begins_a_key(prefix) or (after > prefix and not after.startswith(prefix)):
        return Listing(())
    found: list[ObjectInfo] = []
    async for entries, more in pages(client, location, prefix, after, limit + 1):
        for entry in entries:
            key = entry["Key"]
            if key > after and key.startswith(prefix) and is_key(key) and (only is None or only(key)):
                found.append(ObjectInfo(key, entry["Size"], etag_of(entry), to_seconds(entry["LastModified"])))
        if len(found) > limit or (more and len(found) == limit):
            return Listing(tuple(found[:limit]), found[limit - 1].key)
        if entries and entries[-1]["Key"] > prefix and not entries[-1]["Key"].startswith(prefix):
            break  # a shorter prefix was asked for
    return Listing(tuple(found))


async def pages(
    client: Any, location: Location, prefix: str, after: str, size: int
) -> AsyncIterator[tuple[list[Entry], bool]]:
    """Yield the pages of a server, and whether there are more: at least the entries with that prefix after that key.

    Raises StoreUnavailable where a page does not come after the one before.
    """
    asked = cut(prefix)
    request = {"Bucket": location.bucket, "Prefix": asked, "MaxKeys": min(max(size, _LEAST_KEYS), _MOST_KEYS)}
    start = cut(after)
    if start.startswith(asked) and start != asked:
        request["StartAfter"] = start
    last, more = "", True
    while more:
        try:
            page = await _answer(client, location, request)
        except _UnreadableError as error:
            if request["MaxKeys"] == _MOST_KEYS:
                raise _is_unreadable(location, last or start) from error
            # Ceph writes its token, a key, as it is: XML allows no control characters. A long page may need none.
            request["MaxKeys"] = _MOST_KEYS
            continue
        entries, more = page.get("Contents", []), bool(page.get("IsTruncated"))
        token = page.get("NextContinuationToken")
        repeated = bool(entries) and entries[-1]["Key"] <= last
        if repeated or (more and token in (None, "", request.get("ContinuationToken"))):
            raise _does_not_advance(location, last or (entries[-1]["Key"] if entries else ""))
        yield entries, more
        last = entries[-1]["Key"] if entries else last
        request["ContinuationToken"] = token


class _UnreadableError(Exception):
    """The answer is no XML, or the server failed."""


async def _answer(client: Any, location: Location, request: dict[str, Any]) -> dict[str, Any]:
    try:
        with translated(location):
            page: dict[str, Any] = await client.list_objects_v2(**request)
            return page
    except InvalidKey:
        return {}  # the server can hold no name with this prefix
    except StoreUnavailable as error:
        # The client takes an answer that is no XML for a failure of the server.
        if isinstance(error.__cause__, ResponseParserError) or code_of(error.__cause__) == "500":
            raise _UnreadableError from error
        raise


def cut(text: str) -> str:
    """Return the text up to what servers refuse in a prefix or start: control characters, parts `.`, `..` and ``.

    What is listed from there on is more, never less.
    """
    *folders, last = _NOT_IN_A_KEY.split(text, maxsplit=1)[0].split("/")
    kept: list[str] = []
    for folder in folders:
        if folder.strip() in ("", *_DOTS):  # MinIO takes white space around the dots away
            return "".join(f"{each}/" for each in kept)
        kept.append(folder)
    return "/".join([*kept, "" if last.strip() in _DOTS else last])


def _does_not_advance(location: Location, key: str) -> StoreUnavailable:
    return StoreUnavailable(f"{_listing(location)} does not advance {_place(key)}.", _RENAME)


def _is_unreadable(location: Location, key: str) -> StoreUnavailable:
    return StoreUnavailable(f"{_listing(location)} cannot be read {_place(key)}.", f"Check its log. {_RENAME}")


def _listing(location: Location) -> str:
    return f"The listing of the bucket {location.bucket!r} at {location.endpoint}"


def _place(key: str) -> str:
    return f"after the key {key!r}" if key else "from its first key on"
