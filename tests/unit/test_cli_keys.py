"""What `spatial-etl keys` refuses, and how it says so."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app
from app.clients import open_ledger
from app.models.api_key import ApiKey, Scope
from app.models.base import utcnow
from app.services.access import api_keys as keys
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
        (("create", "x", "--scope", "submit", "--prefix", "manifests/"), "The service itself processes"),
        (("create", "x", "--scope", "submit", "--prefix", "archive/x"), "The service itself processes"),
        (("create", "x", "--scope", "admin", "--prefix", "team-a/"), "cannot be bound to a prefix"),
        (("create", "x", "--scope", "owner"), "owner"),
        (("create", "x"), "--scope"),
        (("create", "taken", "--scope", "read"), "An API key called 'taken' already exists."),
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


def test_earlier_admin_keys_with_prefixes_are_named(tmp_path: Path) -> None:
    """They keep working, and `keys list` and `doctor` name them."""

    async def fill() -> None:
        async with open_ledger(Settings(data_dir=tmp_path)) as ledger:
            await ledger.migrate()
            now = utcnow()
            for name, scope, prefixes, end in (
                ("bound", Scope.ADMIN, ("team-a/",), None),
                ("ended", Scope.ADMIN, ("team-a/",), now),
                ("free", Scope.ADMIN, (), None),
                ("sender", Scope.SUBMIT, ("team-a/",), None),
            ):
                fields = {"scope": scope, "prefixes": prefixes, "created_at": now, "revoked_at": end}
                assert await ledger.add_api_key(ApiKey(name=name, token_hash=name, **fields))

    asyncio.run(fill())
    for words in (("keys", "list"), ("doctor",)):
        done = CliRunner().invoke(app, [*words, "--data-dir", str(tmp_path)])
        text = " ".join(done.output.split())
        assert "Admin keys with prefixes: bound. Prefixes restrict files" in text, done.output
    listed = CliRunner().invoke(app, ["keys", "list", "--data-dir", str(tmp_path), "--json"])
    assert {each["name"]: each["state"] for each in json.loads(listed.stdout)}["bound"] == "good"


def test_the_help_says_what_a_prefix_does_not_bind() -> None:
    done = CliRunner().invoke(app, ["keys", "create", "--help"], env={"COLUMNS": "200"})
    assert "publish to every dataset" in " ".join(done.output.replace("│", " ").split())
