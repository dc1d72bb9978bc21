"""API models, where they differ from the domain's: links, and pages."""

from __future__ import annotations

from typing import Any, Generic, TypeVar
from urllib.parse import quote

from fastapi import Request, Response
from pydantic import BaseModel, Field

from app.models.asset import Asset
from app.models.manifest import ManifestRecord
from app.models.page import Slice
from app.models.run import Run, RunStatus

T = TypeVar("T")


class PageOf(BaseModel, Generic[T]):
    """One page, newest first."""

    items: list[T]
    next: str | None = Field(None, description="URL of the next page; also in the Link header.")


class RunView(Run):
    """A run and where to go from it."""

    links: dict[str, str]


class ManifestView(ManifestRecord):
    """A manifest as it was accepted (or came in, when rejected), and where to go from it."""

    links: dict[str, str]


class ManifestWithRuns(ManifestView):
    runs: list[RunView]


class AssetView(Asset):
    """One version of a dataset and where to go from it."""

    links: dict[str, str]


def run_view(run: Run) -> RunView:
    links = {
        "self": f"/runs/{run.run_id}",
        "events": f"/runs/{run.run_id}/events",
        "manifest": f"/manifests/{run.batch_id}",
        "dataset": f"/assets/{run.partition_key}",
    }
    version = run.unchanged_version or run.reserved_version
    if run.status is RunStatus.SUCCESS and version is not None:
        links["asset"] = f"/assets/{run.partition_key}/v{version}"
    return RunView(**dict(run), links=links)


def manifest_view(record: ManifestRecord) -> ManifestView:
    return ManifestView(**dict(record), links={"self": f"/manifests/{record.batch_id}"})


def asset_view(asset: Asset) -> AssetView:
    own = f"/assets/{asset.dataset_id}/v{asset.version}"
    links = {
        "self": own,
        "download": f"{own}/download",
        "lineage": f"{own}/lineage",
        "versions": f"/assets/{asset.dataset_id}",
        "run": f"/runs/{asset.run_id}",
    }
    return AssetView(**dict(asset), links=links)


def landing_link(key: str) -> str:
    return f"/landing/{quote(key)}"


def page_of(items: list[T], found: Slice[Any], request: Request, response: Response) -> PageOf[T]:
    """The page, with `Link: <…>; rel="next"` when there is one after it."""
    if found.next_cursor is None:
        return PageOf(items=items)
    url = request.url.include_query_params(cursor=found.next_cursor)
    following = f"{url.path}?{url.query}"
    response.headers["Link"] = f'<{following}>; rel="next"'
    return PageOf(items=items, next=following)
