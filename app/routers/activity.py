"""The audit trail."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.deps import ClientsDep, PageDep
from app.models.activity import Activity
from app.routers.problems import responses
from app.routers.views import PageOf, page_of

router = APIRouter(prefix="/activity", tags=["activity"])


@router.get("", summary="Who did what, when, from where", responses=responses(422))
async def list_activity(clients: ClientsDep, page: PageDep, request: Request, response: Response) -> PageOf[Activity]:
    """Newest first."""
    found = await clients.ledger.list_activity(page)
    return page_of(list(found.items), found, request, response)
