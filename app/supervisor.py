"""`serve`: one process that owns a data directory and keeps Redis, workers, sweep and API going.

Children never outlive it (the kernel kills them when it dies), and a clean stop leaves no process behind. Runs that
were under way are taken up again at the next start.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import sys
import time
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

from redis.exceptions import RedisError

from app.clients import open_ledger, open_objects
from app.errors import QueueUnavailable, StoreUnavailable
from app.private_redis import PrivateRedis
from app.processes import tied_to_parent
from app.queue import connect, private_redis_socket
from app.roles import check_door, listening, serve_api, stop_on_signals, sweeping
from app.settings import Settings

logger = logging.getLogger(__name__)

_REDIS_START_SECONDS = 15.0
_STOP_SECONDS = 10.0
# A child that died is started again after this long, doubled each time up to the limit.
_RESTART_AFTER, _RESTART_LIMIT = 0.2, 10.0
# Not `-m app.worker`: jobs would import a second copy of the module, which nobody has set up.
_WORKER = [sys.executable, "-c", "from app.worker import main; main()"]


async def run_workers(settings: Settings, processes: int) -> None:
    """That many workers, each started again when it dies, until SIGTERM or SIGINT: they finish the runs at hand."""
    stop = stop_on_signals()
    async with _kept_alive([_WORKER] * processes, settings, "worker", patience=None):
        await stop.wait()


async def serve(settings: Settings, announce: Callable[[str], None]) -> None:
    """Run until SIGTERM or SIGINT. `announce` gets the URL once the API answers.

    Raises StoreUnavailable when another process serves the data directory, QueueUnavailable when Redis won't start.
    """
    _make(settings.data_dir)
    with _own(settings.data_dir), listening(settings.api.host, settings.api.port) as listener:
        stop = stop_on_signals()
        async with open_ledger(settings) as ledger, open_objects(settings) as objects:
            await ledger.migrate()
            await check_door(settings, ledger)
            if settings.objects.create_buckets:
                await objects.make_buckets()
        async with contextlib.AsyncExitStack() as stack:
            if settings.queue.redis_url is None:
                private = PrivateRedis(settings.data_dir)
                redis = _kept_alive([private.command()], settings, "redis", mend=private.mend)
                await stack.enter_async_context(redis)
                await _answering(settings)
            await stack.enter_async_context(_kept_alive([_WORKER] * settings.worker.processes, settings, "worker"))
            await stack.enter_async_context(sweeping(settings))
            await serve_api(settings, listener, announce, stop)


def _make(data_dir: Path) -> None:
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        with (data_dir / "serve.lock").open("a"):
            pass
    except OSError as err:
        detail = f"The data directory {data_dir} cannot be used: {err.strerror}."
        raise StoreUnavailable(detail, "Choose another with --data-dir.") from None


@contextlib.contextmanager
def _own(data_dir: Path) -> Iterator[None]:
    with (data_dir / "serve.lock").open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.seek(0)
            raise StoreUnavailable(
                f"The data directory {data_dir} is served by process {lock.read().strip() or '?'} already.",
                "Stop that one, or choose another with --data-dir.",
            ) from None
        lock.truncate(0)
        lock.write(str(os.getpid()))
        lock.flush()
        yield


async def _answering(settings: Settings) -> None:
    client = connect(f"unix://{private_redis_socket(settings.data_dir)}", patient=False)
    deadline = time.monotonic() + _REDIS_START_SECONDS
    try:
        while True:
            try:
                if await asyncio.to_thread(client.ping):
                    return
            except RedisError as err:
                if time.monotonic() > deadline:
                    fix = f"Look into {settings.data_dir / 'redis' / 'redis.log'}."
                    raise QueueUnavailable(f"The private Redis did not start ({err}).", fix) from err
            await asyncio.sleep(0.02)
    finally:
        client.close()


@contextlib.asynccontextmanager
async def _kept_alive(
    commands: list[list[str]],
    settings: Settings,
    name: str,
    patience: float | None = _STOP_SECONDS,
    mend: Callable[[int], None] | None = None,
) -> AsyncIterator[None]:
    """Run the commands, start again what dies, and on the way out stop them all and wait until they are gone.

    patience: seconds after which a child that does not stop is killed; None: it may finish its job. mend: called with
    the exit status of a child that died, before the next one is started.
    """
    environment = {**os.environ, "SPATIAL_ETL_DATA_DIR": str(settings.data_dir)}
    keepers = [asyncio.create_task(_keep_alive(command, environment, name, patience, mend)) for command in commands]
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
    patience: float | None,
    mend: Callable[[int], None] | None,
) -> None:
    pause = _RESTART_AFTER
    while True:
        began = time.monotonic()
        said = await _run_once(command, environment, name, patience, mend)
        if time.monotonic() - began > _RESTART_LIMIT:
            pause = _RESTART_AFTER
        logger.warning("%s; starting another in %.1f s", said, pause)
        await asyncio.sleep(pause)
        pause = min(pause * 2, _RESTART_LIMIT)


async def _run_once(
    command: list[str],
    environment: dict[str, str],
    name: str,
    patience: float | None,
    mend: Callable[[int], None] | None,
) -> str:
    """Run one child to its end; how that came. A child that cannot even be started is one that died."""
    try:
        child = await asyncio.create_subprocess_exec(*tied_to_parent(command), env=environment, start_new_session=True)
    except OSError as err:
        return f"{name} could not be started ({err.strerror})"
    try:
        status = await child.wait()
    except asyncio.CancelledError:
        await _stop(child, name, patience)
        raise
    if mend is not None:
        mend(status)
    return f"{name} (process {child.pid}) ended with {status}"


async def _stop(child: Process, name: str, patience: float | None) -> None:
    """SIGTERM, some time to finish the job at hand, then SIGKILL."""
    with contextlib.suppress(ProcessLookupError):
        child.terminate()
    try:
        await asyncio.wait_for(child.wait(), patience)
    except TimeoutError:
        logger.warning("%s (process %s) did not stop within %.0f s and is killed", name, child.pid, patience)
        with contextlib.suppress(ProcessLookupError):
            child.kill()
        await child.wait()
