"""What others have written reaches the terminal as text: no markup, no control characters, no changes of direction."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from typer.testing import CliRunner

from app.cli import app, show
from app.clients import open_clients
from app.ledger import Guard
from app.ledger.outbox import LogLine, Outbox
from app.models.api_key import ApiKey, Scope, hash_token, new_token
from app.models.asset import AssetMetadata
from app.models.base import utcnow
from app.models.runs.run import RunError, RunStatus, RunWarning
from app.settings import Settings
from tests.contract.ledgers import T0, a_manifest, a_run, an_asset, claim
from tests.service import manifest, running_service

EVIL = "a[/b] [red]x\x1b[2J\x9b2J\u202e\nq\\"
SEEN = r"a[/b] [red]x\x1b[2J\x9b2J\u202e\nq"
TOKEN = new_token()
# All that may reach a terminal besides its own line ends.
FORBIDDEN = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@dataclass
class Place:
    url: str
    folder: Path
    queued: str
    failed: str
    made: str


async def fill(folder: Path) -> tuple[str, str, str]:
    """A run that waits, one that failed, and one that made a version; each with the hostile text everywhere."""
    async with open_clients(Settings(data_dir=folder)) as clients:
        ledger = clients.ledger
        await ledger.migrate()
        made = []
        for name in ("queued", "failed", "made"):
            run = a_run(EVIL + name, partition_key=f"{EVIL}{name}", created_at=T0)
            made.append((await ledger.accept(a_manifest(run.batch_id), run)).run)
        running = Guard(frozenset({RunStatus.RUNNING}))
        error = RunError(code=EVIL, detail=EVIL, fix=EVIL, step=EVIL, file=EVIL)
        warning = RunWarning(code=EVIL, message=EVIL)
        await claim(ledger, made[1], EVIL)
        outbox = Outbox(lines=(LogLine(EVIL, EVIL),))
        ends = {"status": RunStatus.FAILURE, "error": error, "warnings": (warning,), "completed_at": T0}
        assert await ledger.change_run(made[1].run_id, running, outbox, **ends, engine={EVIL: EVIL}, counts={EVIL: 1})
        await claim(ledger, made[2], EVIL)
        version = await ledger.reserve_version(made[2].run_id, 1)
        assert version is not None
        metadata = AssetMetadata(
            manifest=manifest("x", metadata={"title": EVIL, "tags": {}})["metadata"],
            column_schema={EVIL: {"type_name": EVIL, "title": EVIL}},  # type: ignore[dict-item] # validated
            geometry_type=EVIL,
        )
        own = an_asset(made[2], version, dataset_id="roads", s3_key=EVIL, crs=EVIL, metadata=metadata)
        assert await ledger.commit_asset(own, 1)
        assert await ledger.change_run(made[2].run_id, running, status=RunStatus.SUCCESS, completed_at=T0)
        key = ApiKey(name="key[/b]", token_hash=hash_token(new_token()), scope=Scope.ADMIN, created_at=utcnow(),
                     prefixes=(EVIL,), revoked_at=utcnow())  # fmt: skip
        assert await ledger.add_api_key(key)
        await ledger.add_api_key(
            ApiKey(name="root", token_hash=hash_token(TOKEN), scope=Scope.ADMIN, created_at=utcnow())
        )
        await clients.objects.ping()
        queued, failed, done = (run.run_id for run in made)
        return queued, failed, done


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("foreign")
    (folder / "data").mkdir()
    queued, failed, made = asyncio.run(fill(folder / "data"))
    with running_service(folder / "data", SPATIAL_ETL_WORKER__PROCESSES="0") as service:
        yield Place(service.url, folder, queued, failed, made)


def test_every_command_shows_foreign_text_as_text(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SPATIAL_ETL_API_KEY", TOKEN)
    monkeypatch.setattr(show.out, "_width", 5000)
    monkeypatch.setattr(show.err, "_width", 5000)
    hostile = place.folder / "m.json"
    hostile.write_text(json.dumps(manifest("b[/b]\x1b[2J", (EVIL, EVIL), uploader=EVIL, intent=EVIL)))
    (place.folder / "[b].txt").write_text("{")
    data = ("--data-dir", str(place.folder / "data"))
    at = ("--url", place.url)
    # Whether the hostile text has to be seen in what the command prints.
    commands: list[tuple[tuple[str, ...], bool]] = [
        (("runs", *at), True),
        (("runs", place.failed, *at), True),
        (("runs", place.made, *at), True),
        (("runs", "--status", EVIL, *at), True),
        (("runs", "--dataset", EVIL, *at), False),
        (("assets", *at), True),
        (("assets", "roads", *at), True),
        (("assets", "roads", "1", *at), True),
        (("lineage", "roads", *at), False),
        (("cancel", place.queued, *at), True),
        (("cancel", "[/b]", *at), False),
        (("withdraw", "[/b]", *at), False),
        (("rerun", place.failed, *at), True),
        (("rerun", "[/b]", *at), False),
        (("submit", str(hostile), *at), True),
        (("submit", str(place.folder / "[b].txt"), *at), False),
        (("submit", str(hostile), "--file", EVIL, *at), True),
        (("lanes", *at), False),
        (("lanes", "pause", "[/b]", *at), False),
        (("lanes", "limit", "spatial", EVIL, *at), True),
        (("keys", "list", *data), True),
        (("keys", "create", EVIL, "--scope", "read", *data), True),
        (("keys", "create", "x", "--scope", "read", "--prefix", EVIL, *data), True),
        (("keys", "create", "x", "--scope", "read", "--expires", EVIL, *data), True),
        (("keys", "revoke", EVIL, *data), True),
        (("keys", "revoke", "key[/b]", *data), False),
        (("sweep", "--dry-run", *data), False),
        (("retention", "--dry-run", *data), False),
        (("cleanup", "--testing", "--dry-run", *data), False),
        (("migrate", *data), False),
        (("formats",), False),
    ]
    for words, is_seen in commands:
        for form in (words, (*words, "--json")):
            done = CliRunner().invoke(app, list(form))
            assert done.exception is None or isinstance(done.exception, SystemExit), (form, done.exception)
            found = FORBIDDEN.search(done.output)
            assert found is None, (form, done.output)
            if form is words and is_seen:
                assert SEEN in done.output or SEEN.replace("\\", "\\\\") in done.output, (form, done.output)


@pytest.mark.parametrize("text", ["[/b]", "\x1b[2J", "\u202e", "a\nb", "\\", "[red]", "x\\[/]"])
def test_foreign_text_in_markup_ends_nothing(text: str) -> None:
    with show.out.capture() as captured:
        show.out.print(f"[dim]{show.foreign(text)}[/] end")
    assert FORBIDDEN.search(re.sub("\x1b\\[[0-9;]*m", "", captured.get())) is None
    assert captured.get().count("\n") == 1
    assert "end" in captured.get()
    assert show.visible(text).rstrip() in captured.get()
