"""The OpenAPI document has every code of the catalogue, in a table for readers and as known values for programs."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from app import errors
from app.http.problems import MEDIA_TYPE, STATUS, problem_codes, responses
from app.main import create_app
from app.messages.catalogue import codes, table
from app.messages.message import FaultMessage, Notice, Refusal
from app.settings import Settings

DOCUMENT = json.loads((Path(__file__).parents[2] / "openapi" / "openapi.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    ("schema", "kind"), [("ProblemFault", FaultMessage), ("RunError", Refusal), ("RunWarning", Notice)]
)
def test_the_codes_of_the_catalogue(schema: str, kind: type[FaultMessage | Refusal | Notice]) -> None:
    described = DOCUMENT["components"]["schemas"][schema]
    known, any_other = described["properties"]["code"]["anyOf"]
    assert table(kind) in described["description"], "Run: make openapi"
    assert known["enum"] == list(codes(kind))
    # The ledger keeps runs and manifests of other releases.
    assert any_other == {"type": "string"}


def test_the_codes_of_problems() -> None:
    described = DOCUMENT["components"]["schemas"]["Problem"]
    known, other = described["properties"]["code"]["anyOf"]
    rows = re.findall(r"^\| ([0-9]{3}) \| `([a-z0-9_]+)` \| (.+) \|$", described["description"], re.MULTILINE)
    assert {code: (int(status), when) for status, code, when in rows} == problem_codes(), "Run: make openapi"
    assert known["enum"] == list(problem_codes())
    assert re.match(other["pattern"], "http_418")
    assert {error.code for error, status in STATUS.items() if status != 500} <= problem_codes().keys()
    assert all(when.endswith(".") for _, when in problem_codes().values())


def test_a_response_names_the_codes_of_its_status() -> None:
    described: dict[Any, Any] = responses(409)
    assert f"`{errors.BatchConflict.code}`" in described[409]["description"]
    assert f"`{errors.NotFound.code}`" not in described[409]["description"]
    for operations in DOCUMENT["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                if MEDIA_TYPE in response.get("content", {}):
                    of_status = [code for code, (its_status, _) in problem_codes().items() if str(its_status) == status]
                    assert all(f"`{code}`" in response["description"] for code in of_status), (status, response)


def test_the_written_document_is_the_one_that_is_served() -> None:
    served = create_app(Settings()).openapi()["components"]["schemas"]
    for name in ("Problem", "ProblemFault", "RunError", "RunWarning"):
        assert served[name] == DOCUMENT["components"]["schemas"][name], "Run: make openapi"


def test_schemas_have_names_of_the_field_not_of_modules() -> None:
    """Two models of one name would be named by their modules."""
    assert [name for name in DOCUMENT["components"]["schemas"] if "__" in name] == []
