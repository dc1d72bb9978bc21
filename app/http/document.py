"""The OpenAPI document: FastAPI's own, with problems, links and scopes added and null parameters removed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fastapi import FastAPI

from app.http.access import document_access
from app.http.problems import OTHER_CODE, Problem, ProblemFault, problem_codes, responses
from app.messages.catalogue import codes, table
from app.messages.message import FaultMessage, Notice, Refusal

_NULL = {"type": "null"}
_RUN = {"run_id": "$response.body#/run_id"}
_VERSION = {"dataset_id": "$response.body#/items/0/dataset_id", "version": "$response.body#/items/0/version"}
# OpenAPI links: path and method of an operation; path, method and parameters of those that its response leads to.
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
    """Make `app.openapi` return the completed document."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = generate()
            _add_problems(document)
            _add_codes(document["components"]["schemas"])
            _add_links(document)
            for operation in _operations(document):
                _remove_null_parameters(operation)
                _document_invalid_request(operation)
            document_access(document)
        assert app.openapi_schema is not None  # noqa: S101 # set by the generator
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign] # FastAPI's documented way to extend the document


def _add_problems(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    reference = "#/components/schemas/{model}"
    for model in (Problem, ProblemFault):
        schema = model.model_json_schema(ref_template=reference)
        schema.pop("$defs", None)
        schemas[model.__name__] = schema


def _add_codes(schemas: dict[str, Any]) -> None:
    """The codes of the catalogue, as tables in the descriptions of schemas and as the known values of `code`."""
    problems = problem_codes()
    rows = [f"| {status} | `{code}` | {when} |" for code, (status, when) in problems.items()]
    _describe_codes(
        schemas["Problem"], [*problems], "\n".join(["| status | code | when |", "|---|---|---|", *rows]),
        other={"pattern": f"^{OTHER_CODE.format(status='[45][0-9]{2}')}$"},
    )  # fmt: skip
    for name, kind in (("ProblemFault", FaultMessage), ("RunError", Refusal), ("RunWarning", Notice)):
        _describe_codes(schemas[name], [*codes(kind)], table(kind), other={})


def _describe_codes(schema: dict[str, Any], known: list[str], table_of_codes: str, *, other: dict[str, str]) -> None:
    """other: what a code that is not known here is like. What the ledger keeps outlives a release and its codes."""
    schema["description"] = f"{schema['description']}\n\n{table_of_codes}"
    described = schema["properties"]["code"]
    del described["type"]
    described["anyOf"] = [{"type": "string", "enum": known}, {"type": "string", **other}]


def _add_links(document: dict[str, Any]) -> None:
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


def _remove_null_parameters(operation: dict[str, Any]) -> None:
    """A query parameter is never null: it is left out."""
    for parameter in operation.get("parameters", ()):
        schema = parameter["schema"]
        kinds = [kind for kind in schema.get("anyOf", ()) if kind != _NULL]
        if len(kinds) == 1:
            del schema["anyOf"]
            parameter["schema"] = kinds[0] | schema


def _document_invalid_request(operation: dict[str, Any]) -> None:
    """Every route refuses query parameters that it does not know. FastAPI would document a 422 in another form."""
    operation["responses"]["422"] = responses(422)[422]
