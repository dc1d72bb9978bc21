"""Errors as RFC 9457 problems. `STATUS` maps domain errors to HTTP statuses; a test checks that it is complete."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app import errors
from app.errors import DomainError, Fault, summary_of
from app.models.base import new_id
from app.models.manifests.faults import invalid_manifest, request_faults

logger = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"

STATUS: dict[type[DomainError], int] = {
    errors.DomainError: 500,
    errors.InvalidManifest: 422,
    errors.InvalidRequest: 422,
    errors.NotAcceptable: 406,
    errors.LaneClosed: 422,
    errors.BatchConflict: 409,
    errors.QueueFull: 429,
    errors.TooManyPlans: 429,
    errors.RunOver: 409,
    errors.RunNotOver: 409,
    errors.ManifestRejected: 409,
    errors.ManifestRemoved: 410,
    errors.NotFound: 404,
    errors.BodyTooLarge: 413,
    # 503, not 404: the sender then keeps its events until the webhook is open.
    errors.WebhookClosed: 503,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.RateLimited: 429,
    errors.ApiKeyTaken: 409,
    errors.LedgerUnavailable: 503,
    errors.StoreUnavailable: 503,
    # 503, not 507, because clients retry it.
    errors.StoreFull: 503,
    errors.LedgerFull: 503,
    errors.LedgerUnsupported: 503,
    errors.RecordTooLarge: 413,
    errors.EngineUnavailable: 503,
    errors.QueueUnavailable: 503,
    errors.SweepAbsent: 503,
    errors.NoFreeWorker: 503,
    errors.PlanTimedOut: 504,
    errors.PlanFailed: 502,
    errors.NoPresignedUrls: 501,
    errors.InvalidKey: 422,
    errors.KeyConflict: 409,
    errors.ObjectExists: 409,
    errors.VersionTaken: 409,
    errors.VersionDeleted: 410,
    errors.VersionIsNewest: 409,
    errors.VersionHasChildren: 409,
    errors.VersionInUse: 409,
    errors.RangeNotSatisfiable: 416,
    # These end a start or a run, never a request. A request that raises one has found a defect.
    errors.UnsafeBind: 500,
    errors.StaleAttempt: 500,
    errors.RunCanceled: 500,
    errors.TimeLimitExceeded: 500,
    errors.ScratchLimitExceeded: 500,
    errors.RunRefused: 500,
}

_HEADERS = {503: {"Retry-After": "5"}, 429: {"Retry-After": "10"}, 401: {"WWW-Authenticate": "Bearer"}}


@dataclass(frozen=True, slots=True)
class _HttpError:
    """A refusal of the framework's own. when: for the table of codes."""

    code: str
    when: str
    fix: str


_HTTP_ERRORS = {
    400: _HttpError(
        "request_unreadable",
        "The body ended too soon, or is not encoded as its Content-Type says.",
        "Send a whole body, encoded as its Content-Type says.",
    ),
    404: _HttpError(errors.NotFound.code, summary_of(errors.NotFound), "See /docs for the paths that there are."),
    405: _HttpError("method_not_allowed", "The path has no such method.", "See /docs for the methods of this path."),
    408: _HttpError(
        "http_408",
        "The body came too slowly.",
        "Send the body without long pauses. The limit is SPATIAL_ETL_API__PATIENCE_SECONDS.",
    ),
    413: _HttpError(
        errors.BodyTooLarge.code,
        summary_of(errors.BodyTooLarge),
        "Send a smaller body. For manifests SPATIAL_ETL_API__MAX_MANIFEST_BYTES is the limit.",
    ),
}
_INTERNAL = "internal_error"
# The code of another refusal of the framework names its status.
OTHER_CODE = "http_{status}"


class ProblemFault(BaseModel):
    """One thing that is wrong with the request."""

    pointer: str = Field(description="RFC 6901 JSON pointer into the body; for others, `query/NAME` and the like.")
    code: str
    detail: str
    fix: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(examples=["urn:spatial-etl:problem:manifest_invalid"])
    title: str
    status: int
    detail: str
    code: str = Field(description="Stable, for programs.", examples=["manifest_invalid"])
    instance: str = Field(description="Path of the request, or the correlation id of an unknown error.")
    fix: str | None = None
    errors: list[ProblemFault] = []


