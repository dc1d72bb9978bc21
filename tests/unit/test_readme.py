"""What the README and the operations guide say is what the code says."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from pydantic import BaseModel

from app.cli import app
from app.cli.formats import markdown
from app.models.intents import INTENTS
from app.settings import Settings

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def variables(model: type[BaseModel], prefix: str = "SPATIAL_ETL_") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from variables(field.annotation, f"{prefix}{name.upper()}__")
        elif name == "enabled_lanes":
            yield "MANIFEST_ROUTER_ENABLED_LANES", field
        else:
            yield prefix + name.upper(), field


def default_text(value: Any) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, frozenset):
        return "all"
    return f"{value:g}" if isinstance(value, float) else str(value)


def test_the_configuration_table_is_the_settings() -> None:
    expected = [
        f"| `{name}` | {default_text(field.default)} | {field.description} |" for name, field in variables(Settings)
    ]
    documented = [line for line in README.splitlines() if line.startswith(("| `SPATIAL_ETL_", "| `MANIFEST_"))]
    assert documented == expected, "\n".join(expected)


@pytest.mark.parametrize("document", ["README.md", "docs/operations.md"])
def test_every_command_of_the_documents_exists(document: str) -> None:
    text = (ROOT / document).read_text(encoding="utf-8")
    named = re.findall(
        r"\bspatial-etl ([a-z]+)((?: --[a-z-]+(?: [A-Z0-9]+)?)*)",
        re.sub(r"```console.*?```", "", text, flags=re.DOTALL),
    )
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined] # a group's
    called = [(name, options.split()) for name, options in named if name not in ("serves", "image")]
    assert len(called) > 3
    for name, options in called:
        assert name in commands, f"spatial-etl {name}"
        known = {
            option for parameter in commands[name].params for option in (*parameter.opts, *parameter.secondary_opts)
        }
        assert {word for word in options if word.startswith("--")} <= known, f"spatial-etl {name} {options}"


def test_the_table_of_intents_is_the_table_of_intents() -> None:
    rows = [
        line.split("|")[1].strip(" `") for line in README.splitlines() if line.startswith(("| `ingest_", "| `join_"))
    ]
    assert rows == [intent.name for intent in INTENTS] + ["ingest_*"]
    for intent in INTENTS:
        (row,) = [line for line in README.splitlines() if line.startswith(f"| `{intent.name}` ")]
        assert intent.lane in row
        assert ("not yet" in row) is (intent.pipeline is None), row


def test_the_table_of_formats_is_the_registry() -> None:
    """Made by `spatial-etl formats --markdown`."""
    assert markdown() in README


def test_every_make_target_of_the_readme_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z]+)", README)) <= targets


@pytest.mark.parametrize("path", sorted(re.findall(r"\]\((?!http)([^)#]+)\)", README)))
def test_every_link_of_the_readme_leads_somewhere(path: str) -> None:
    assert (ROOT / path).exists(), path


def test_nothing_committed_names_a_machine_or_a_registry() -> None:
    hosts = ["pypi" + ".org", "python" + "hosted", "registry." + "npmjs", "deb." + "debian"]
    pattern = "|".join(re.escape(host) for host in hosts)
    found = subprocess.run(["git", "grep", "-nIE", pattern], cwd=ROOT, check=False, capture_output=True, text=True)
    assert found.stdout == ""


def test_every_code_that_a_run_is_refused_for_is_documented() -> None:
    section = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8").partition("## What a run is refused for")[2]
    documented = set(re.findall(r"`([a-z_]+)`", section)) - {"geo"}
    literals: set[str] = set()
    reasons: set[str] = set()
    modules = [*(ROOT / "app" / "pipelines").rglob("*.py"), *(ROOT / "app" / "models").glob("attempt*.py")]
    modules += [ROOT / "app" / "lifecycle.py", ROOT / "app" / "errors.py"]
    for path in modules:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                literals.add(node.value)
            if isinstance(node, ast.keyword) and node.arg == "reason" and isinstance(node.value, ast.Constant):
                reasons.add(str(node.value.value))
    assert len(reasons) > 30
    assert reasons <= documented, reasons - documented
    assert documented <= literals, documented - literals
