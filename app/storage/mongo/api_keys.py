"""API keys in MongoDB."""

from __future__ import annotations

from datetime import datetime

from app.models.api_key import ApiKey
from app.storage.mongo import documents
from app.storage.mongo.base import MongoBase
from app.storage.mongo.database import Collection
from app.storage.mongo.documents import Document
from app.storage.shared.ledger_rules import plain_text, utc_milliseconds


class MongoApiKeys(MongoBase):
    """`app.ledger.api_keys.ApiKeyLedger` in MongoDB; each key is one document, changed by compare-and-set."""

    @property
    def _api_keys(self) -> Collection:
        return self._db.collection("api_keys")

    async def add_api_key(self, key: ApiKey) -> bool:
        return await self._api_keys.add(documents.api_key_document(key))

    async def find_api_key(self, token_hash: str) -> ApiKey | None:
        found = await self._api_keys.one({"token_hash": plain_text(token_hash)})
        return None if found is None else documents.api_key_from(found)

    async def list_api_keys(self) -> tuple[ApiKey, ...]:
        found = await self._api_keys.many({}, (("sort_at", 1), ("name", 1)))
        return tuple(documents.api_key_from(each) for each in found)

    async def has_api_keys(self) -> bool:
        return await self._api_keys.one({}) is not None

    async def revoke_api_key(self, name: str, at: datetime) -> ApiKey | None:
        def revoked(document: Document) -> Document | None:
            return None if document["revoked_at"] is not None else document | {"revoked_at": utc_milliseconds(at)}

        key = plain_text(name)
        changed = await self._api_keys.change(key, revoked) or await self._api_keys.one({"_id": key})
        return None if changed is None else documents.api_key_from(changed)

    async def mark_api_key_used(self, name: str, at: datetime) -> None:
        moment = utc_milliseconds(at)

        def used(document: Document) -> Document | None:
            last = document["last_used_at"]
            return None if last is not None and last >= moment else document | {"last_used_at": moment}

        await self._api_keys.change(plain_text(name), used)