def problem_codes() -> dict[str, tuple[int, str]]:
    """{code: (status, when)} of every problem that a request can be answered with, by status."""
    found = {
        error.code: (status, summary_of(error))
        for error, status in STATUS.items()
        if status != HTTPStatus.INTERNAL_SERVER_ERROR
    }
    for status, each in _HTTP_ERRORS.items():
        found.setdefault(each.code, (status, each.when))
    found[_INTERNAL] = (500, "This is a defect of the service. `instance` has the correlation id of its log lines.")
    return dict(sorted(found.items(), key=lambda row: row[1][0]))


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the problems that a route can answer with."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": _description(status), "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in sorted({*statuses, 503})
    }


def _description(status: int) -> str:
    codes = ", ".join(f"`{code}`" for code, (its_status, _) in problem_codes().items() if its_status == status)
    return f"{HTTPStatus(status).phrase}: {codes}."


def problem(
    status: int, code: str, detail: str, instance: str, *, fix: str = "", faults: Sequence[Fault] = ()
) -> JSONResponse:
    body = Problem(
        type=f"urn:spatial-etl:problem:{code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=detail,
        code=code,
        instance=instance,
        fix=fix or None,
        errors=[ProblemFault(pointer=f.pointer, code=f.code, detail=f.detail, fix=f.fix) for f in faults],
    )
    return JSONResponse(body.model_dump(mode="json", exclude_none=True), status, _HEADERS.get(status), MEDIA_TYPE)


def add_problem_handlers(app: FastAPI) -> None:
    app.add_exception_handler(DomainError, _domain_error)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)
    app.add_exception_handler(ClientDisconnect, _client_disconnected)
    app.add_exception_handler(Exception, _unknown_error)


async def _domain_error(request: Request, err: Exception) -> JSONResponse:
    assert isinstance(err, DomainError)  # noqa: S101 # registered for this class only
    status = next(STATUS[cls] for cls in type(err).__mro__ if cls in STATUS)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return await _unknown_error(request, err)
    return problem(status, err.code, err.detail, request.url.path, fix=err.fix or _fix(err.faults), faults=err.faults)


async def _validation_error(request: Request, err: Exception) -> JSONResponse:
    assert isinstance(err, RequestValidationError)  # noqa: S101 # as above
    in_body = [e for e in err.errors() if e["loc"] and e["loc"][0] == "body"]
    if in_body and request.url.path in ("/manifests", "/manifests/plan"):
        return await _domain_error(request, invalid_manifest([{**error, "loc": error["loc"][1:]} for error in in_body]))
    body = getattr(request.scope["route"], "body_field", None)
    fields = getattr(body.field_info.annotation, "model_fields", ()) if body else ()
    faults = request_faults(err.errors(), fields)
    detail = "The request is not valid."
    return problem(422, "request_invalid", detail, request.url.path, fix=_fix(faults), faults=faults)


def _fix(faults: Sequence[Fault]) -> str:
    return faults[0].fix if len(faults) == 1 else "Fix all of them and resubmit." if faults else ""


async def _http_error(request: Request, err: Exception) -> JSONResponse:
    assert isinstance(err, HTTPException)  # noqa: S101 # as above
    known = _HTTP_ERRORS.get(err.status_code)
    code = known.code if known else OTHER_CODE.format(status=err.status_code)
    fix = known.fix if known else "See /docs."
    response = problem(err.status_code, code, str(err.detail), request.url.path, fix=fix)
    response.headers.update(err.headers or {})
    if err.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (methods := _methods(request)):
        response.headers["Allow"] = methods
    return response


def _methods(request: Request) -> str:
    """Every method of the path: the framework names those of the first route that has it."""
    template = re.sub(r":\w+}", "}", str(getattr(request.scope.get("route"), "path", "")))
    operations = request.app.openapi()["paths"].get(template, {})
    return ", ".join(sorted(method.upper() for method in operations))


async def _client_disconnected(request: Request, _err: Exception) -> JSONResponse:
    """The client hung up in the middle of its upload: nothing was kept, and this answer reaches no one."""
    known = _HTTP_ERRORS[400]
    return problem(400, known.code, "The body ended too soon.", request.url.path, fix=known.fix)


async def _unknown_error(request: Request, err: Exception) -> JSONResponse:
    correlation = new_id()
    logger.error("%s %s failed, correlation %s", request.method, request.url.path, correlation, exc_info=err)
    fix = "This is a defect of the service. Report it with the correlation id and its lines in the service's log."
    return problem(500, _INTERNAL, "Internal error.", f"urn:uuid:{correlation}", fix=fix)
