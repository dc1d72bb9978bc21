"""The OpenAPI document, where it says more, or less, than FastAPI writes by itself."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from app.routers.access import document_access
from app.routers.problems import Problem, ProblemFault

_NULL = {"type": "null"}
_RUN = {"run_id": "$response.body#/run_id"}
_VERSION = {"dataset_id": "$response.body#/items/0/dataset_id", "version": "$response.body#/items/0/version"}
# Where an answer leads: what it is an answer to, and the path, method and parameters of what can be asked next.
_LINKS: tuple[tuple[str, str, tuple[tuple[str, str, dict[str, str]], ...]], ...] = (
    (
        "/manifests",
        "post",
        (
            ("/runs/{run_id}", "get", _RUN),
            ("/runs/{run_id}/events", "get", _RUN),
            ("/runs/{run_id}/cancel", "post", _RUN),
            ("/runs/{run_id}/rerun", "post", _RUN),
            ("/manifests/{batch_id}", "get", {"batch_id": "$response.body#/batch_id"}),
        ),
    ),
    (
        "/assets",
        "get",
        (
            ("/assets/{dataset_id}", "get", {"dataset_id": "$response.body#/items/0/dataset_id"}),
            ("/assets/{dataset_id}/v{version}", "get", _VERSION),
            ("/assets/{dataset_id}/v{version}/files", "get", _VERSION),
            ("/assets/{dataset_id}/v{version}/download", "get", _VERSION),
            ("/assets/{dataset_id}/v{version}/lineage", "get", _VERSION),
        ),
    ),
    (
        "/landing/{key}",
        "put",
        (
            ("/landing/{key}", "get", {"key": "$response.body#/key"}),
            ("/landing/{key}", "delete", {"key": "$response.body#/key"}),
        ),
    ),
)


def complete_document(app: FastAPI) -> None:
    """Put the problem's schema into the document; take out what is never sent."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            _put_problems(document)
            _put_links(document)
            for operation in _operations(document):
                _take_out_nulls(operation)
                _take_out_validation_error(operation)
            document_access(document)
        assert app.openapi_schema is not None  # noqa: S101 # set by the generator
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way to extend the document


def _put_problems(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    reference = "#/components/schemas/{model}"
    for model in (Problem, ProblemFault):
        schema = model.model_json_schema(ref_template=reference)
        schema.pop("$defs", None)
        schemas[model.__name__] = schema


def _put_links(document: dict[str, Any]) -> None:
    paths = document["paths"]
    for path, method, targets in _LINKS:
        for status, response in paths[path][method]["responses"].items():
            if status.startswith("2"):
                operations = [(paths[target][verb]["operationId"], given) for target, verb, given in targets]
                response["links"] = {
                    name: {"operationId": name, "parameters": parameters} for name, parameters in operations
                }


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for operations in document["paths"].values():
        yield from operations.values()


def _take_out_nulls(operation: dict[str, Any]) -> None:
    """A parameter without a value is left out: none of them is null."""
    for parameter in operation.get("parameters", ()):
        schema = parameter["schema"]
        kinds = [kind for kind in schema.get("anyOf", ()) if kind != _NULL]
        if len(kinds) == 1:
            del schema["anyOf"]
            parameter["schema"] = kinds[0] | schema


def _take_out_validation_error(operation: dict[str, Any]) -> None:
    """FastAPI's own answer to a bad request, where no problem stands in its place: the request cannot be bad."""
    error = operation["responses"].get("422", {}).get("content", {}).get("application/json", {})
    if error.get("schema", {}).get("$ref", "").endswith("/HTTPValidationError"):
        del operation["responses"]["422"]
