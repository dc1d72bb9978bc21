"""What browsers may do with answers, how many requests there may be, and how long one may take to arrive."""

from __future__ import annotations

import contextlib
import socket
import time
from pathlib import Path

import httpx
import pytest

from app.http.authentication import TokenBuckets, counted
from app.models.api_key import Scope, new_token
from tests.api.local_api import bearer, local_api
from tests.service import Service, running_service

pytestmark = pytest.mark.anyio

ELSEWHERE = "0.0.0.0"  # noqa: S104 # nothing is bound: the setting decides
PAGE = "https://maps.example.org"
SCRIPT = b"<html><script>fetch('/activity')</script></html>"


def test_a_bucket_holds_what_comes_in_a_second() -> None:
    now = 0.0
    buckets = TokenBuckets(3, lambda: now)
    assert [buckets.take("a") for _ in range(5)] == [2, 1, 0, -1, -1]
    assert buckets.take("b") == 2
    now = 0.34
    assert [buckets.take("a"), buckets.take("a")] == [0, -1]
    now = 100.0
    assert [buckets.take("a") for _ in range(4)] == [2, 1, 0, -1]


def test_buckets_do_not_grow_without_end() -> None:
    buckets = TokenBuckets(3, lambda: 0.0)
    for number in range(30_000):
        buckets.take(str(number))
    assert len(buckets._buckets) == 10_000


async def test_a_key_and_an_address_have_limits_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A clock that stands still: what a second brings must not come in the middle of it.
    monkeypatch.setattr(TokenBuckets.__init__, "__defaults__", (lambda: 0.0,))
    async with local_api(tmp_path, host=ELSEWHERE, rate_limit=3) as opened:
        one, two = await opened.key("one", Scope.READ), await opened.key("two", Scope.READ)
        for left in (2, 1, 0):
            answer = await opened.http.get("/runs", headers=one)
            assert (answer.status_code, answer.headers["ratelimit"]) == (200, f'"second";r={left};t=1')
            assert answer.headers["ratelimit-policy"] == '"second";q=3;w=1'
        refused = await opened.http.get("/runs", headers=one)
        assert (refused.status_code, refused.json()["code"]) == (429, "rate_limited")
        assert (refused.headers["retry-after"], refused.headers["ratelimit"]) == ("1", '"second";r=0;t=1')
        assert refused.headers["content-type"] == "application/problem+json"
        # The first look at a key counts for the address as well: three of them, then the address has none left.
        statuses = [(await opened.http.get("/runs", headers=bearer(new_token()))).status_code for _ in range(3)]
        assert statuses == [401, 401, 429]
        assert (await opened.http.get("/runs")).status_code == 429
        assert (await opened.http.get("/health")).status_code == 200
        assert (await opened.http.get("/runs", headers=two)).status_code == 429


async def test_unknown_keys_of_an_address_have_a_limit_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(TokenBuckets.__init__, "__defaults__", (lambda: 0.0,))
    async with local_api(tmp_path, host=ELSEWHERE, wrong_key_limit=3) as opened:
        key, other = await opened.key("one", Scope.READ), await opened.key("two", Scope.READ)
        assert (await opened.http.get("/runs", headers=key)).status_code == 200
        answers = [await opened.http.get("/runs", headers=bearer(new_token())) for _ in range(5)]
        assert [answer.status_code for answer in answers] == [401, 401, 401, 429, 429]
        assert (answers[-1].json()["code"], answers[-1].headers["retry-after"]) == ("rate_limited", "1")
        # A key that was seen before goes on; one that would have to be looked up has to wait.
        assert (await opened.http.get("/runs", headers=key)).status_code == 200
        assert (await opened.http.get("/runs", headers=other)).status_code == 429


def test_wrong_webhook_tokens_of_an_address_have_a_limit(data_dir: Path) -> None:
    own = {"SPATIAL_ETL_WEBHOOK__TOKEN": "the-right-one", "SPATIAL_ETL_API__WRONG_KEY_LIMIT": "3"}
    with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="0", **own) as service:
        wrong = [service.http.post("/webhooks/minio", content=b"{}", headers=bearer("x")) for _ in range(40)]
        assert {answer.status_code for answer in wrong[:3]} == {401}
        assert 429 in {answer.status_code for answer in wrong}
        assert all(answer.headers["retry-after"] for answer in wrong if answer.status_code == 429)
        time.sleep(1.1)
        assert service.http.post("/webhooks/minio", content=b"{}", headers=bearer("the-right-one")).status_code == 200


@pytest.mark.parametrize(
    ("address", "wanted"),
    [
        ("192.0.2.1", "address 192.0.2.1"),
        ("::ffff:192.0.2.1", "address 192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "address 2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "address 2001:db8:1:2::/64"),
        ("2001:db8:1:3::1", "address 2001:db8:1:3::/64"),
        ("::1", "address ::/64"),
        (None, "address None"),
    ],
)
def test_an_ipv6_address_is_counted_by_its_network(address: str | None, wanted: str) -> None:
    assert counted(address) == wanted


def test_heads_that_stay_incomplete_give_way(data_dir: Path) -> None:
    with running_service(data_dir, SPATIAL_ETL_WORKER__PROCESSES="0", SPATIAL_ETL_API__MAX_CONNECTIONS="64") as service:
        url = httpx.URL(service.url)
        with contextlib.ExitStack() as stack:
            held = []
            for _ in range(200):
                connection = stack.enter_context(socket.create_connection((url.host, url.port)))
                connection.sendall(b"GET /health HTTP/1.1\r\nHost:")
                held.append(connection)
            for _ in range(20):
                with httpx.Client(base_url=service.url, timeout=10, trust_env=False) as one:
                    assert one.get("/health").status_code == 200
            closed = 0
            for connection in held[:150]:
                connection.settimeout(5)
                closed += connection.recv(1) == b""
            assert closed == 150


