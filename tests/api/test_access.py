"""Who may ask what: every route with every kind of key, and whether keys are demanded at all."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.routing import APIRoute, iter_route_contexts

from app.http.access import NEEDED, OPEN, OPEN_FILES
from app.main import create_app
from app.models.api_key import Scope, new_token
from app.services.access import api_keys as keys
from app.settings import Settings
from tests.api.local_api import LocalApi, bearer, local_api

pytestmark = pytest.mark.anyio

ELSEWHERE = "0.0.0.0"  # noqa: S104 # nothing is bound: the setting decides
PARAMETERS = {
    "key:path": "x/y.bin",
    "batch_id": "b",
    "run_id": "r",
    "dataset_id": "d",
    "version": "1",
    "name": "data.bin",
}
KINDS = ("none", "wrong", "garbled", "revoked", "expired", "read", "submit", "admin")


@pytest.fixture
async def elsewhere(tmp_path: Path) -> AsyncIterator[LocalApi]:
    async with local_api(tmp_path, host=ELSEWHERE, rate_limit=0) as opened:
        yield opened


async def headers_of(elsewhere: LocalApi) -> dict[str, dict[str, str]]:
    found = {scope.value: await elsewhere.key(scope.value, scope) for scope in Scope}
    found["revoked"] = await elsewhere.key("revoked")
    await keys.revoke(elsewhere.clients.ledger, "revoked")
    found["expired"] = await elsewhere.expired_key()
    return found | {"none": {}, "wrong": bearer(new_token()), "garbled": {"Authorization": "Basic eDp5"}}


def routes() -> set[str]:
    """Every route of the application that has dependencies."""
    found = set()
    for route in iter_route_contexts(create_app(Settings()).routes):
        if isinstance(route.original_route, APIRoute):
            found |= {f"{method} {route.path}" for method in route.methods or ()}
    return found


def test_every_route_has_a_scope_and_every_scope_a_route() -> None:
    assert routes() == set(NEEDED)
    assert len(routes()) > 30


def test_plain_routes_are_those_of_the_documentation() -> None:
    plain = {
        str(route.path)
        for route in iter_route_contexts(create_app(Settings()).routes)
        if not isinstance(route.original_route, APIRoute)
    }
    assert plain == {OPEN_FILES[0], OPEN_FILES[1].rstrip("/"), f"{OPEN_FILES[1]}redoc.standalone.js"}


async def test_every_route_with_every_kind_of_key(elsewhere: LocalApi) -> None:
    headers = await headers_of(elsewhere)
    assert set(headers) == set(KINDS)
    for name, needed in NEEDED.items():
        method, path = name.split(" ")
        for parameter, value in PARAMETERS.items():
            path = path.replace("{" + parameter + "}", value)
        for kind in KINDS:
            answer = await elsewhere.http.request(method, path, headers=headers[kind])
            case = f"{name} with {kind}: {answer.status_code} {answer.text[:200]}"
            if path == "/ready" and kind in ("wrong", "revoked", "expired"):
                assert answer.status_code == 401, case
            elif needed is OPEN:
                # The webhook is closed without its token, and knows no keys.
                assert answer.status_code == (503 if "webhooks" in path else 307 if path == "/" else 200), case
            elif kind not in set(Scope):
                assert answer.status_code == 401, case
                assert answer.headers["www-authenticate"] == "Bearer", case
                assert answer.json()["code"] == "unauthorized", case
            elif not Scope(kind).includes(needed):
                assert answer.status_code == 403, case
                assert repr(needed.value) in answer.json()["detail"], case
            else:
                assert answer.status_code not in (401, 403, 500), case


@pytest.mark.parametrize("path", ["/openapi.json", "/docs", "/redoc", "/health", "/static-offline-docs/swagger-ui.css"])
async def test_the_documentation_is_open(elsewhere: LocalApi, path: str) -> None:
    assert (await elsewhere.http.get(path)).status_code == 200


@pytest.mark.parametrize("path", ["/nothing", "/health/", "/landing/%2e%2e/health", "/HEALTH", "/runs/%2e%2e"])
async def test_paths_that_nobody_knows_need_a_key_too(elsewhere: LocalApi, path: str) -> None:
    assert (await elsewhere.http.get(path)).status_code == 401


async def test_a_body_is_not_read_before_the_key_is_known(elsewhere: LocalApi) -> None:
    async def body() -> AsyncIterator[bytes]:
        raise AssertionError("somebody read the body")
        yield b""

    assert (await elsewhere.http.post("/manifests", content=body())).status_code == 401
    assert (await elsewhere.http.put("/landing/x", content=body())).status_code == 401


async def test_a_revoked_key_goes_on_for_no_longer_than_the_cache(
    elsewhere: LocalApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = await elsewhere.key("leaver")
    assert (await elsewhere.http.get("/runs", headers=header)).status_code == 200
    await keys.revoke(elsewhere.clients.ledger, "leaver")
    assert (await elsewhere.http.get("/runs", headers=header)).status_code == 200
    later = keys.time.monotonic() + keys.CACHE_SECONDS
    monkeypatch.setattr(keys.time, "monotonic", lambda: later)
    answer = await elsewhere.http.get("/runs", headers=header)
    assert (answer.status_code, answer.json()["detail"]) == (401, "The API key 'leaver' is revoked.")


async def test_polling_asks_the_ledger_once_in_the_time_of_the_cache(
    elsewhere: LocalApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = await elsewhere.key("poller", Scope.READ)
    ledger, asked = elsewhere.clients.ledger, []
    # The application opened a ledger of its own.
    own = elsewhere.app.state.clients.ledger
    find = own.find_api_key

    async def counted(token_hash: str) -> Any:
        asked.append(token_hash)
        return await find(token_hash)

    monkeypatch.setattr(own, "find_api_key", counted)
    for _ in range(20):
        assert (await elsewhere.http.get("/runs", headers=header)).status_code == 200
    assert len(asked) == 1
    (key,) = await ledger.list_api_keys()
    assert key.last_used_at is not None


async def test_on_loopback_nobody_needs_a_key_until_there_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with local_api(tmp_path) as local:
        assert (await local.http.get("/runs")).status_code == 200
        assert (await local.http.put("/landing/a.bin", content=b"a")).status_code == 201
        header = await local.key("first", Scope.READ)
        later = keys.time.monotonic() + keys.CACHE_SECONDS
        monkeypatch.setattr(keys.time, "monotonic", lambda: later)
        assert (await local.http.get("/runs")).status_code == 401
        assert (await local.http.get("/runs", headers=header)).status_code == 200
        await keys.revoke(local.clients.ledger, "first")
        later += keys.CACHE_SECONDS
        # The last key is revoked, but requests still need a key.
        assert (await local.http.get("/runs")).status_code == 401
        assert (await local.http.get("/runs", headers=header)).status_code == 401


async def test_keys_can_be_required_on_loopback_and_switched_off(tmp_path: Path) -> None:
    async with local_api(tmp_path, auth="required") as closed:
        assert (await closed.http.get("/runs")).status_code == 401
    async with local_api(tmp_path, auth="off", host=ELSEWHERE, allow_anonymous=True) as opened:
        header = await opened.key("some", Scope.READ)
        assert (await opened.http.get("/activity", headers=header)).status_code == 200
        assert (await opened.http.get("/activity", headers={"Host": "etl.example.org"})).status_code == 200


async def test_readiness_has_details_with_a_key_only(tmp_path: Path) -> None:
    async with local_api(tmp_path, host=ELSEWHERE) as closed:
        answer = await closed.http.get("/ready")
        assert (answer.status_code, answer.json()["ready"]) == (200, True)
        names = {"ledger": True, "objects": True, "queue": False, "sweep": False}
        assert {check["name"]: check["ok"] for check in answer.json()["checks"]} == names
        assert all(check.keys() == {"name", "ok", "required"} for check in answer.json()["checks"])
        detailed = (await closed.http.get("/ready", headers=await closed.key("probe", Scope.READ))).json()["checks"]
        assert detailed[0]["details"]["backend"] == "SQLite"
        assert {check["name"]: check["ok"] for check in detailed} == names
        assert (await closed.http.get("/ready", headers=bearer(new_token()))).status_code == 401
        assert (await closed.http.get("/metrics")).status_code == 401
        shutil.rmtree(tmp_path / "objects")
        (tmp_path / "objects").write_bytes(b"in the way")
        failed = await closed.http.get("/ready")
        assert (failed.status_code, failed.headers["retry-after"], failed.json()["ready"]) == (503, "5", False)
        assert {check["name"]: check["ok"] for check in failed.json()["checks"]} == {**names, "objects": False}
        assert str(tmp_path) not in failed.text


async def test_probes_can_be_open(tmp_path: Path) -> None:
    async with local_api(tmp_path, host=ELSEWHERE, open_probes=True) as opened:
        for path, status in (("/ready", 200), ("/metrics", 200), ("/runs", 401)):
            assert (await opened.http.get(path)).status_code == status, path


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("GET", {"Host": "evil.example.org"}, 403),
        ("GET", {"Host": "evil.example.org:8000"}, 403),
        ("GET", {"Host": "127.0.0.1:8000"}, 200),
        ("GET", {"Host": "[::1]:8000"}, 200),
        ("GET", {"Host": "etl.localhost"}, 200),
        ("GET", {"Origin": "https://evil.example.org"}, 200),
        ("PUT", {"Origin": "https://evil.example.org"}, 403),
        ("PUT", {"Origin": "null"}, 403),
        ("PUT", {"Origin": "http://localhost:9"}, 403),
        ("PUT", {"Origin": "http://localhost"}, 201),
        ("PUT", {}, 201),
    ],
)
async def test_without_keys_a_page_of_another_origin_does_nothing(
    tmp_path: Path, method: str, headers: dict[str, str], status: int
) -> None:
    """What a browser on this host may be made to send: by a page from elsewhere, or by a name that points here."""
    async with local_api(tmp_path) as local:
        path = "/runs" if method == "GET" else "/landing/a.bin"
        assert (await local.http.request(method, path, headers=headers)).status_code == status
