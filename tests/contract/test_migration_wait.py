"""A migration waits for another process that migrates as long as that lives, not for a fixed time."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import pytest

from app.storage.sql import driver, migrate
from app.storage.sql.ledger import open_sql_ledger
from tests.contract.ledgers import BACKENDS

pytestmark = pytest.mark.anyio

# Another process that migrates, and never ends.
HOLDER = """
import asyncio, sys, time
from app.storage.sql.engine import Database

def hold(connection):
    print("holds", flush=True)
    time.sleep(600)

asyncio.run(Database(sys.argv[1]).migrate(hold))
"""


@pytest.mark.parametrize("backend", ["postgresql", "sqlite"])
async def test_a_migration_waits_until_the_other_process_is_gone(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # The wait is longer than any lock is waited for.
    monkeypatch.setattr(driver, "LOCK_WAIT_SECONDS", 0.5)
    async with BACKENDS[backend].fresh(tmp_path, False) as url:
        other = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLDER, url, stdout=asyncio.subprocess.PIPE)
        try:
            assert other.stdout is not None
            assert await other.stdout.readline() == b"holds\n"
            async with open_sql_ledger(url) as ledger:
                waiting = asyncio.create_task(ledger.migrate())
                await asyncio.sleep(3)
                assert not waiting.done()
                assert "another process migrates" in caplog.text
                other.kill()
                assert await asyncio.wait_for(waiting, 60) == migrate.known_versions()
                await ledger.ping()
        finally:
            if other.returncode is None:
                other.kill()
            await other.wait()
