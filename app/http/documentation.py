"""The script of /redoc without the logo that it would load from another host."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import fastapi_offline
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from app.http.access import OPEN_FILES

_SCRIPT = "redoc.standalone.js"
_LOGO = b'"https://cdn.redoc.ly/redoc/logo-mini.svg"'
# Redoc hides an image that cannot be loaded.
_NO_LOGO = b'"data:,"'


def serve_redoc_script(app: FastAPI) -> None:
    """Serve the script in the place of the one that the package serves: redoc has no option for its logo."""
    app.router.routes.insert(0, Route(OPEN_FILES[1] + _SCRIPT, _send_script))


async def _send_script(_: Request) -> Response:
    return Response(_script(), media_type="text/javascript", headers={"Cache-Control": "max-age=3600"})


@cache
def _script() -> bytes:
    packaged = Path(fastapi_offline.__file__).parent / "static" / _SCRIPT
    return packaged.read_bytes().replace(_LOGO, _NO_LOGO)
