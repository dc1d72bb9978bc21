"""Bucket notifications: MinIO (or any S3) reports objects that were dropped into the landing zone."""

from __future__ import annotations

import hmac
from functools import partial
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel

from app.deps import CallerDep, ClientsDep, PageDep, SettingsDep
from app.errors import Unauthorized, WebhookClosed
from app.http.authentication import Guesses
from app.http.problems import responses
from app.http.views import DeliveryView, PageOf, delivery_view, page_of
from app.models.manifests.delivery import EventOutcome
from app.models.manifests.manifest import LANDING_BUCKET
from app.services.intake import webhook_deliveries as deliveries
from app.services.intake.dropped_manifests import IntakeConfig
from app.services.listing import read_in_parts

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
# Without a body model, because no content of a body may be answered with an error.
_BODY: dict[str, Any] = {
    "requestBody": {
        "required": False,
        "description": "A notification as MinIO, S3 or Ceph sends it.",
        "content": {"application/json": {"schema": {}, "example": _EVENT}},
    }
}

_bearer = HTTPBearer(auto_error=False, description="The token of SPATIAL_ETL_WEBHOOK__TOKEN.")


async def _authorized(
    request: Request,
    settings: SettingsDep,
    caller: CallerDep,
    given: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> None:
    """Raises WebhookClosed without a configured token, Unauthorized without the right one, RateLimited after many."""
    token = settings.webhook.token.get_secret_value() if settings.webhook.token else ""
    if not token:
        raise WebhookClosed(
            "No webhook token is configured, so senders cannot be authenticated.",
            "Set SPATIAL_ETL_WEBHOOK__TOKEN, and the same token in the webhook settings of the object store.",
        )
    guesses: Guesses = request.app.state.guesses
    guesses.check(caller.ip)
    # Headers are decoded as latin-1, the configured token is UTF-8.
    if given is None or not hmac.compare_digest(given.credentials.encode("latin-1", "replace"), token.encode()):
        guesses.add(caller.ip)
        raise Unauthorized(
            "The request has no bearer token." if given is None else "Unknown bearer token.",
            "Send `Authorization: Bearer TOKEN` with the token of SPATIAL_ETL_WEBHOOK__TOKEN.",
        )


class Receipt(BaseModel):
    """status: `received` if the sweep will process the events, e.g. because the object store is unavailable."""

    delivery_id: str
    status: Literal["received", "done"]
    outcomes: tuple[EventOutcome, ...]


@router.post(
    "/minio",
    summary="Receive a bucket notification",
    openapi_extra=_BODY,
    responses=responses(401, 429),
    dependencies=[Depends(_authorized)],
)
async def post_minio(request: Request, clients: ClientsDep, settings: SettingsDep, caller: CallerDep) -> Receipt:
    """Submit the manifests that were dropped under `manifests/` of the landing zone.

    The delivery is recorded first. Then the answer is always 200 (invalid manifests are recorded as rejected), because
    MinIO repeats failed deliveries for ever and holds back later ones. 503: no webhook token is configured, or the
    ledger is unavailable and nothing was recorded.
    """
    body = await deliveries.read_body(request.stream(), settings.webhook.max_bytes)
    bucket = settings.objects.bucket_prefix + LANDING_BUCKET
    lanes, most, recipes = settings.enabled_lanes, settings.api.max_manifest_bytes, settings.recipes
    config = IntakeConfig(clients, lanes, most, bucket, recipes)
    delivery = await deliveries.receive(body, config, ip=caller.ip)
    return Receipt(delivery_id=delivery.delivery_id, status=delivery.status, outcomes=delivery.outcomes)


@router.get("/deliveries", summary="List webhook deliveries", responses=responses(422))
async def list_deliveries(
    clients: ClientsDep,
    page: PageDep,
    request: Request,
    response: Response,
    status: Annotated[
        Literal["received", "done"] | None, Query(description="`received`: some events are not processed yet.")
    ] = None,
) -> PageOf[DeliveryView]:
    """Newest first, each with the beginning of its body and the outcomes of its first events."""
    found = await read_in_parts(partial(clients.ledger.list_deliveries, status), page, delivery_view)
    return page_of(list(found.items), found, request, response)
