"""How the API's functions are called."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path

from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from app.main import create_app
from app.settings import Settings


def calls(dependant: Dependant) -> Iterator[object]:
    if dependant.call is not None:
        yield dependant.call
    for each in dependant.dependencies:
        yield from calls(each)


def test_nothing_that_a_request_calls_needs_a_thread(tmp_path: Path) -> None:
    app = create_app(Settings(data_dir=tmp_path))
    seen = set()
    for context in iter_route_contexts(app.routes):
        if isinstance(context.route, APIRoute):
            seen |= set(calls(context.dependant))
    plain = {str(call) for call in seen if not inspect.iscoroutinefunction(call) and not isinstance(call, type)
             and not inspect.iscoroutinefunction(getattr(call, "__call__", None))}  # noqa: B004  # fmt: skip
    assert len(seen) > 40
    assert plain == set()
