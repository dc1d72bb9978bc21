"""The catalogue: datasets, versions, downloads. Lineage: `app.routers.lineage`."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import RedirectResponse

from app.deps import ClientsDep, PageDep
from app.errors import NotFound
from app.ledger import AssetFilter
from app.models.manifest import LAKE_BUCKET
from app.routers.examples import EXAMPLE_DATASET, EXAMPLE_VERSION
from app.routers.problems import responses
from app.routers.streaming import etag_matches, object_response
from app.routers.views import AssetView, PageOf, asset_view, page_of
from app.services import catalog

router = APIRouter(prefix="/assets", tags=["assets"])

_MEDIA_TYPES = {
    "geoparquet": "application/vnd.apache.parquet",
    "parquet": "application/vnd.apache.parquet",
    "cog": "image/tiff; application=geotiff; profile=cloud-optimized",
}
_SUFFIXES = {"geoparquet": "parquet", "parquet": "parquet", "cog": "tif"}

DatasetId = Annotated[str, EXAMPLE_DATASET]
Version = Annotated[int, EXAMPLE_VERSION]


@router.get("", summary="List datasets", responses=responses(422))
async def list_assets(
    clients: ClientsDep,
    page: PageDep,
    request: Request,
    response: Response,
    kind: Annotated[Literal["spatial", "raster", "tabular", "joined"] | None, Query()] = None,
) -> PageOf[AssetView]:
    """The newest version of every dataset, newest first."""
    found = await clients.ledger.list_assets(AssetFilter(kind=kind, latest_only=True), page)
    return page_of([asset_view(asset) for asset in found.items], found, request, response)


@router.get("/{dataset_id}", summary="List the versions of a dataset", responses=responses(404, 422))
async def list_versions(
    dataset_id: DatasetId, clients: ClientsDep, page: PageDep, request: Request, response: Response
) -> PageOf[AssetView]:
    """Newest first."""
    found = await catalog.list_versions(clients.ledger, dataset_id, page)
    return page_of([asset_view(asset) for asset in found.items], found, request, response)


@router.get("/{dataset_id}/v{version}", summary="Read one version", responses=responses(404, 422))
async def get_version(dataset_id: DatasetId, version: Version, clients: ClientsDep) -> AssetView:
    """Schema, bounds, CRS, counts, hash, key and inputs."""
    return asset_view(await catalog.get_version(clients.ledger, dataset_id, version))


@router.get(
    "/{dataset_id}/v{version}/download",
    summary="Download one version",
    response_class=Response,
    responses={
        200: {"description": "The file.", "content": {"application/vnd.apache.parquet": {}}},
        206: {"description": "The range that was asked for."},
        304: {"description": "Nothing changed since the ETag in If-None-Match."},
        307: {
            "description": "The object store has presigned URLs: the file is there, for a while.",
            "headers": {"Location": {"schema": {"type": "string", "format": "uri"}}},
        },
        **responses(404, 416, 422),
    },
)
async def download(
    dataset_id: DatasetId,
    version: Version,
    clients: ClientsDep,
    range_: Annotated[str | None, Header(alias="Range", description="One byte range.")] = None,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The bytes of the version, or a redirect to them; the ETag is their hash."""
    asset = await catalog.get_version(clients.ledger, dataset_id, version)
    info = await clients.objects.stat(LAKE_BUCKET, asset.s3_key)
    if info is None:
        raise NotFound(
            f"The object {asset.s3_key!r} is gone from the lake.", "Restore it from a backup, or run the batch again."
        )
    etag = f'"{asset.content_hash}"'
    if not etag_matches(if_none_match, etag):
        presigned = await clients.objects.presign("GET", LAKE_BUCKET, asset.s3_key)
        if presigned is not None:  # which the client follows with the same Range
            return RedirectResponse(presigned.url, 307, {"ETag": etag, "Cache-Control": "no-store"})
    return await object_response(
        clients.objects,
        LAKE_BUCKET,
        info,
        etag=etag,
        media_type=_MEDIA_TYPES[asset.format],
        file_name=f"{dataset_id}_v{version}.{_SUFFIXES[asset.format]}",
        range_header=range_,
        if_none_match=if_none_match,
    )
