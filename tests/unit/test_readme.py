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
from app.errors import InvalidManifest
from app.messages.__main__ import DOCUMENT, with_tables
from app.messages.catalogue import codes
from app.messages.message import Notice, Refusal
from app.models.intents import INTENTS
from app.models.runs.attempt import AttemptOutcome
from app.models.runs.attempt_rules import rule_of
from app.services.intake.manifest_json import read_manifest
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
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE))
    assert set(re.findall(r"\bmake ([a-z-]+)", README)) <= targets


def test_the_example_of_a_wrong_manifest_is_answered_like_that() -> None:
    shown = README.partition("All faults of an invalid manifest")[2].partition("```console\n")[2].partition("```")[0]
    sent, _, answer = shown.partition("-d '")[2].partition("}]}'")
    with pytest.raises(InvalidManifest) as refused:
        read_manifest(f"{sent}}}]}}".encode())
    assert f'"detail":"{refused.value.detail}"' in answer
    faults = {(fault.pointer, fault.code, fault.detail) for fault in refused.value.faults}
    quoted = set(re.findall(r'"pointer":"([^"]+)","code":"([^"]+)","detail":"([^"]+)"', answer))
    assert len(quoted) == 3
    assert quoted <= faults


@pytest.mark.parametrize("path", sorted(re.findall(r"\]\((?!http)([^)#]+)\)", README)))
def test_every_link_of_the_readme_leads_somewhere(path: str) -> None:
    assert (ROOT / path).exists(), path


def test_nothing_committed_names_a_machine_or_a_registry() -> None:
    hosts = ["pypi" + ".org", "python" + "hosted", "registry." + "npmjs", "deb." + "debian"]
    pattern = "|".join(re.escape(host) for host in hosts)
    found = subprocess.run(["git", "grep", "-nIE", pattern], cwd=ROOT, check=False, capture_output=True, text=True)
    assert found.stdout == ""


def test_the_tables_of_refusals_and_warnings_are_the_catalogue() -> None:
    """Made by `python -m app.messages`."""
    text = DOCUMENT.read_text(encoding="utf-8")
    assert with_tables(text) == text, "Run: python -m app.messages"
    assert codes(Refusal).keys() | codes(Notice).keys() <= set(re.findall(r"^\| `([a-z0-9_]+)` \|", text, re.MULTILINE))


def test_a_document_without_a_place_for_the_tables_is_refused() -> None:
    with pytest.raises(ValueError, match="refusals"):
        with_tables("# How each format is read\n")


def test_every_other_code_of_a_failed_run_is_documented() -> None:
    """Codes of how attempts end: of the rules, of full disks, and of runs that never began."""
    failed = set(AttemptOutcome) - {AttemptOutcome.SUCCESS, AttemptOutcome.CANCELED, AttemptOutcome.REFUSED}
    # An attempt that met a full disk says which one.
    rules = {rule_of(outcome).code for outcome in failed - {AttemptOutcome.DISK_FULL}}
    words = {
        node.value
        for path in (ROOT / "app").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and isinstance(node.value, str)
    }
    table = DOCUMENT.read_text(encoding="utf-8").partition("<!-- attempts -->")[2].partition("<!-- /attempts -->")[0]
    documented = set(re.findall(r"`([a-z0-9_]+)`", "".join(re.findall(r"^\|[^|]*\|", table, re.MULTILINE))))
    assert documented - rules == {"scratch_full", "store_full", "ledger_full", "not_begun"}
    assert documented >= rules
    assert documented <= words
