"""The audit trail."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response

from app.deps import ClientsDep, PageDep
from app.http.problems import responses
from app.http.views import PageOf, page_of
from app.models.runs.activity import Activity

router = APIRouter(prefix="/activity", tags=["activity"])


@router.get("", summary="List the audit trail", responses=responses(422))
async def list_activity(clients: ClientsDep, page: PageDep, request: Request, response: Response) -> PageOf[Activity]:
    """Newest first: user, action, time and address."""
    found = await clients.ledger.list_activity(page)
    return page_of(list(found.items), found, request, response)
