"""What the two ways to run something again have in common."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Depends, Header, Query, Request, Response

from app.clients import Clients
from app.models.run import Run
from app.routers.views import RunView, run_view

RERUN = "Accepted: the further run, readable at once."
RUN_HEADERS: dict[str, Any] = {
    "Location": {"description": "URL of the run.", "schema": {"type": "string"}},
    "traceparent": {"description": "W3C trace context of the request.", "schema": {"type": "string"}},
}

NewVersion = Annotated[
    Literal["if_changed", "always"] | None,
    Query(
        description="Goes before the manifest's own. `if_changed`: where the same would be made again, the run ends "
        "with the version that is there."
    ),
]


async def _traceparent(
    request: Request,
    traceparent: Annotated[  # noqa: ARG001 # for the document: the request's log has read it
        str | None,
        Header(
            description="W3C trace context; a new one where it is malformed or missing. It is kept on the run, and is "
            "in the answer's header of the same name."
        ),
    ] = None,
) -> str:
    found: str = request.state.traceparent
    return found


TraceParent = Annotated[str, Depends(_traceparent)]


async def accepted_view(run: Run, clients: Clients, response: Response) -> RunView:
    """The body, with the headers that lead to the run."""
    view = await run_view(run, clients)
    response.headers["Location"] = view.links["self"]
    response.headers["Retry-After"] = "1"
    return view
