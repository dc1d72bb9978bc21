"""The check of query parameters of every route: unknown ones, and repeated ones that are no list, are refused."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import get_args, get_origin

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute

from app.errors import Fault, InvalidRequest
from app.messages.request import QUERY_REPEATED, QUERY_UNKNOWN
from app.models.json_values import shown
from app.models.manifests.faults import bounded, omitted_faults
from app.models.manifests.listed_faults import MAX_FAULTS
from app.models.manifests.nearest import nearest


async def check_query(request: Request) -> None:
    """A dependency of every route. Raises InvalidRequest for parameters that would be ignored without a word."""
    given = Counter(name for name, _ in request.query_params.multi_items())
    route = request.scope["route"]
    if not given or not isinstance(route, APIRoute) or not route.include_in_schema:
        return
    lists = dict(query_parameters(route.dependant))
    wrong = [name for name, count in given.items() if name not in lists or (count > 1 and not lists[name])]
    if not wrong:
        return
    faults = tuple(
        bounded(_repeated(name, given[name]) if name in lists else _unknown(name, lists)) for name in wrong[:MAX_FAULTS]
    )
    left_out = omitted_faults(len(wrong) - len(faults), "query")
    raise InvalidRequest("The request is not valid.", faults=faults + left_out)


def query_parameters(dependant: Dependant) -> Iterator[tuple[str, bool]]:
    """(name, whether it takes several values) of a route's query parameters, with those of its dependencies."""
    for field in dependant.query_params:
        kinds = (field.field_info.annotation, *get_args(field.field_info.annotation))
        yield field.alias, any(get_origin(kind) in (list, tuple) for kind in kinds)
    for inner in dependant.dependencies:
        yield from query_parameters(inner)


def _unknown(name: str, known: Mapping[str, bool]) -> Fault:
    near = nearest(name, tuple(known))
    hint = f"Did you mean {near!r}? " if near else ""
    named = f"Known here: {', '.join(sorted(known))}." if known else "This path takes none."
    return QUERY_UNKNOWN(f"query/{name}", name=shown(name), hint=hint, known=named)


def _repeated(name: str, count: int) -> Fault:
    return QUERY_REPEATED(f"query/{name}", name=name, number=count)
