"""The README and the pages of the guide: their lines, in order, on a service with a new data directory."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.service import Service, running_service
from tests.walk import ROOT, Shell, answers, fragments, lines_of, walk

README = (ROOT / "README.md").read_text(encoding="utf-8")
GUIDE = {page.stem: page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs/guide").glob("*.md"))}
# The pages that are walked; the others have no console blocks.
WALKED = sorted(name for name, text in GUIDE.items() if lines_of(text))


@pytest.fixture(scope="module")
def guided(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with running_service(tmp_path_factory.mktemp("guide") / "data") as service:
        yield service


@pytest.mark.parametrize("page", WALKED)
def test_the_lines_of_the_guide_answer_as_printed(page: str, guided: Service, tmp_path: Path) -> None:
    walk(GUIDE[page], Shell(tmp_path, guided))


def test_every_page_of_the_guide_is_walked_or_has_no_lines() -> None:
    assert sorted(GUIDE.keys() - set(WALKED)) == ["README", "manifest"]


def test_the_example_of_all_fields_is_accepted_and_explained(guided: Service) -> None:
    text = GUIDE["manifest"]
    example = json.loads(text.split("```json\n")[1].split("```")[0])
    plan = guided.http.post("/manifests/plan", json=example).json()
    assert [each["reason"] for each in plan["refusals"]] == ["file_missing"]
    explained = " ".join(re.findall(r"^\| ([^|]+) \|", text, flags=re.MULTILINE))
    shape = json.loads((ROOT / "openapi/openapi.json").read_text())["components"]["schemas"]
    names = [name for schema in ("Manifest", "ManifestFile") for name in shape[schema]["properties"]]
    assert [name for name in names if name not in explained] == []


def test_the_lines_of_the_readme_answer_as_printed(tmp_path: Path) -> None:
    assert len(lines_of(README)) > 35
    with running_service(tmp_path / "data") as service:
        walk(README, Shell(tmp_path, service))


def test_a_walk_that_prints_something_else_is_found() -> None:
    printed = '{"a":1, …,\n "c": [ {"text":"Some words, …"} ]}'
    assert fragments(printed) == ['"a":1', '"text":"Some words, …"']
    assert answers(printed, '{"c":[{"text":"Some words, and more"}],"b":2,"a":1}')
    assert not answers(printed, '{"c":[{"text":"Other words, and more"}],"b":2,"a":1}')
    assert not answers(printed, '{"c":[{"text":"Some words, and more"}],"a":12}')
    assert not answers("204", "409")
    assert not answers("HTTP/1.1 202 Accepted\nlocation: /runs/…", "HTTP/1.1 202 Accepted\nserver: x")
    assert lines_of("```console\n$ a 'b\n c'\nout\n$ d\n```") == [("a 'b\n c'", "out"), ("d", "")]


def test_every_answer_in_the_readme_is_looked_at() -> None:
    printed = [answer for _, answer in lines_of(README) if answer]
    assert len(printed) > 15
    assert all(fragments(answer) for answer in printed)
