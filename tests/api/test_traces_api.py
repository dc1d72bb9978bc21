"""A request's trace and id: in its answer, on the run that it makes, and in the line that is logged for it."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from app.clients import open_clients
from app.main import create_app
from app.models.runs.trace import parse_traceparent
from app.settings import Settings
from tests.service import manifest

pytestmark = pytest.mark.anyio

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
LOG = "app.http.request_log"


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(data_dir=tmp_path)
    async with open_clients(settings) as clients:
        await clients.ledger.migrate()
    app = create_app(settings)
    transport = httpx.ASGITransport(app)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://etl") as client,
    ):
        yield client


async def test_a_trace_goes_from_the_request_to_the_run_and_back(http: httpx.AsyncClient) -> None:
    document = manifest("traced", ("p.geojson", "GeoJSON"))
    first = await http.post("/manifests", json=document, headers={"traceparent": TRACE})
    assert first.status_code == 202, first.text
    assert first.json()["traceparent"] == first.headers["traceparent"] == TRACE
    known = await http.post("/manifests", json=document)
    assert known.json()["traceparent"] == TRACE, "of the request that made the run"
    assert known.headers["traceparent"] != TRACE


@pytest.mark.parametrize("given", ["nonsense", "x" * 1000, TRACE + "-x", ""])
async def test_a_malformed_trace_is_replaced_and_no_reason_to_refuse(http: httpx.AsyncClient, given: str) -> None:
    document = manifest(f"malformed-{len(given)}", ("p.geojson", "GeoJSON"))
    answer = await http.post("/manifests", json=document, headers={"traceparent": given})
    assert answer.status_code == 202, answer.text
    made = answer.json()["traceparent"]
    assert made == answer.headers["traceparent"] == parse_traceparent([made]) != given


async def test_every_request_has_a_line_without_its_query(
    http: httpx.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, LOG):
        answer = await http.get("/runs/a%0Ab?wait=1&token=hidden", headers={"traceparent": TRACE})
        await http.get("/health")
    (line,) = [record for record in caplog.records if record.name == LOG]
    fields = {name: getattr(line, name) for name in ("method", "path", "status")}
    assert fields == {"method": "GET", "path": "/runs/a%0Ab", "status": 422}
    assert line.duration_ms > 0  # type: ignore[attr-defined] # an extra
    assert "hidden" not in json.dumps(line.__dict__, default=str)
    assert len(answer.headers["x-request-id"]) == 32
