"""The catalogue: datasets, versions, and their files. Lineage: `app.routers.lineage`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from pydantic import StringConstraints

from app.clients import Clients
from app.deps import CallerDep, ClientsDep, PageDep
from app.http.examples import EXAMPLE_DATASET, EXAMPLE_VERSION
from app.http.lake_files import FILE_RESPONSES, EtagHeader, RangeHeader, lake_file
from app.http.problems import responses
from app.http.times import Moment
from app.http.views import AssetView, FilesView, PageOf, asset_view, files_view, media_type_of, page_of
from app.ledger import AssetFilter
from app.models.asset import Asset, Companion
from app.models.products import PRODUCT_TYPES, ProductKind
from app.services import catalog
from app.services.retention import delete_version as deletion

router = APIRouter(prefix="/assets", tags=["assets"])

DatasetId = Annotated[str, EXAMPLE_DATASET]
Version = Annotated[int, EXAMPLE_VERSION]
Deleted = Annotated[bool, Query(description="Include deleted versions, as records without files.")]
# Each costs one lookup in an index.
_MANY = 10


async def _search(
    kind: ProductKind | None = None,
    keyword: Annotated[
        list[Annotated[str, StringConstraints(max_length=200)]],
        Query(max_length=_MANY, description="A whole keyword, ignoring case. Repeatable: all must match."),
    ] = [],  # noqa: B006 # FastAPI copies it
    project: Annotated[str | None, Query(max_length=1000, description="The exact project.")] = None,
    tag: Annotated[
        list[Annotated[str, StringConstraints(max_length=1000)]],
        Query(
            max_length=_MANY,
            description="`name:value`. `level:3` finds the number 3 (and 3.0) and the text `3`; `true` and `false` "
            "find booleans too. Repeatable: all must match.",
        ),
    ] = [],  # noqa: B006 # as above
    bbox: Annotated[
        str | None,
        Query(
            max_length=200,
            description="`minx,miny,maxx,maxy` in degrees (EPSG:4326), for example `5.9,45.8,10.5,47.9`: datasets "
            "whose bounds intersect or touch it. minx > maxx crosses the antimeridian. Datasets without bounds "
            "in degrees never match.",
        ),
    ] = None,
    text: Annotated[
        str | None,
        Query(
            max_length=200,
            description="Words of the title, the description, the keywords and the dataset id, ignoring case "
            "and accents. All must match.",
        ),
    ] = None,
    testing: Annotated[bool | None, Query(description="Only test runs, or only others.")] = None,
    since: Annotated[
        Moment | None,
        Query(
            description="Registered at or after this time, with its zone: 2026-11-22T10:00:00Z.",
        ),
    ] = None,
    deleted: Deleted = False,
) -> AssetFilter:
    where = AssetFilter(
        deleted=deleted,
        latest_only=True,
        kind=kind,
        keywords=tuple(keyword),
        tags=tuple(tag),
        project=project,
        testing=testing,
        text=text,
        since=since,
    )
    return catalog.search_filter(where, bbox)


@router.get("", summary="List and search datasets", responses=responses(422))
async def list_assets(
    clients: ClientsDep,
    page: PageDep,
    request: Request,
    response: Response,
    where: Annotated[AssetFilter, Depends(_search)],
) -> PageOf[AssetView]:
    """The newest version of every dataset if it matches all filters, newest first."""
    found = await clients.ledger.list_assets(where, page)
    return page_of([asset_view(asset) for asset in found.items], found, request, response)


@router.get("/{dataset_id}", summary="List the versions of a dataset", responses=responses(404, 410, 422))
async def list_versions(
    dataset_id: DatasetId,
    clients: ClientsDep,
    page: PageDep,
    request: Request,
    response: Response,
    deleted: Deleted = False,
) -> PageOf[AssetView]:
    """Newest first."""
    found = await catalog.list_versions(clients.ledger, dataset_id, page, deleted=deleted)
    return page_of([asset_view(asset) for asset in found.items], found, request, response)


@router.get("/{dataset_id}/v{version}", summary="Read one version", responses=responses(404, 410, 422))
async def get_version(dataset_id: DatasetId, version: Version, clients: ClientsDep) -> AssetView:
    """Schema, bounds, CRS, counts, hash, key and inputs."""
    return asset_view(await catalog.get_version(clients.ledger, dataset_id, version))


@router.delete(
    "/{dataset_id}/v{version}",
    status_code=204,
    summary="Delete one version",
    responses={204: {"description": "Deleted."}, **responses(404, 409, 410, 422)},
)
async def delete_version(dataset_id: DatasetId, version: Version, clients: ClientsDep, caller: CallerDep) -> None:
    """Deletes its files. A record with its inputs stays, and its number is never reused.

    409: it is the newest version, another version was made from it, or a run that is not over made or reads it.
    """
    await deletion.delete_version(dataset_id, version, clients, user=caller.user, ip=caller.ip)


@router.get(
    "/{dataset_id}/v{version}/download",
    summary="Download one version",
    response_class=Response,
    responses=FILE_RESPONSES,
)
async def download(
    dataset_id: DatasetId,
    version: Version,
    clients: ClientsDep,
    range_: RangeHeader = None,
    if_none_match: EtagHeader = None,
) -> Response:
    """The bytes of the version, or a redirect to them; the ETag is their hash."""
    asset = await catalog.get_version(clients.ledger, dataset_id, version)
    name = f"{dataset_id}_v{version}.{PRODUCT_TYPES[asset.format].suffix}"
    return await _sent(clients, asset, catalog.files_of(asset)[0], name, range_, if_none_match)


@router.get(
    "/{dataset_id}/v{version}/files", summary="List the files of one version", responses=responses(404, 410, 422)
)
async def list_files(dataset_id: DatasetId, version: Version, clients: ClientsDep) -> FilesView:
    """The data and its companions: the preview of a raster, the quarantined rows of a table."""
    return files_view(await catalog.get_version(clients.ledger, dataset_id, version))


@router.get(
    "/{dataset_id}/v{version}/files/{name}",
    summary="Download one file of a version",
    response_class=Response,
    responses={
        **FILE_RESPONSES,
        200: {"description": "The file.", "content": {"image/png": {}, **FILE_RESPONSES[200]["content"]}},
    },
)
async def download_file(
    dataset_id: DatasetId,
    version: Version,
    name: Annotated[
        str, Path(description="As in the list of files.", openapi_examples={"data": {"value": "data.parquet"}})
    ],
    clients: ClientsDep,
    range_: RangeHeader = None,
    if_none_match: EtagHeader = None,
) -> Response:
    """Its bytes, or a redirect to them; the ETag is their hash."""
    asset = await catalog.get_version(clients.ledger, dataset_id, version)
    file = catalog.get_file(asset, name)
    return await _sent(clients, asset, file, f"{dataset_id}_v{version}_{file.name}", range_, if_none_match)


async def _sent(
    clients: Clients, asset: Asset, file: Companion, file_name: str, range_: str | None, if_none_match: str | None
) -> Response:
    return await lake_file(
        clients,
        file.s3_key,
        etag=f'"{file.content_hash}"',
        media_type=media_type_of(asset, file),
        file_name=file_name,
        range_header=range_,
        if_none_match=if_none_match,
    )
