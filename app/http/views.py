"""API models, where they differ from the domain's: links, and pages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote

from fastapi import Request, Response
from pydantic import BaseModel, Field

from app.clients import Clients
from app.messages.checks import CHECKS_FAILED
from app.models.asset import Asset, Companion
from app.models.base import utcnow
from app.models.manifests.delivery import Delivery, EventOutcome
from app.models.manifests.manifest import ManifestRecord, ManifestSummary
from app.models.page import Slice
from app.models.products import COMPANION_MEDIA_TYPES, PRODUCT_TYPES
from app.models.runs.lane import WaitingFor
from app.models.runs.run import Run, RunStatus
from app.services.catalog import files_of

T = TypeVar("T")

# Seconds. A back-off may be longer, but the run may be canceled meanwhile.
_LONGEST_PAUSE = 60
# Of a delivery in a listing.
_BODY_SHOWN, _OUTCOMES_SHOWN = 4096, 100


class PageOf(BaseModel, Generic[T]):
    """One page, newest first."""

    items: list[T]
    next: str | None = Field(None, description="URL of the next page; also in the Link header.")


class RunView(Run):
    """A run with links to what belongs to it."""

    waiting_for: WaitingFor | None = Field(
        None,
        description="What a queued run waits for: its lane to be resumed (`lane_paused`), an earlier run of the "
        "dataset (`dataset`), the time in `not_before` (`backoff`), another run of its lane (`lane_limit`), or "
        "a `worker`.",
    )
    links: dict[str, str]


class ManifestView(ManifestRecord):
    """A manifest as accepted (when rejected: as received), with links to what belongs to it."""

    links: dict[str, str]


class ManifestSummaryView(ManifestSummary):
    """A manifest without its document, which is at `links.self`. Lists and long texts are cut."""

    links: dict[str, str]


class DeliveryView(BaseModel):
    """One request of a bucket notification, of bounded size.

    body: its first 4,096 characters; body_length: of all. outcomes: the first hundred of `outcome_count`.
    """

    delivery_id: str
    received_at: datetime
    ip: str | None = None
    body: str
    body_length: int
    status: Literal["received", "done"]
    outcomes: tuple[EventOutcome, ...]
    outcome_count: int
    repeats: int
    processed_at: datetime | None = None


class ManifestWithRuns(ManifestView):
    runs: list[RunView]


class AssetView(Asset):
    """One version of a dataset with links to what belongs to it."""

    links: dict[str, str]


class FileView(BaseModel):
    """One file of a version. role: `data`, or `companion` for a preview or quarantined rows."""

    name: str
    role: Literal["data", "companion"]
    size: int
    content_hash: str
    media_type: str
    links: dict[str, str]


class FilesView(BaseModel):
    """All files of a version, its data first."""

    items: list[FileView]


async def run_views(runs: Sequence[Run], clients: Clients) -> list[RunView]:
    """The runs as the API shows them. `waiting_for` may be up to a second old. Raises LedgerUnavailable."""
    if not any(run.status is RunStatus.QUEUED for run in runs):
        return [_run_view(run) for run in runs]
    lanes, now = await clients.lanes.now(), utcnow()
    return [_run_view(run, lanes.waiting_for(run, now)) for run in runs]


async def run_view(run: Run, clients: Clients) -> RunView:
    return (await run_views([run], clients))[0]


def retry_after(run: Run) -> str:
    """The Retry-After header of a run: seconds until the next poll makes sense."""
    left = (run.not_before - utcnow()).total_seconds() if run.not_before else 0.0
    return str(max(1, min(_LONGEST_PAUSE, math.ceil(left))) if run.status is RunStatus.QUEUED else 1)


def _run_view(run: Run, waiting_for: WaitingFor | None = None) -> RunView:
    links = {
        "self": f"/runs/{run.run_id}",
        "events": f"/runs/{run.run_id}/events",
        "manifest": f"/manifests/{run.batch_id}",
        "dataset": f"/assets/{run.partition_key}",
    }
    version = run.unchanged_version or run.reserved_version
    if run.status is RunStatus.SUCCESS and version is not None:
        links["asset"] = f"/assets/{run.partition_key}/v{version}"
    if run.error is not None and run.error.code == CHECKS_FAILED.code:
        links["rejected"] = f"/runs/{run.run_id}/rejected"
    return RunView(**dict(run), waiting_for=waiting_for, links=links)


def manifest_view(record: ManifestRecord) -> ManifestView:
    return ManifestView(**dict(record), links={"self": f"/manifests/{record.batch_id}"})


def summary_view(summary: ManifestSummary) -> ManifestSummaryView:
    return ManifestSummaryView(**dict(summary), links={"self": f"/manifests/{summary.batch_id}"})


def delivery_view(delivery: Delivery) -> DeliveryView:
    fields = dict(delivery) | {"body": delivery.body[:_BODY_SHOWN], "outcomes": delivery.outcomes[:_OUTCOMES_SHOWN]}
    return DeliveryView(**fields, body_length=len(delivery.body), outcome_count=len(delivery.outcomes))


def asset_view(asset: Asset) -> AssetView:
    own = f"/assets/{asset.dataset_id}/v{asset.version}"
    if asset.deletion is not None:
        links = {"lineage": f"{own}/lineage", "versions": f"/assets/{asset.dataset_id}", "run": f"/runs/{asset.run_id}"}
        return AssetView(**dict(asset), links=links)
    links = {
        "self": own,
        "download": f"{own}/download",
        "files": f"{own}/files",
        "lineage": f"{own}/lineage",
        "versions": f"/assets/{asset.dataset_id}",
        "run": f"/runs/{asset.run_id}",
    }
    for companion in asset.companions:
        links.setdefault(companion.name.partition(".")[0], _file_link(asset, companion))
    return AssetView(**dict(asset), links=links)


def files_view(asset: Asset) -> FilesView:
    items = [
        FileView(
            name=file.name,
            role="data" if file.s3_key == asset.s3_key else "companion",
            size=file.size,
            content_hash=file.content_hash,
            media_type=media_type_of(asset, file),
            links={"self": _file_link(asset, file), "asset": f"/assets/{asset.dataset_id}/v{asset.version}"},
        )
        for file in files_of(asset)
    ]
    return FilesView(items=items)


def media_type_of(asset: Asset, file: Companion) -> str:
    if file.s3_key == asset.s3_key:
        return PRODUCT_TYPES[asset.format].media_type
    return COMPANION_MEDIA_TYPES.get(file.name.rpartition(".")[2], "application/octet-stream")


def _file_link(asset: Asset, file: Companion) -> str:
    return f"/assets/{asset.dataset_id}/v{asset.version}/files/{quote(file.name, safe='')}"


def landing_link(key: str) -> str:
    return f"/landing/{quote(key)}"


def page_of(items: list[T], found: Slice[Any], request: Request, response: Response) -> PageOf[T]:
    """The page, with a Link header when there is a next one."""
    return PageOf(items=items, next=next_link(request, response, cursor=found.next_cursor))


def next_link(request: Request, response: Response, **position: str | None) -> str | None:
    """The URL of the next page, also put into the Link header; None where `position` is, on the last page.

    position: the query parameter that continues the listing, e.g. `cursor="…"`.
    """
    if None in position.values():
        return None
    url = request.url.include_query_params(**position)
    response.headers["Link"] = f'<{url.path}?{url.query}>; rel="next"'
    return f"{url.path}?{url.query}"
