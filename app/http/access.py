"""The table of scopes that routes need. Routes missing from this table are refused."""

from __future__ import annotations

from typing import Any, Final

from fastapi import Request

from app.errors import Forbidden
from app.http.problems import responses
from app.models.api_key import Scope
from app.models.caller import Caller

# No key needed: nothing there is private, or the route authenticates by itself.
OPEN: Final = None
READ, SUBMIT, ADMIN = Scope.READ, Scope.SUBMIT, Scope.ADMIN

NEEDED: dict[str, Scope | None] = {
    "GET /": OPEN,
    "GET /docs": OPEN,
    "GET /docs/oauth2-redirect": OPEN,
    "GET /redoc": OPEN,
    "GET /health": OPEN,
    # Authenticated by the webhook token.
    "POST /webhooks/minio": OPEN,
    # Without a key it tells names and states only.
    "GET /ready": OPEN,
    "GET /metrics": READ,
    "GET /landing": READ,
    "GET /landing/{key:path}": READ,
    "PUT /landing/{key:path}": SUBMIT,
    "DELETE /landing/{key:path}": SUBMIT,
    "POST /landing/presign": SUBMIT,
    "GET /manifests": READ,
    "GET /manifests/{batch_id}": READ,
    "POST /manifests": SUBMIT,
    "POST /manifests/plan": SUBMIT,
    "POST /manifests/{batch_id}/rerun": SUBMIT,
    "DELETE /manifests/{batch_id}": SUBMIT,
    "GET /runs": READ,
    "GET /runs/{run_id}": READ,
    "GET /runs/{run_id}/events": READ,
    "GET /runs/{run_id}/rejected": READ,
    "POST /runs/{run_id}/cancel": SUBMIT,
    "POST /runs/{run_id}/rerun": SUBMIT,
    "GET /lanes": READ,
    "GET /lanes/{lane}": READ,
    "POST /lanes/{lane}/pause": ADMIN,
    "POST /lanes/{lane}/resume": ADMIN,
    "PUT /lanes/{lane}/limit": ADMIN,
    "GET /assets": READ,
    "GET /assets/{dataset_id}": READ,
    "GET /assets/{dataset_id}/v{version}": READ,
    "DELETE /assets/{dataset_id}/v{version}": ADMIN,
    "GET /assets/{dataset_id}/v{version}/download": READ,
    "GET /assets/{dataset_id}/v{version}/files": READ,
    "GET /assets/{dataset_id}/v{version}/files/{name}": READ,
    "GET /assets/{dataset_id}/v{version}/lineage": READ,
    "GET /activity": ADMIN,
    "POST /maintenance/cleanup": ADMIN,
    "GET /webhooks/deliveries": ADMIN,
}

# Routes of the framework, which have no dependencies: the OpenAPI document and the files of /docs.
OPEN_FILES = ("/openapi.json", "/static-offline-docs/")
READY = "/ready"
PROBES = frozenset({READY, "/metrics"})

# For all methods: an unknown method of an open path is a 405, with or without a key.
_OPEN = frozenset(name.partition(" ")[2] for name, scope in NEEDED.items() if scope is OPEN)


def is_open(path: str) -> bool:
    """Whether the path needs no key, and ignores one."""
    return (path in _OPEN and path != READY) or path == OPEN_FILES[0] or path.startswith(OPEN_FILES[1])


async def permit(request: Request) -> None:
    """A dependency of every route. Raises Forbidden unless the caller's scope includes the one that is needed."""
    name = f"{request.method} {request.scope['route'].path}"
    if name not in NEEDED:
        raise Forbidden(f"{name} has no scope.", "This is a defect of the service. Report it.")
    needed, caller = NEEDED[name], request.state.caller
    assert isinstance(caller, Caller)  # noqa: S101 # set by AuthMiddleware for every request
    if needed is not OPEN and not caller.scope.includes(needed):
        raise Forbidden(
            f"{name} needs the scope {needed.value!r}; the API key {caller.user!r} has {caller.scope.value!r}.",
            "Use an API key with that scope: `spatial-etl keys create NAME --scope "
            f"{needed.value}` makes one. Scopes: {', '.join(Scope)}; each includes those before it.",
        )


def document_access(document: dict[str, Any]) -> None:
    """Put the security scheme, the scopes and the problems that go with them into the OpenAPI document."""
    api_key = {
        "type": "http",
        "scheme": "bearer",
        "bearerFormat": "setl_…",
        "description": "An API key, where the service requires one. `spatial-etl keys create` makes it.",
    }
    # First, because Authorize in /docs offers them in this order, and the webhook's token is for the object store only.
    document["components"]["securitySchemes"] = {"ApiKey": api_key, **document["components"]["securitySchemes"]}
    problems = {str(status): entry for status, entry in responses(401, 403, 429, 503).items()}
    scopes = {name.replace(":path}", "}"): scope for name, scope in NEEDED.items()}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            scope = scopes[f"{method.upper()} {path}"]
            if scope is OPEN:
                continue
            operation["security"] = [{"ApiKey": [scope.value]}]
            operation["responses"] = dict(sorted({**problems, **operation["responses"]}.items()))
