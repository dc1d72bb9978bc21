"""Query parameters that would be ignored without a word are refused, on every route."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts

from app.http.query import query_parameters
from app.models.manifests.listed_faults import MAX_FAULTS
from tests.api.local_api import LocalApi, local_api
from tests.service import manifest

pytestmark = pytest.mark.anyio


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[LocalApi]:
    async with local_api(tmp_path) as opened:
        yield opened


def routes(api: LocalApi) -> list[tuple[str, str, Dependant]]:
    """(method, path, parameters) of every route of the interface."""
    found = [
        (method, str(context.path), context.route.dependant)
        for context in iter_route_contexts(api.app.routes)
        if isinstance(context.route, APIRoute) and context.route.include_in_schema
        for method in context.methods or ()
    ]
    assert len(found) > 30
    return found


async def faults(api: LocalApi, url: str, method: str = "GET") -> list[dict[str, Any]]:
    answer = await api.http.request(method, url)
    assert answer.status_code == 422, f"{url}: {answer.text}"
    assert answer.json()["code"] == "request_invalid"
    found: list[dict[str, Any]] = answer.json()["errors"]
    return found


async def test_every_route_refuses_a_parameter_that_it_does_not_know(api: LocalApi) -> None:
    for method, template, dependant in routes(api):
        path = template.replace("{version}", "1").replace("{key:path}", "a/b")
        (fault,) = await faults(api, f"{path.replace('{', '').replace('}', '')}?zzz=1", method)
        assert (fault["pointer"], fault["code"]) == ("query/zzz", "query_unknown")
        assert fault["detail"] == "Unknown query parameter 'zzz'."
        known = sorted(name for name, _ in query_parameters(dependant))
        assert fault["fix"] == (f"Known here: {', '.join(known)}." if known else "This path takes none.")


async def test_the_known_names_are_those_of_the_document(api: LocalApi) -> None:
    paths = api.app.openapi()["paths"]
    for method, path, dependant in routes(api):
        operation = paths[path.replace(":path}", "}")][method.lower()]
        documented = {
            each["name"]: each["schema"].get("type") == "array"
            for each in operation.get("parameters", ())
            if each["in"] == "query"
        }
        assert dict(query_parameters(dependant)) == documented, path


async def test_a_near_name_is_proposed_and_all_faults_are_told_at_once(api: LocalApi) -> None:
    first, second = await faults(api, "/assets?keywords=x&project=a&project=b&tag=a:1&tag=b:2")
    assert first["fix"].startswith("Did you mean 'keyword'? Known here: bbox, cursor, deleted, keyword, kind, ")
    assert (second["pointer"], second["code"]) == ("query/project", "query_repeated")
    assert second["detail"] == "The query parameter 'project' is given 2 times; it takes one value."


async def test_very_many_are_counted(api: LocalApi) -> None:
    found = await faults(api, "/runs?" + "&".join(f"x{n}=1" for n in range(MAX_FAULTS + 7)))
    assert len(found) == MAX_FAULTS + 1
    assert found[-1]["detail"] == "7 further faults are not listed."


async def test_the_right_of_the_key_comes_first(api: LocalApi) -> None:
    assert (await api.http.get("/runs?zzz=1", headers=await api.key("root"))).status_code == 422
    assert (await api.http.get("/runs?zzz=1")).status_code == 401


async def test_several_statuses_list_those_with_any_of_them(api: LocalApi) -> None:
    for batch in ("one", "two"):
        answer = await api.http.post("/manifests", json=manifest(batch, ("q/a.geojson", "GeoJSON")))
        assert answer.status_code == 202
    assert (await api.http.delete("/manifests/one")).status_code == 200
    for path in ("/runs", "/manifests"):

        async def batches(query: str, path: str = path) -> list[str]:
            return [each["batch_id"] for each in (await api.http.get(f"{path}?{query}")).json()["items"]]

        assert await batches("status=queued&status=canceled") == ["two", "one"]
        assert await batches("status=canceled&status=running") == ["one"]
        first = (await api.http.get(f"{path}?status=queued&status=canceled&limit=1")).json()
        assert [each["batch_id"] for each in first["items"]] == ["two"]
        assert [each["batch_id"] for each in (await api.http.get(first["next"])).json()["items"]] == ["one"]
        assert (await api.http.get(f"{path}?status=queued&status=lost")).status_code == 422
