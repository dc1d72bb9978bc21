"""`--help` of the programs for contributors."""

from __future__ import annotations

import importlib

import pytest


@pytest.mark.parametrize("name", ["attack", "bench", "chaos", "differential"])
def test_help_is_printed(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", [name, "--help"])
    program = importlib.import_module(f"{name}.__main__")
    with pytest.raises(SystemExit) as ended:
        program.arguments()
    assert ended.value.code == 0
    assert f"python -m {name}" in capsys.readouterr().out
