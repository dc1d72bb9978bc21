"""What `spatial-etl keys` refuses, and how it says so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.clients import open_ledger
from app.models.api_key import Scope
from app.services import keys
from app.settings import Settings


@pytest.fixture(scope="module")
def ledger_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated ledger with a key called `taken`."""
    data = tmp_path_factory.mktemp("keys")

    async def fill() -> None:
        async with open_ledger(Settings(data_dir=data)) as ledger:
            await ledger.migrate()
            await keys.create(ledger, "taken", Scope.READ, (), None)

    asyncio.run(fill())
    return data


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "a b", "--scope", "read"), "cannot be the name of an API key"),
        (("create", "anonymous", "--scope", "read"), "cannot be the name of an API key"),
        (("create", "x", "--scope", "read", "--expires", "soon"), "such as 90d"),
        (("create", "x", "--scope", "read", "--prefix", "../y"), "'.' or '..' part"),
        (("create", "x", "--scope", "submit", "--prefix", "manifests/"), "in by the service itself"),
        (("create", "x", "--scope", "submit", "--prefix", "archive/x"), "in by the service itself"),
        (("create", "x", "--scope", "owner"), "owner"),
        (("create", "x"), "--scope"),
        (("create", "taken", "--scope", "read"), "There is an API key called 'taken' already."),
        (("revoke", "nobody"), "There is no API key called 'nobody'."),
    ],
)
def test_what_is_wrong_with_a_command_is_said(ledger_dir: Path, words: tuple[str, ...], said: str) -> None:
    done = CliRunner().invoke(app, ["keys", *words, "--data-dir", str(ledger_dir)])
    assert done.exit_code == 2, done.output
    assert said in " ".join(done.stderr.split())
    assert "setl_" not in done.stdout


def test_a_ledger_that_is_not_there_is_said(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["keys", "list", "--data-dir", str(tmp_path / "none")])
    assert done.exit_code == 3
    assert "does not answer" in " ".join(done.stderr.split())
