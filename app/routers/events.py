"""A run's log: pages of JSON, or a stream of server-sent events."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Query, Response
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event

from app.deps import ClientDep, ClientsDep, RunWatchDep, WaitingRoomDep
from app.errors import DomainError
from app.http.examples import EXAMPLE_RUN
from app.http.negotiation import preferred
from app.http.problems import responses
from app.http.waiting import WaitingStream
from app.models.runs.run import RunEvent
from app.services.runs.read import RunWatch

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
            "description": "One page as JSON, or all further events as a stream.",
            "content": {_STREAM: {"schema": {"type": "string"}, "example": _EXAMPLE}},
        },
        204: {"description": "The run is over and there are no further events: event streams should not reconnect."},
        **responses(404, 406, 422, 429),
    },
)
async def list_events(
    run_id: Annotated[str, EXAMPLE_RUN],
    clients: ClientsDep,
    watch: RunWatchDep,
    room: WaitingRoomDep,
    client: ClientDep,
    response: Response,
    after: Annotated[int, Query(ge=0, le=_MOST, description="Only events with a greater seq.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="Items of one page; a stream has no limit.")] = 100,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
    last_event_id: Annotated[
        int | None, Header(ge=0, le=_MOST, description="Sent by event streams that reconnect; overrides `after`.")
    ] = None,
) -> list[RunEvent] | Response:
    """Oldest first. For the next page, set `after` to the last seq.

    With `Accept: text/event-stream` events are streamed as they are written, until the run is over: `id` is the seq,
    `event` the code, `data` the event as JSON.
    """
    run = await watch.reader.get(run_id)
    if preferred(accept, (_JSON, _STREAM)) == _JSON:
        response.headers["Vary"] = "Accept"
        return list(await clients.ledger.list_events(run_id, after, limit))
    start = after if last_event_id is None else last_event_id
    if await watch.log_has_ended(run, start):
        return Response(status_code=204, headers={"Vary": "Accept"})
    # X-Accel-Buffering: else nginx would buffer the stream.
    headers = {"Vary": "Accept", "Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    leave = room.enter(client)
    stream = WaitingStream(_stream(watch, run_id, start), headers=headers, media_type=_STREAM)
    stream.leave = leave
    return stream


async def _stream(watch: RunWatch, run_id: str, after: int) -> AsyncIterator[bytes]:
    """Ends when the ledger fails; the client then reconnects and continues after its last event."""
    try:
        async for event in watch.follow_log(run_id, after):
            if event is None:
                yield KEEPALIVE_COMMENT
            else:
                yield format_sse_event(id=str(event.seq), event=event.code, data_str=event.model_dump_json())
    except DomainError as err:
        logger.warning("stopped streaming the events of run %s: %s", run_id, err)
