"""The platform's table of REST resources, and how much of it there is. What is missing can only become less."""

from __future__ import annotations

from typing import Any

from app.main import create_app
from app.settings import Settings

# (method and path, query parameters that the contract names)
CONTRACT: dict[str, dict[str, tuple[str, ...]]] = {
    "manifests": {
        "POST /manifests": (),
        "POST /manifests/plan": (),
        "GET /manifests": ("status", "intent", "uploader", "project", "testing", "since", "cursor", "limit"),
        "GET /manifests/{batch_id}": (),
        "POST /manifests/{batch_id}/rerun": (),
        "DELETE /manifests/{batch_id}": (),
    },
    "runs": {
        "GET /runs": ("cursor", "limit"),
        "GET /runs/{run_id}": ("wait",),
        "GET /runs/{run_id}/events": ("after",),
        "GET /runs/{run_id}/rejected": (),
        "POST /runs/{run_id}/cancel": (),
        "POST /runs/{run_id}/rerun": (),
    },
    "catalogue": {
        "GET /assets": ("kind", "keyword", "project", "tag", "bbox", "text", "testing", "since", "cursor", "limit"),
        "GET /assets/{dataset_id}": ("cursor", "limit"),
        "GET /assets/{dataset_id}/v{version}": (),
        "DELETE /assets/{dataset_id}/v{version}": (),
        "GET /assets/{dataset_id}/v{version}/download": (),
        "GET /assets/{dataset_id}/v{version}/files": (),
        "GET /assets/{dataset_id}/v{version}/files/{name}": (),
        "GET /assets/{dataset_id}/v{version}/lineage": ("depth", "direction"),
    },
    "doors": {
        "POST /webhooks/minio": (),
        "GET /webhooks/deliveries": ("status", "cursor", "limit"),
        "GET /landing": ("prefix",),
        "GET /landing/{key}": (),
        "PUT /landing/{key}": (),
        "DELETE /landing/{key}": (),
        "POST /landing/presign": (),
    },
    "upkeep": {
        "GET /lanes": (),
        "GET /lanes/{lane}": (),
        "POST /lanes/{lane}/pause": (),
        "POST /lanes/{lane}/resume": (),
        "PUT /lanes/{lane}/limit": (),
        "GET /activity": ("cursor", "limit"),
        "POST /maintenance/cleanup": (),
        "GET /health": (),
        "GET /ready": (),
        "GET /metrics": (),
    },
}

# Strike out a line when its resource or parameter is there: the test insists on it.
MISSING: set[str] = set()

MEDIA_TYPES = {
    "GET /runs/{run_id}/events": {"application/json", "text/event-stream"},
    "GET /assets/{dataset_id}/v{version}/lineage": {
        "application/json",
        "application/vnd.openlineage+json",
        "application/prov+json",
        "text/vnd.mermaid",
        "text/plain",
    },
}


def operations() -> dict[str, dict[str, Any]]:
    paths = create_app(Settings()).openapi()["paths"]
    return {f"{method.upper()} {path}": what for path, methods in paths.items() for method, what in methods.items()}


def test_the_contract_is_there_but_for_what_is_said_to_be_missing() -> None:
    there = operations()
    missing = set()
    for resources in CONTRACT.values():
        for name, parameters in resources.items():
            if name not in there:
                missing.add(name)
                continue
            known = {parameter["name"] for parameter in there[name].get("parameters", ()) if parameter["in"] == "query"}
            missing |= {f"{name}?{parameter}" for parameter in set(parameters) - known}
    assert missing == MISSING


def test_there_is_nothing_that_the_contract_does_not_name() -> None:
    assert set(operations()) <= {name for resources in CONTRACT.values() for name in resources}


def test_every_encoding_is_documented() -> None:
    there = operations()
    for name, media_types in MEDIA_TYPES.items():
        assert set(there[name]["responses"]["200"]["content"]) == media_types


def test_every_operation_says_what_it_does_and_which_problems_it_answers_with() -> None:
    for name, operation in operations().items():
        assert operation.get("summary"), name
        if name in ("GET /health", "GET /ready", "GET /metrics"):
            continue
        problems = {code: answer for code, answer in operation["responses"].items() if code >= "400"}
        assert problems, name
        for code, answer in problems.items():
            assert set(answer["content"]) == {"application/problem+json"}, f"{name} {code}"
