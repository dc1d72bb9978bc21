"""The service against its own OpenAPI document: every route, every check of schemathesis, chains of requests too.

No answer of 500 and above, none that the document does not have, none that takes what the document refuses or refuses
what it takes. What is right although schemathesis would report it: `excuses`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.openapi.excuses import GONE, NOT_OFFERED, REFUSED
from tests.service import Service, running_service

HERE = Path(__file__).parent
# As in schemathesis.toml.
WEBHOOK_TOKEN = "webhook-token"  # noqa: S105 # of a service that ends with its test
_WITHOUT_RIGHTS = ("--exclude-checks", "positive_data_acceptance")


def run_schemathesis(service: Service, key: str, tmp_path: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [Path(sys.executable).with_name("schemathesis"), "--config-file", HERE / "schemathesis.toml", "run"]
    options = ["--checks", "all", "--seed", "1", "--generation-deterministic", "--no-color", "--no-shrink"]
    options += ["--header", f"Authorization: Bearer {key}"] if key else []
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "tests.openapi.excuses", "PYTHONPATH": str(HERE.parents[1])}
    return subprocess.run(
        [*map(str, command), f"{service.url}/openapi.json", *options, *more],
        check=False, capture_output=True, text=True, cwd=tmp_path, env=environment,
    )  # fmt: skip


@pytest.fixture
def keys(data_dir: Path) -> dict[str, str]:
    """A key of each scope, in the ledger of a service that is yet to be started."""

    def command(*words: str) -> str:
        environment = {**os.environ, "SPATIAL_ETL_DATA_DIR": str(data_dir)}
        done = subprocess.run(
            [sys.executable, "-m", "app", *words], check=True, capture_output=True, text=True, env=environment
        )
        return done.stdout

    command("migrate")
    made = {
        scope: command("keys", "create", scope, "--scope", scope, "--json") for scope in ("read", "submit", "admin")
    }
    return {scope: json.loads(answer)["key"] for scope, answer in made.items()} | {"": ""}


@pytest.fixture
def service(data_dir: Path, keys: dict[str, str]) -> Iterator[Service]:
    """A service in which the examples of the document are there to be read."""
    demands = {"SPATIAL_ETL_WEBHOOK__TOKEN": WEBHOOK_TOKEN, "SPATIAL_ETL_API__AUTH": "required"}
    with running_service(data_dir, **demands) as started:
        started.http.headers["Authorization"] = f"Bearer {keys['admin']}"
        paths = started.http.get("/openapi.json").json()["paths"]
        content = paths["/landing/{key}"]["put"]["requestBody"]["content"]["application/geo+json"]
        started.put("examples/places.geojson", json.dumps(content["examples"]["places"]["value"]).encode())
        body = paths["/manifests"]["post"]["requestBody"]["content"]["application/json"]
        assert started.ingest(body["examples"]["places"]["value"])["status"] == "success"
        yield started


# The examples are those of one operation, and as many chains of requests along the links.
@pytest.mark.parametrize("examples", [4, pytest.param(100, marks=pytest.mark.slow)])
def test_no_answer_that_the_document_does_not_have(
    service: Service, keys: dict[str, str], tmp_path: Path, examples: int
) -> None:
    done = run_schemathesis(service, keys["admin"], tmp_path, "--max-examples", str(examples))
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr


@pytest.mark.parametrize("scope", ["", "read", pytest.param("submit", marks=pytest.mark.slow)])
def test_no_key_changes_anything_beyond_its_scope(
    service: Service, keys: dict[str, str], tmp_path: Path, scope: str
) -> None:
    before = state(service)
    # Who may only read is refused what the document calls right.
    done = run_schemathesis(service, keys[scope], tmp_path, "--max-examples", "2", *_WITHOUT_RIGHTS)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr
    after = state(service)
    if scope == "submit":
        assert before["assets"] == after["assets"][-1:]
        return
    assert after == before


def state(service: Service) -> dict[str, Any]:
    """What is there, except for the webhook's deliveries, which need another token."""
    paths = ("/landing", "/manifests", "/runs", "/assets")
    return {path[1:]: service.http.get(path).raise_for_status().json()["items"] for path in paths}


def test_every_excuse_is_for_something_that_the_service_says() -> None:
    sources = "".join(path.read_text() for path in (HERE.parents[1] / "app").rglob("*.py"))
    assert [code for code in (*REFUSED, *GONE, *NOT_OFFERED) if f'"{code}"' not in sources] == []
