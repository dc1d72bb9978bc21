"""Bucket notifications: MinIO (or any S3) tells what was dropped into the landing zone."""

from __future__ import annotations

import hmac
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from app.deps import CallerDep, ClientsDep, PageDep, SettingsDep
from app.errors import Unauthorized, WebhookClosed
from app.models.delivery import Delivery, EventOutcome
from app.models.manifest import LANDING_BUCKET
from app.routers.problems import responses
from app.routers.views import PageOf, page_of
from app.services import deliveries
from app.services.dropped import Door

router = APIRouter(prefix="/webhooks", tags=["webhooks"])

_EVENT: dict[str, Any] = {
    "EventName": "s3:ObjectCreated:Put",
    "Key": f"{LANDING_BUCKET}/manifests/parcels.json",
    "Records": [
        {
            "eventSource": "minio:s3",
            "eventName": "s3:ObjectCreated:Put",
            "s3": {
                "bucket": {"name": LANDING_BUCKET},
                "object": {
                    "key": "manifests%2Fparcels.json",
                    "eTag": "1f3870be274f6c49b3e31a0c6728957f",
                    "sequencer": "17C4A5B9E1D0F2A3",
                },
            },
        }
    ],
}
# Read by hand, because nothing that a sender can put into a body may be answered with an error.
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "description": "A notification as MinIO, S3 or Ceph sends it.",
        "content": {"application/json": {"schema": {}, "example": _EVENT}},
    }
}

_bearer = HTTPBearer(auto_error=False, description="The token of SPATIAL_ETL_WEBHOOK__TOKEN.")


async def _authorized(
    settings: SettingsDep, given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)]
) -> None:
    """Raises WebhookClosed without a configured token, Unauthorized without the right one."""
    token = settings.webhook.token.get_secret_value() if settings.webhook.token else ""
    if not token:
        raise WebhookClosed(
            "The webhook is closed: this service has no token to know its sender by.",
            "Set SPATIAL_ETL_WEBHOOK__TOKEN here, and the same token in the object store's webhook settings.",
        )
    # Header bytes came through latin-1; the token was typed as UTF-8.
    if given is None or not hmac.compare_digest(given.credentials.encode("latin-1", "replace"), token.encode()):
        raise Unauthorized(
            "The request has no bearer token." if given is None else "The bearer token is not the one of this webhook.",
            "Send `Authorization: Bearer TOKEN` with the token of SPATIAL_ETL_WEBHOOK__TOKEN.",
        )


class Receipt(BaseModel):
    """status: `received` when the events wait for the sweep, e.g. because the object store is away."""

    delivery_id: str
    status: Literal["received", "done"]
    outcomes: tuple[EventOutcome, ...]


@router.post(
    "/minio",
    summary="Receive a bucket notification",
    openapi_extra=_BODY,
    responses=responses(401),
    dependencies=[Depends(_authorized)],
)
async def post_minio(request: Request, clients: ClientsDep, settings: SettingsDep, caller: CallerDep) -> Receipt:
    """Take in the manifests that were dropped under `manifests/` of the landing zone.

    The delivery is recorded first. Then the answer is 200 whatever it holds (bad manifests are kept as rejected ones),
    because MinIO repeats anything else for ever and holds back what comes later. 503: the webhook has no token, or the
    ledger is away and nothing was recorded.
    """
    body = await deliveries.read_body(request.stream(), settings.webhook.max_bytes)
    bucket = settings.objects.bucket_prefix + LANDING_BUCKET
    door = Door(clients, settings.enabled_lanes, settings.api.max_manifest_bytes, bucket)
    delivery = await deliveries.receive(body, door, ip=caller.ip)
    return Receipt(delivery_id=delivery.delivery_id, status=delivery.status, outcomes=delivery.outcomes)


@router.get("/deliveries", summary="List what came in", responses=responses(422))
async def list_deliveries(
    clients: ClientsDep,
    page: PageDep,
    request: Request,
    response: Response,
    status: Annotated[
        Literal["received", "done"] | None, Query(description="`received`: not every event was looked at yet.")
    ] = None,
) -> PageOf[Delivery]:
    """Newest first, each with its body and what its events led to."""
    found = await clients.ledger.list_deliveries(status, page)
    return page_of(list(found.items), found, request, response)
