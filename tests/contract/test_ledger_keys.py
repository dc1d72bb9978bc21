"""API keys on every ledger."""

from __future__ import annotations

from datetime import timedelta

import pytest

from app.ledger import Ledger
from app.models.api_key import ApiKey, Scope, hash_token, new_token
from tests.contract.conftest import CROWD, Crowd
from tests.contract.ledgers import MINUTE, T0

pytestmark = pytest.mark.anyio


def a_key(name: str = "ci", **fields: object) -> ApiKey:
    common = {"token_hash": hash_token(new_token()), "scope": Scope.SUBMIT, "created_at": T0}
    return ApiKey.model_validate({"name": name} | common | fields)


async def test_a_key_is_found_by_its_hash_as_it_was_made(ledger: Ledger) -> None:
    key = a_key("ci", prefixes=("team-a/", "ä/"), expires_at=T0 + MINUTE)
    assert await ledger.has_api_keys() is False
    assert await ledger.add_api_key(key) is True
    assert await ledger.find_api_key(key.token_hash) == key
    assert await ledger.find_api_key(hash_token(new_token())) is None
    assert await ledger.has_api_keys() is True


async def test_neither_a_name_nor_a_hash_is_given_twice(ledger: Ledger) -> None:
    first = a_key("ci")
    assert await ledger.add_api_key(first)
    assert await ledger.add_api_key(a_key("ci")) is False
    assert await ledger.add_api_key(a_key("other", token_hash=first.token_hash)) is False
    await ledger.revoke_api_key("ci", T0)
    assert await ledger.add_api_key(a_key("ci")) is False
    assert [key.name for key in await ledger.list_api_keys()] == ["ci"]


async def test_keys_are_listed_oldest_first(ledger: Ledger) -> None:
    keys = [a_key("b"), a_key("c", created_at=T0 - MINUTE), a_key("a"), a_key("d", created_at=T0 + MINUTE)]
    for key in keys:
        assert await ledger.add_api_key(key)
    assert [key.name for key in await ledger.list_api_keys()] == ["c", "a", "b", "d"]


async def test_a_key_is_revoked_once_and_stays_known(ledger: Ledger) -> None:
    key = a_key()
    await ledger.add_api_key(key)
    revoked = key.model_copy(update={"revoked_at": T0 + MINUTE})
    assert await ledger.revoke_api_key("ci", T0 + MINUTE) == revoked
    assert await ledger.revoke_api_key("ci", T0 + 2 * MINUTE) == revoked
    assert await ledger.find_api_key(key.token_hash) == revoked
    assert await ledger.revoke_api_key("nobody", T0) is None
    assert await ledger.has_api_keys() is True


async def test_the_last_use_moves_forward_only(ledger: Ledger) -> None:
    key = a_key()
    await ledger.add_api_key(key)
    for at, expected in ((MINUTE, MINUTE), (timedelta(), MINUTE), (2 * MINUTE, 2 * MINUTE)):
        await ledger.mark_api_key_used("ci", T0 + at)
        found = await ledger.find_api_key(key.token_hash)
        assert found == key.model_copy(update={"last_used_at": T0 + expected})
    await ledger.mark_api_key_used("nobody", T0)


async def test_of_several_that_take_a_name_at_once_one_gets_it(ledger: Ledger, crowd: Crowd) -> None:
    results = await crowd("add_api_key", "ci")
    assert len(results) == CROWD
    assert sorted(made for each in results for made in each) == [False] * (CROWD - 1) + [True]
    assert [key.name for key in await ledger.list_api_keys()] == ["ci"]
