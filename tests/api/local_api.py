"""The API in this process, over a real ledger and a local store, with keys of every kind."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from fastapi import FastAPI

from app.clients import Clients, open_clients
from app.main import create_app
from app.models.api_key import ApiKey, Scope, hash_token, new_token
from app.models.base import utcnow
from app.models.page import Page
from app.services.access import api_keys as keys
from app.settings import ApiSettings, LedgerSettings, Settings


@dataclass
class LocalApi:
    app: FastAPI
    clients: Clients
    http: httpx.AsyncClient

    async def key(self, name: str, scope: Scope = Scope.ADMIN, *prefixes: str) -> dict[str, str]:
        """The header of a new key."""
        token, _ = await keys.create(self.clients.ledger, name, scope, prefixes, None)
        return bearer(token)

    async def expired_key(self) -> dict[str, str]:
        token, now = new_token(), utcnow()
        fields = {"created_at": now - timedelta(days=2), "expires_at": now - timedelta(days=1)}
        key = ApiKey(name="expired", token_hash=hash_token(token), scope=Scope.ADMIN, **fields)
        assert await self.clients.ledger.add_api_key(key)
        return bearer(token)

    async def entries(self) -> list[dict[str, Any]]:
        """The audit trail, newest first, as an administrator reads it."""
        found = await self.clients.ledger.list_activity(Page(limit=1000))
        return [entry.model_dump(mode="json") for entry in found.items]


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@asynccontextmanager
async def local_api(
    data_dir: Path, peer: str = "127.0.0.1", *, ledger: LedgerSettings | None = None, **api: Any
) -> AsyncIterator[LocalApi]:
    """api: settings of the API. peer: the address that requests come from. ledger: SQLite by default."""
    settings = Settings(data_dir=data_dir, ledger=ledger or LedgerSettings(), api=ApiSettings(**api))
    async with open_clients(settings) as clients:
        await clients.ledger.migrate()
        app = create_app(settings)
        async with app.router.lifespan_context(app):
            transport = httpx.ASGITransport(app, raise_app_exceptions=False, client=(peer, 50000))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as http:
                yield LocalApi(app, clients, http)
