"""What the routes that accept runs share: headers, trace context, and how a run is repeated."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from fastapi import Depends, Header, Query, Request, Response

from app.clients import Clients
from app.deps import CallerDep, ClientsDep, SettingsDep
from app.http.problems import responses
from app.http.views import RunView, run_view
from app.models.runs.run import Run
from app.services.runs import control

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
    traceparent: Annotated[  # noqa: ARG001 # documentation only: the middleware has read it
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
    """The body of the answer, and the headers that lead to the run."""
    view = await run_view(run, clients)
    response.headers["Location"] = view.links["self"]
    response.headers["Retry-After"] = "1"
    return view


class Rerunner:
    """Dependency of the routes that run something again: `await rerun(run_id=...)` is the answer."""

    def __init__(
        self,
        clients: ClientsDep,
        settings: SettingsDep,
        caller: CallerDep,
        response: Response,
        traceparent: TraceParent,
        new_version: NewVersion = None,
    ) -> None:
        self._clients, self._response = clients, response
        self._rerun = partial(
            control.rerun,
            clients,
            enabled_lanes=settings.enabled_lanes,
            new_version=new_version,
            traceparent=traceparent,
            caller=caller,
        )

    async def __call__(self, *, run_id: str | None = None, batch_id: str = "") -> RunView:
        run = await self._rerun(run_id=run_id, batch_id=batch_id)
        return await accepted_view(run, self._clients, self._response)


Rerun = Annotated[Rerunner, Depends()]


def rerun_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documented answers of a route that runs something again."""
    accepted = {"description": "Accepted: the further run, readable at once.", "headers": RUN_HEADERS}
    return {202: accepted, **responses(*statuses)}
