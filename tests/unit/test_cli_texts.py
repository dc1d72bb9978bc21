"""What the command line prints: ids in one piece, and commands that the reader's shell finds."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.tree import Tree
from typer.testing import CliRunner

from app.cli import app, show
from app.cli import demo as demo_module

RUN_ID = "257c918a941753d09ddba98c9652b0aa"
BATCH = "cadastre-of-the-whole-district-2026-11-22"
DATASET = "dataset_0123456789ab"
KEY = f"parcels/v1/data-{'ab' * 32}.parquet"
TEXT = "Kept a geometry of another type. " * 20

RUN: dict[str, Any] = {
    "run_id": RUN_ID, "batch_id": BATCH, "partition_key": DATASET, "status": "success", "step": "export",
    "progress": {"rows_done": 1_234_567}, "created_at": "2026-11-22T10:00:00Z", "attempt": 1, "attempts": [],
    "waiting_for": None, "counts": {}, "engine": {}, "error": None,
    "warnings": [{"code": "x", "message": TEXT, "count": 1}],
}  # fmt: skip


def printed(monkeypatch: pytest.MonkeyPatch, *parts: Any, terminal: bool) -> list[str]:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=80, no_color=True)
    monkeypatch.setattr(show, "out", console)
    show.print_whole(*parts)
    text = console.file.getvalue()  # type: ignore[attr-defined] # a StringIO's
    return [line.rstrip() for line in text.splitlines()]


@pytest.mark.parametrize("terminal", [False, True])
def test_no_id_is_broken_over_lines(monkeypatch: pytest.MonkeyPatch, terminal: bool) -> None:
    (heading, row) = printed(monkeypatch, show.runs_table([RUN]), terminal=terminal)
    assert heading.split() == ["run", "batch", "dataset", "status", "step", "rows", "created"]
    assert row.split()[:3] == [RUN_ID, BATCH, DATASET]
    tree = Tree(KEY)
    tree.add(f"{KEY} source")
    lines = printed(monkeypatch, show.rows_table(["key"], [[KEY]]), tree, terminal=terminal)
    assert sum(KEY in line for line in lines) == 3


def test_a_pipe_gets_one_line_for_each_row(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(monkeypatch, show.run_table(RUN), terminal=False)
    assert [line for line in lines if line.startswith("warning")] == [f"warning  {TEXT.strip()}  (x, 1)"]


def test_a_terminal_gets_long_texts_in_lines_of_its_width(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = printed(monkeypatch, show.run_table(RUN), terminal=True)
    assert max(map(len, lines)) <= 80
    assert "Kept a geometry of another type." in " ".join(" ".join(lines).split())


def test_a_manifest_is_read_from_standard_input() -> None:
    done = CliRunner().invoke(app, ["submit", "-", "--url", "http://127.0.0.1:9"], input=json.dumps({}))
    assert done.exit_code == 3, done.output
    assert "No answer from http://127.0.0.1:9" in done.output
    done = CliRunner().invoke(app, ["submit", "-"], input="{")
    assert done.exit_code == 2
    assert "Standard input is not JSON" in done.output


def test_a_manifest_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["submit", str(tmp_path / "none.json")])
    assert done.exit_code == 2
    assert "none.json cannot be read: No such file or directory." in " ".join(done.output.split())


def test_the_demo_names_a_command_that_the_shell_finds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    own = tmp_path / "spatial-etl"
    own.write_text("#!/bin/sh\n")
    own.chmod(0o755)
    monkeypatch.setattr("sys.argv", [str(own)])
    monkeypatch.setenv("PATH", "/nowhere")
    assert demo_module._own_command() == str(own)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert demo_module._own_command() == "spatial-etl"
