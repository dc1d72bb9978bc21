"""Objects as HTTP responses: conditional requests and byte ranges (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

from fastapi.responses import Response, StreamingResponse

from app.errors import RangeNotSatisfiable
from app.models.numbers import whole_number
from app.objects import ObjectInfo, ObjectStore

_ONE_RANGE = re.compile(r"bytes=([0-9]*)-([0-9]*)")


def etag_matches(if_none_match: str | None, etag: str) -> bool:
    """Weak comparison of one ETag with an If-None-Match header."""
    if if_none_match is None:
        return False
    given = [tag.strip().removeprefix("W/") for tag in if_none_match.split(",")]
    return "*" in given or etag in given


def parse_range(header: str | None, size: int) -> tuple[int, int] | None:
    """(start, end) of a Range header, end exclusive; None to send everything (no, several or unreadable ranges).

    Raises RangeNotSatisfiable when the range begins after the end of the object.
    """
    match = _ONE_RANGE.fullmatch(header.strip()) if header else None
    if header is None or match is None or match.group(0) == "bytes=-":
        return None
    first, last = (whole_number(group) for group in match.groups())
    if first is None:
        start, end = max(0, size - (last or 0)), size
    else:
        start, end = first, size if last is None else min(size, last + 1)
        if last is not None and last < first:
            return None
    if start >= size or start >= end:
        raise RangeNotSatisfiable(
            f"The range {header[:80]!r} begins after the end of the object ({size} bytes).",
            f"Use bytes=0-{max(size - 1, 0)}.",
        )
    return start, end


async def object_response(
    store: ObjectStore,
    bucket: str,
    info: ObjectInfo,
    *,
    etag: str,
    media_type: str,
    file_name: str,
    range_header: str | None,
    if_none_match: str | None,
) -> Response:
    """The object's bytes: whole (200), one range (206), or nothing new (304).

    Raises StoreUnavailable when the object was replaced since `info` was read: its ETag and size would be wrong.
    """
    headers = {
        "ETag": etag,
        "Accept-Ranges": "bytes",
        "Content-Disposition": f'attachment; filename="{file_name}"',
        "X-Content-Type-Options": "nosniff",
    }
    if etag_matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    wanted = parse_range(range_header, info.size)
    start, end = wanted or (0, info.size)
    headers["Content-Length"] = str(end - start)
    if wanted:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{info.size}"
    chunks = store.read(bucket, info.key, start=start, end=end, etag=info.etag)
    # Before the head is sent: errors come with the first bytes.
    first = await anext(chunks, b"")
    return StreamingResponse(_continued(first, chunks), 206 if wanted else 200, headers, media_type)


async def _continued(first: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield first
    async for chunk in chunks:
        yield chunk