async def test_without_keys_or_without_a_limit_nobody_is_counted(tmp_path: Path) -> None:
    async with local_api(tmp_path, rate_limit=1) as local:
        for _ in range(5):
            answer = await local.http.get("/runs")
            assert (answer.status_code, "ratelimit" in answer.headers) == (200, False)
    async with local_api(tmp_path, host=ELSEWHERE, rate_limit=0) as opened:
        key = await opened.key("one")
        assert {(await opened.http.get("/runs", headers=key)).status_code for _ in range(20)} == {200}


async def test_what_was_uploaded_runs_no_script_in_the_origin_of_the_documentation(tmp_path: Path) -> None:
    async with local_api(tmp_path) as local:
        for name in ("x.html", "x.svg", "x.xml", 'x".html'):
            created = await local.http.put(f"/landing/{name}", content=SCRIPT, headers={"Content-Type": "text/html"})
            assert created.status_code == 201
            answer = await local.http.get(f"/landing/{name}")
            assert answer.content == SCRIPT
            assert answer.headers["content-type"] == "application/octet-stream"
            assert answer.headers["content-disposition"].startswith("attachment; ")
            assert answer.headers["content-security-policy"].endswith("; sandbox")
            assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", ["/runs", "/landing/none", "/nothing", "/docs", "/openapi.json", "/metrics"])
async def test_every_answer_has_the_headers_for_browsers(tmp_path: Path, path: str) -> None:
    async with local_api(tmp_path) as local:
        headers = (await local.http.get(path)).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers
        assert not [name for name in headers if name.startswith("access-control-")]


async def test_other_origins_read_answers_only_where_a_setting_names_them(tmp_path: Path) -> None:
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization"}
    async with local_api(tmp_path, host=ELSEWHERE, cors_origins=PAGE) as opened:
        key = await opened.key("page", Scope.SUBMIT)
        preflight = await opened.http.options("/landing/x", headers={"Origin": PAGE, **asked})
        assert (preflight.status_code, preflight.headers["access-control-allow-origin"]) == (200, PAGE)
        answer = await opened.http.put("/landing/x", content=b"x", headers={"Origin": PAGE, **key})
        assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (201, PAGE)
        assert "ETag" in answer.headers["access-control-expose-headers"]
        # A refusal can be read too, or nobody would know why.
        refused = await opened.http.get("/runs", headers={"Origin": PAGE})
        assert (refused.status_code, refused.headers["access-control-allow-origin"]) == (401, PAGE)
        other = {"Origin": "https://evil.example.org"}
        assert (await opened.http.options("/landing/x", headers={**other, **asked})).status_code == 400
        assert "access-control-allow-origin" not in (await opened.http.get("/runs", headers={**other, **key})).headers
    async with local_api(tmp_path) as closed:
        assert (await closed.http.options("/landing/x", headers={"Origin": PAGE, **asked})).status_code == 401


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Service:  # type: ignore[misc] # a generator
    data = tmp_path_factory.mktemp("impatient") / "data"
    settings = {"SPATIAL_ETL_API__PATIENCE_SECONDS": "0.5", "SPATIAL_ETL_WORKER__PROCESSES": "0"}
    with running_service(data, **settings) as started:
        yield started


@pytest.mark.parametrize(
    ("sent", "answer"),
    [
        (b"", b""),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: ", b""),
        (b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\nGET /hea", b"HTTP/1.1 200 OK"),
        (b"POST /manifests HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{", b"HTTP/1.1 408 "),
        (b"PUT /landing/slow HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc", b"HTTP/1.1 408 "),
    ],
)
def test_what_stays_half_sent_is_ended(impatient: Service, sent: bytes, answer: bytes) -> None:
    """Ended by the service: the socket says so, long before anybody's own time limit."""
    url = httpx.URL(impatient.url)
    with socket.create_connection((url.host, url.port), timeout=60) as connection:
        connection.sendall(sent)
        received = b""
        while part := connection.recv(65536):
            received += part
    assert received.startswith(answer)
    assert bool(received) is bool(answer)
    assert impatient.http.get("/landing?prefix=slow").json()["items"] == []
    assert "Traceback" not in impatient.log.read_text()


def test_who_waits_for_news_is_not_cut_off(impatient: Service) -> None:
    """Waiting is not silence within a request."""
    run_id = impatient.post(_waiting_manifest()).json()["run_id"]
    answer = impatient.http.get(f"/runs/{run_id}", params={"wait": 2})
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")


def test_a_forwarded_address_is_not_believed_of_a_neighbour(impatient: Service) -> None:
    """uvicorn would, of everybody who connects from this host."""
    forged = {"X-Forwarded-For": "203.0.113.9"}
    assert impatient.http.put("/landing/forged", content=b"x", headers=forged).status_code == 201
    entries = impatient.http.get("/activity").json()["items"]
    assert [e["ip"] for e in entries if e["resource_id"] == "landing-zone/forged"] == ["127.0.0.1"]


def _waiting_manifest() -> object:
    from tests.service import manifest

    return manifest("waits-long", ("none.geojson", "GeoJSON"))
