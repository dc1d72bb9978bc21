"""What the two ways to run something again have in common."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import Header, Query, Response

from app.models.run import Run
from app.routers.views import RunView, run_view

RERUN = "Accepted: the further run, readable at once."
RUN_HEADERS: dict[str, Any] = {"Location": {"description": "URL of the run.", "schema": {"type": "string"}}}

NewVersion = Annotated[
    Literal["if_changed", "always"] | None,
    Query(
        description="Goes before the manifest's own. `if_changed`: where the same would be made again, the run ends "
        "with the version that is there."
    ),
]
TraceParent = Annotated[str | None, Header(description="W3C trace context, kept on the run.", max_length=128)]


def accepted_view(run: Run, response: Response) -> RunView:
    """The body, with the headers that lead to the run."""
    view = run_view(run)
    response.headers["Location"] = view.links["self"]
    response.headers["Retry-After"] = "1"
    return view
