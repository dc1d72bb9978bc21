"""`serve`: one process that owns a data directory and runs Redis, workers, sweep and API.

The kernel kills the children when this process dies, and a clean stop leaves no process behind. Interrupted runs
continue at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from redis.exceptions import RedisError

import app
from app.clients import open_ledger, open_objects
from app.errors import QueueUnavailable, StoreUnavailable
from app.queue.connection import connect, redis_url
from app.serve.private_redis import PrivateRedis
from app.serve.roles import check_bind_address, listening, serve_api, stop_on_signals, sweeping
from app.services.store_probe import probe_store
from app.settings import Settings
from app.system.processes import python_command, tied_to_parent

logger = logging.getLogger(__name__)

_REDIS_START_SECONDS = 15.0
_STOP_SECONDS = 10.0
# Seconds before a child that died is restarted, doubled each time up to the limit.
_RESTART_AFTER, _RESTART_LIMIT = 0.2, 10.0
_WORKER = python_command("app.worker", Path(app.__file__).absolute().parent)


async def run_workers(settings: Settings, processes: int) -> None:
    """Run that many workers, restarting each that dies, until SIGTERM or SIGINT. They finish their current runs."""
    stop = stop_on_signals()
    async with _kept_alive([_WORKER] * processes, settings, "worker", stop_seconds=None):
        await stop.wait()


async def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Run until SIGTERM or SIGINT. `announce` gets the URL once the API answers.

    Raises StoreUnavailable when another process serves the data directory, QueueUnavailable when Redis won't start.
    """
    _make_data_dir(settings.data_dir)
    with _lock(settings.data_dir), listening(settings.api.host, settings.api.port) as listener:
        stop = stop_on_signals()
        async with open_ledger(settings) as ledger, open_objects(settings) as objects:
            await ledger.migrate()
            await check_bind_address(settings, ledger)
            if settings.objects.create_buckets and await objects.make_buckets():
                for warning in await probe_store(objects):  # at the first start; later ones have `doctor`
                    logger.warning("%s", warning)
        async with contextlib.AsyncExitStack() as stack:
            if settings.queue.redis_url is None:
                private = PrivateRedis(settings.data_dir)
                redis = _kept_alive([private.command()], settings, "redis", on_exit=private.repair)
                await stack.enter_async_context(redis)
                await _wait_for_redis(settings)
            await stack.enter_async_context(_kept_alive([_WORKER] * settings.worker.processes, settings, "worker"))
            await stack.enter_async_context(sweeping(settings))
            await serve_api(settings, listener, announce, stop)


def _make_data_dir(data_dir: Path) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with (data_dir / "serve.lock").open("a"):
            pass
    except OSError as err:
        detail = f"The data directory {data_dir} cannot be used: {err.strerror}."
        raise StoreUnavailable(detail, "Choose another directory with --data-dir.") from None


@contextlib.contextmanager
def _lock(data_dir: Path) -> Iterator[None]:
    with (data_dir / "serve.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise StoreUnavailable(
                f"The data directory {data_dir} is already served by process {lock.read().strip() or '?'}.",
                "Stop that process, or choose another directory with --data-dir.",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


async def _wait_for_redis(settings: Settings) -> None:
    client = connect(redis_url(settings), patient=False)
    deadline = time.monotonic() + _REDIS_START_SECONDS
    try:
        while True:
            try:
                if await asyncio.to_thread(client.ping):
                    return
            except RedisError as err:
                if time.monotonic() > deadline:
                    fix = f"See {settings.data_dir / 'redis' / 'redis.log'}."
                    raise QueueUnavailable(f"The private Redis did not start ({err}).", fix) from err
            await asyncio.sleep(0.02)
    finally:
        client.close()


@contextlib.asynccontextmanager
async def _kept_alive(
    commands: list[list[str]],
    settings: Settings,
    name: str,
    stop_seconds: float | None = _STOP_SECONDS,
    on_exit: Callable[[int], None] | None = None,
) -> AsyncIterator[None]:
    """Run the commands and restart each that dies; at the end stop all and wait for them.

    Args:
        stop_seconds: after how long a child that does not stop is killed; None: never, it may finish its job.
        on_exit: called with the exit status of a child that died, before it is restarted.
    """
    environment = {**os.environ, "SPATIAL_ETL_DATA_DIR": str(settings.data_dir)}
    if settings.recipes_file:
        environment["SPATIAL_ETL_RECIPES_FILE"] = str(settings.recipes_file)
    if settings.proj_grids:
        environment["SPATIAL_ETL_PROJ_GRIDS"] = str(settings.proj_grids)
    if settings.ledger.url is not None and settings.ledger_url.startswith("sqlite"):
        # Its path was made absolute: children are in another directory.
        environment["SPATIAL_ETL_LEDGER__URL"] = settings.ledger_url
    keepers = [
        asyncio.create_task(_keep_alive(command, environment, name, stop_seconds, on_exit)) for command in commands
    ]
    try:
        # Let each keeper start its child before anything is stopped or announced.
        await asyncio.sleep(0)
        yield
    finally:
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)


async def _keep_alive(
    command: list[str],
    environment: dict[str, str],
    name: str,
    stop_seconds: float | None,
    on_exit: Callable[[int], None] | None,
) -> None:
    pause = _RESTART_AFTER
    while True:
        began = time.monotonic()
        ended = await _run_once(command, environment, name, stop_seconds, on_exit)
        if time.monotonic() - began > _RESTART_LIMIT:
            pause = _RESTART_AFTER
        logger.warning("%s; restarting in %.1f s", ended, pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, _RESTART_LIMIT)


async def _run_once(
    command: list[str],
    environment: dict[str, str],
    name: str,
    stop_seconds: float | None,
    on_exit: Callable[[int], None] | None,
) -> str:
    """Run one child to its end; returns how it ended. A child that cannot be started counts as one that died."""
    try:
        child = await asyncio.create_subprocess_exec(
            *tied_to_parent(command), env=environment, cwd="/", start_new_session=True
        )
    except OSError as err:
        return f"{name} could not be started ({err.strerror})"
    try:
        status = await child.wait()
    except asyncio.CancelledError:
        await _stop(child, name, stop_seconds)
        raise
    if on_exit is not None:
        on_exit(status)
    return f"{name} (process {child.pid}) ended with {status}"


async def _stop(child: Process, name: str, stop_seconds: float | None) -> None:
    """SIGTERM, time to finish the current job, then SIGKILL."""
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    try:
        await asyncio.wait_for(child.wait(), stop_seconds)
    except TimeoutError:
        logger.warning("killing %s (process %s), which did not stop within %.0f s", name, child.pid, stop_seconds)
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
