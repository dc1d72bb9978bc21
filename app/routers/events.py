"""A run's log: pages of JSON, or a stream of server-sent events."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import StreamingResponse
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from app.deps import ClientsDep, RunWatchDep
from app.errors import DomainError
from app.models.run import RunEvent
from app.routers.examples import EXAMPLE_RUN
from app.routers.negotiation import preferred
from app.routers.problems import responses
from app.services.runs import RunWatch, get_run

logger = logging.getLogger(__name__)

router = APIRouter(prefix="/runs", tags=["runs"])

_JSON, _STREAM = "application/json", "text/event-stream"
_MOST = 2**53

_EXAMPLE = (
    "id: 1\nevent: attempt.started\n"
    'data: {"run_id":"…","seq":1,"at":"2026-01-31T12:00:00Z","level":"info","code":"attempt.started", …}\n\n'
)


@router.get(
    "/{run_id}/events",
    summary="Read or follow a run's log",
    response_model=list[RunEvent],
    responses={
        200: {
            "description": "One page as JSON, or every event from there on as a stream.",
            "content": {_STREAM: {"schema": {"type": "string"}, "example": _EXAMPLE}},
        },
        204: {"description": "Nothing more will come: event streams should not connect again."},
        **responses(404, 406, 422),
    },
)
async def list_events(
    run_id: Annotated[str, EXAMPLE_RUN],
    clients: ClientsDep,
    watch: RunWatchDep,
    response: Response,
    after: Annotated[int, Query(ge=0, le=_MOST, description="Only events with a greater seq.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="Items of one page; a stream has no limit.")] = 100,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
    last_event_id: Annotated[
        int | None, Header(ge=0, le=_MOST, description="Sent by event streams that connect again; goes before `after`.")
    ] = None,
) -> list[RunEvent] | Response:
    """Oldest first; ask again with `after` set to the last seq seen.

    With `Accept: text/event-stream` the log is streamed while it is written, until the run is over: `id` is the seq,
    `event` the code, `data` the event as JSON.
    """
    run = await get_run(clients.ledger, run_id)
    if preferred(accept, (_JSON, _STREAM)) == _JSON:
        response.headers["Vary"] = "Accept"
        return list(await clients.ledger.list_events(run_id, after, limit))
    start = after if last_event_id is None else last_event_id
    if await watch.log_has_ended(run, start):
        return Response(status_code=204, headers={"Vary": "Accept"})
    # nginx would hold the stream back.
    headers = {"Vary": "Accept", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return StreamingResponse(_stream(watch, run_id, start), headers=headers, media_type=_STREAM)


async def _stream(watch: RunWatch, run_id: str, after: int) -> AsyncIterator[bytes]:
    """Ends when the ledger fails: the client connects again and goes on where it was."""
    try:
        async for event in watch.follow_log(run_id, after):
            if event is None:
                yield KEEPALIVE_COMMENT
            else:
                yield format_sse_event(id=str(event.seq), event=event.code, data_str=event.model_dump_json())
    except DomainError as err:
        logger.warning("the log of run %s is no longer streamed: %s", run_id, err)
