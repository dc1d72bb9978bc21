"""What a request costs does not grow with the queue, and plans do not fill its front without end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from app.errors import TooManyPlans
from app.queue.run_queue import RunQueue
from tests.contract.ledgers import a_run
from tests.servers.redis import RedisServer


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path / "redis") as server:
        yield server


@pytest.fixture
def queue(redis: RedisServer) -> Iterator[RunQueue]:
    opened = RunQueue(redis.url, "q", 60, max_plans=3)
    yield opened
    opened.close()


def calls(redis: RedisServer, command: str) -> int:
    with Redis.from_url(redis.url) as client:
        stats = client.info("commandstats")
    return int(stats.get(f"cmdstat_{command}", {}).get("calls", 0))


def test_a_cancel_reads_no_other_job(redis: RedisServer, queue: RunQueue) -> None:
    runs = [a_run(f"b{n}") for n in range(20)]
    for run in runs:
        queue.enqueue(run)
    target = runs[7]
    queue.enqueue(target, again=True)
    assert queue.waiting_runs() == {run.run_id for run in runs}
    listings, jobs = calls(redis, "lrange"), calls(redis, "hgetall")
    queue.remove(target)
    assert calls(redis, "lrange") == listings
    assert calls(redis, "hgetall") - jobs <= 2 * 2
    assert queue.waiting_runs() == {run.run_id for run in runs if run is not target}
    queue.remove(target)


def test_only_so_many_plans_wait(queue: RunQueue) -> None:
    queue.enqueue(a_run())
    for n in range(3):
        queue.enqueue_plan(f"p{n}", "{}", 5)
    with pytest.raises(TooManyPlans) as caught:
        queue.enqueue_plan("p3", "{}", 5)
    assert "SPATIAL_ETL_PLAN__MAX_WAITING" in caught.value.fix
    assert queue.withdraw_plan("p1")
    queue.enqueue_plan("p3", "{}", 5)
    queue.enqueue(a_run("other"))
    with pytest.raises(TooManyPlans):
        queue.enqueue_plan("p4", "{}", 5)
