"""Errors as RFC 9457 problems: the one table from domain errors to HTTP statuses."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from app import errors
from app.errors import DomainError, Fault
from app.models.base import new_id
from app.models.faults import invalid_manifest

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
    errors.RunOver: 409,
    errors.RunNotOver: 409,
    errors.ManifestRejected: 409,
    errors.ManifestRemoved: 410,
    errors.NotFound: 404,
    errors.BodyTooLarge: 413,
    # 503, not 404: the sender keeps its events until the webhook is open.
    errors.WebhookClosed: 503,
    errors.Unauthorized: 401,
    errors.Forbidden: 403,
    errors.RateLimited: 429,
    errors.ApiKeyTaken: 409,
    errors.LedgerUnavailable: 503,
    errors.StoreUnavailable: 503,
    # 503, not 507: the clients that try again are to do so.
    errors.StoreFull: 503,
    errors.LedgerFull: 503,
    errors.EngineUnavailable: 503,
    errors.QueueUnavailable: 503,
    errors.SweepAbsent: 503,
    errors.NoFreeWorker: 503,
    errors.PlanTimedOut: 504,
    errors.PlanFailed: 502,
    errors.NoPresignedUrls: 501,
    errors.InvalidKey: 422,
    errors.ObjectExists: 409,
    errors.VersionTaken: 409,
    errors.VersionDeleted: 410,
    errors.VersionIsNewest: 409,
    errors.VersionHasChildren: 409,
    errors.VersionInUse: 409,
    errors.RangeNotSatisfiable: 416,
    # These end a start or a run, not a request; a request that meets one has met a defect.
    errors.OpenDoor: 500,
    errors.StaleAttempt: 500,
    errors.RunCanceled: 500,
    errors.TimeLimitExceeded: 500,
    errors.ScratchLimitExceeded: 500,
    errors.RunRefused: 500,
}

_HEADERS = {503: {"Retry-After": "5"}, 429: {"Retry-After": "10"}, 401: {"WWW-Authenticate": "Bearer"}}


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


def responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """OpenAPI entries for the problems that a route can answer with."""
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in sorted({*statuses, 503})
    }


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
    app.add_exception_handler(ClientDisconnect, _gone)
    app.add_exception_handler(Exception, _unknown_error)


async def _domain_error(request: Request, err: Exception) -> JSONResponse:
    assert isinstance(err, DomainError)  # noqa: S101 # registered for this class only
    status = next(STATUS[cls] for cls in type(err).__mro__ if cls in STATUS)
    if status == HTTPStatus.INTERNAL_SERVER_ERROR:
        return await _unknown_error(request, err)
    return problem(status, err.code, err.detail, request.url.path, fix=err.fix, faults=err.faults)


async def _validation_error(request: Request, err: Exception) -> JSONResponse:
    assert isinstance(err, RequestValidationError)  # noqa: S101 # as above
    in_body = [e for e in err.errors() if e["loc"] and e["loc"][0] == "body"]
    if in_body and request.url.path in ("/manifests", "/manifests/plan"):
        return await _domain_error(request, invalid_manifest([{**error, "loc": error["loc"][1:]} for error in in_body]))
    faults = tuple(
        Fault(
            "/".join(map(str, e["loc"])),
            str(e["type"]),
            f"{e['msg']}; found {str(e.get('input'))[:80]!r}.",
            "See /docs.",
        )
        for e in err.errors()
    )
    return problem(422, "request_invalid", "The request is not valid.", request.url.path, faults=faults)


async def _http_error(request: Request, err: Exception) -> JSONResponse:
    assert isinstance(err, HTTPException)  # noqa: S101 # as above
    codes = {404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 400: "request_unreadable"}
    code = codes.get(err.status_code, f"http_{err.status_code}")
    fix = "See /docs for the paths and methods that there are." if err.status_code in (404, 405) else ""
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


async def _gone(request: Request, _err: Exception) -> JSONResponse:
    """The client hung up in the middle of its upload: nobody reads this, and nothing was kept."""
    return problem(400, "request_unreadable", "The body ended too soon.", request.url.path)


async def _unknown_error(request: Request, err: Exception) -> JSONResponse:
    correlation = new_id()
    logger.error("%s %s failed, correlation %s", request.method, request.url.path, correlation, exc_info=err)
    detail = "The service failed for a reason of its own."
    fix = "Look for the correlation id in the service's log."
    return problem(500, "internal_error", detail, f"urn:uuid:{correlation}", fix=fix)
