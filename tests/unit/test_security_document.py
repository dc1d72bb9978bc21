"""docs/security.md names, for each threat, tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
NAMED = sorted(set(re.findall(r"`(tests/[^`:]+\.py)::([A-Za-z0-9_]+)`", TEXT)))


@pytest.mark.parametrize(("path", "name"), NAMED)
def test_every_named_test_exists(path: str, name: str) -> None:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name.startswith("test_")
    assert name in functions


def test_every_threat_names_a_test() -> None:
    threats = TEXT.partition("\n## Threats\n")[2].partition("\n## ")[0]
    rows = [line for line in threats.splitlines() if line.startswith("| ") and not line.startswith("| threat ")]
    assert len(rows) >= 10
    for row in rows:
        test = row.split(" | ")[-1]
        assert re.fullmatch(r"(`tests/[^`:]+\.py::[A-Za-z0-9_]+`(, )?)+ \|", test), row
