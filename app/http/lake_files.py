"""Objects of the lake as downloads: a redirect to a presigned URL, or their bytes."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Header, Response
from fastapi.responses import RedirectResponse

from app.clients import Clients
from app.errors import NotFound
from app.http.problems import responses
from app.http.streaming import etag_matches, object_response
from app.models.manifests.manifest import LAKE_BUCKET

RangeHeader = Annotated[str | None, Header(alias="Range", description="One byte range.")]
EtagHeader = Annotated[str | None, Header()]
FILE_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: {"description": "The file.", "content": {"application/vnd.apache.parquet": {}}},
    206: {"description": "The range that was asked for."},
    304: {"description": "Nothing changed since the ETag in If-None-Match."},
    307: {
        "description": "Redirect to a presigned URL of the object store, which expires.",
        "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
    },
    **responses(404, 410, 416, 422),
}


async def lake_file(
    clients: Clients,
    key: str,
    *,
    etag: str,
    media_type: str,
    file_name: str,
    range_header: str | None,
    if_none_match: str | None,
) -> Response:
    """The object, or a redirect to it. Raises NotFound, RangeNotSatisfiable."""
    info = await clients.objects.stat(LAKE_BUCKET, key)
    if info is None:
        raise NotFound(
            f"The object {key!r} is missing in the lake.", "Restore it from a backup, or run the batch again."
        )
    if not etag_matches(if_none_match, etag):
        presigned = await clients.objects.presign("GET", LAKE_BUCKET, key)
        if presigned is not None:  # which the client follows with the same Range
            return RedirectResponse(presigned.url, 307, {"ETag": etag, "Cache-Control": "no-store"})
    return await object_response(
        clients.objects,
        LAKE_BUCKET,
        info,
        etag=etag,
        media_type=media_type,
        file_name=file_name,
        range_header=range_header,
        if_none_match=if_none_match,
    )
