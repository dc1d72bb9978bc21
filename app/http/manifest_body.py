"""Manifests as bodies of requests: parsed once, strictly and within bounds, and off the event loop when large."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from app.errors import InvalidManifest
from app.models.manifests.manifest import Manifest
from app.services.intake.manifest_json import read_manifest_off_loop


class _ManifestRequest(Request):
    async def json(self) -> Any:
        """The manifest, already valid: FastAPI takes an instance of the model as it is. Raises InvalidManifest."""
        return await read_manifest_off_loop(await self.body())


class ManifestRoute(APIRoute):
    """A route that reads manifests strictly: FastAPI itself accepts repeated names, and documents of any depth."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()
        if self.body_field is None or self.body_field.field_info.annotation is not Manifest:
            return handle

        async def handle_manifest(request: Request) -> Response:
            try:
                return await handle(_ManifestRequest(request.scope, request.receive))
            except HTTPException as err:
                # FastAPI raises this for every exception of `json`.
                if isinstance(err.__cause__, InvalidManifest):
                    raise err.__cause__ from None
                raise

        return handle_manifest
