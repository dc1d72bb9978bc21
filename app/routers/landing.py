"""The landing zone: browse, upload, read and delete source files."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from app.deps import CallerDep, ClientsDep, SettingsDep
from app.errors import InvalidRequest
from app.http.examples import EXAMPLE_KEY, LANDING_BODY, PRESIGN_EXAMPLE
from app.http.problems import responses
from app.http.streaming import object_response
from app.http.views import landing_link, next_link
from app.messages.request import SIZE_NOT_BOUND
from app.models.manifests.manifest import LANDING_BUCKET
from app.objects import ObjectInfo
from app.services.intake import landing

router = APIRouter(prefix="/landing", tags=["landing"])

Key = Annotated[str, EXAMPLE_KEY]


class LandingObject(BaseModel):
    """One source file. path: as it is written in a manifest."""

    key: str
    path: str
    size: int
    etag: str
    modified_at: datetime
    sha256: str | None
    links: dict[str, str]


class LandingPage(BaseModel):
    """One page, in key order."""

    items: list[LandingObject]
    next: str | None = None


class PresignRequest(BaseModel):
    """PUT takes the bytes as they are; POST takes a browser's form, and binds the size."""

    model_config = ConfigDict(extra="forbid", json_schema_extra={"example": PRESIGN_EXAMPLE})

    key: str
    method: Literal["PUT", "POST"] = "PUT"
    max_bytes: int | None = Field(
        None, ge=1, description="Largest size, for POST only; default: SPATIAL_ETL_API__MAX_UPLOAD_BYTES."
    )


class Presigned(BaseModel):
    """The URL allows writing this one object until it expires. fields: form fields to send before the file."""

    url: str
    method: Literal["PUT", "POST"]
    expires_at: datetime
    fields: dict[str, str]
    path: str


def _view(info: ObjectInfo) -> LandingObject:
    return LandingObject(
        key=info.key,
        path=f"s3://{LANDING_BUCKET}/{info.key}",
        size=info.size,
        etag=info.etag,
        modified_at=info.modified_at,
        sha256=info.sha256,
        links={"self": landing_link(info.key)},
    )


@router.get("", summary="List the landing zone", responses=responses(422))
async def list_landing(
    clients: ClientsDep,
    caller: CallerDep,
    request: Request,
    response: Response,
    prefix: str = "",
    after: Annotated[str, Query(description="Only keys after this one.")] = "",
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> LandingPage:
    """Objects in key order. An API key with prefixes sees only objects below them."""
    listing = await landing.browse(clients, prefix, after, limit, caller=caller)
    items = [_view(info) for info in listing.objects]
    return LandingPage(items=items, next=next_link(request, response, after=listing.next_after))


@router.post("/presign", summary="Get a URL to upload to", responses=responses(400, 409, 413, 422, 501))
async def presign_landing(
    wanted: PresignRequest, clients: ClientsDep, settings: SettingsDep, caller: CallerDep
) -> Presigned:
    """An upload straight to the object store. 501 where that is a directory: use PUT /landing/{key} there.

    409 (`key_conflict`): as PUT /landing/{key}. The holder of the URL is not checked again when it is used.
    """
    limit = settings.api.max_upload_bytes
    if wanted.max_bytes is not None and wanted.method == "PUT":
        fault = SIZE_NOT_BOUND("/max_bytes")
        raise InvalidRequest(fault.detail, fault.fix, (fault,))
    size = min(wanted.max_bytes or limit, limit)
    url = await landing.presign(clients, wanted.key, wanted.method, max_bytes=size, caller=caller)
    return Presigned(
        url=url.url,
        method=wanted.method,
        expires_at=url.expires_at,
        fields=dict(url.fields),
        path=f"s3://{LANDING_BUCKET}/{wanted.key}",
    )


@router.put(
    "/{key:path}",
    summary="Upload a file",
    status_code=201,
    openapi_extra=LANDING_BODY,
    responses={200: {"model": LandingObject, "description": "Replaced."}, **responses(404, 409, 413, 422)},
)
async def put_landing(
    key: Key, request: Request, response: Response, clients: ClientsDep, settings: SettingsDep, caller: CallerDep
) -> LandingObject:
    """Stream a file into the landing zone. Readers see the old object or the whole new one, never a part.

    409 (`key_conflict`): a folder of the key is an object, or the key is a folder of objects.
    """
    info, replaced = await landing.upload(
        clients, key, request.stream(), max_bytes=settings.api.max_upload_bytes, caller=caller
    )
    response.status_code = 200 if replaced else 201
    response.headers["Location"] = landing_link(key)
    response.headers["ETag"] = f'"{info.etag}"'
    return _view(info)


@router.get(
    "/{key:path}",
    summary="Read a file",
    response_class=Response,
    responses={
        200: {"description": "The file.", "content": {"application/octet-stream": {}}},
        206: {"description": "The range that was asked for."},
        304: {"description": "Nothing changed since the ETag in If-None-Match."},
        **responses(404, 416, 422),
    },
)
async def get_landing(
    key: Key,
    clients: ClientsDep,
    caller: CallerDep,
    range_: Annotated[str | None, Header(alias="Range", description="One byte range.")] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The bytes of the object."""
    info = await landing.find(clients, key, caller=caller)
    return await object_response(
        clients.objects,
        LANDING_BUCKET,
        info,
        etag=f'"{info.etag}"',
        media_type="application/octet-stream",
        file_name=key.rpartition("/")[2].encode("ascii", "replace").decode().replace('"', "_"),
        range_header=range_,
        if_none_match=if_none_match,
    )


@router.delete("/{key:path}", summary="Delete a file", status_code=204, responses=responses(404, 422))
async def delete_landing(key: Key, clients: ClientsDep, caller: CallerDep) -> None:
    """Versions that were made from it stay, and keep its hash in their inputs."""
    await landing.remove(clients, key, caller=caller)
