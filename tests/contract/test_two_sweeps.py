"""Two sweeps at once, on every ledger: an election may be late to be noticed, and then nothing happens twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from app.clients import open_clients
from app.ledger import Ledger
from app.models.run import RunStatus
from app.services.carried import Patience
from app.services.sweep import Sweep
from app.settings import QueueSettings, Settings
from tests.contract.ledgers import put_run, put_running
from tests.servers.redis import RedisServer

pytestmark = pytest.mark.anyio

DEAD, LOST = 12, 12


async def test_what_two_sweeps_mend_at_once_is_mended_once(ledger: Ledger, tmp_path: Path) -> None:
    dead = [await put_running(ledger, partition_key=f"d{n}") for n in range(DEAD)]
    lost = [await put_run(ledger, partition_key=f"l{n}") for n in range(LOST)]
    with RedisServer(tmp_path / "redis") as redis:
        settings = Settings(data_dir=tmp_path, queue=QueueSettings.model_validate({"redis_url": redis.url}))
        async with open_clients(settings) as opened:
            clients = replace(opened, ledger=ledger)
            sweeps = [
                Sweep(clients, scratch=tmp_path / "scratch", max_attempts=3, patience=Patience(lease_seconds=0))
                for _ in range(3)
            ]
            # The last one stands by, which may do less but must do no harm either.
            looks = [sweeps[0].once, sweeps[1].once, sweeps[2].stand_by] * 3
            made = [repair for part in await asyncio.gather(*(look() for look in looks)) for repair in part]
            made += [repair for sweep in sweeps[:2] for repair in await sweep.once()]
            waiting = clients.queue.waiting_runs()
    assert Counter(repair.run_id for repair in made if repair.action == "queued") == {run.run_id: 1 for run in dead}
    for run in dead:
        found = await ledger.get_run(run.run_id)
        assert found is not None
        assert (found.status, found.attempt, found.lease) == (RunStatus.QUEUED, 1, None)
        died = [each for each in await ledger.list_events(run.run_id) if each.code == "attempt.died"]
        assert len(died) == 1
    assert waiting == {run.run_id for run in (*dead, *lost)}
