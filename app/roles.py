"""The roles that `serve` plays at once, each also a process of its own: the API and the sweep (workers: app.worker).

Neither gives up when something is missing at its start: it says what and how to mend it, and goes on when it is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import uvicorn
from fastapi import FastAPI

from app.clients import open_clients
from app.errors import DomainError, LedgerUnavailable, OpenDoor, StoreUnavailable
from app.http_protocol import patient_protocol
from app.ledger.keys import KeyLedger
from app.main import create_app
from app.models.base import utcnow
from app.models.leadership import SWEEP
from app.models.manifest import LANDING_BUCKET
from app.processes import beat, process_name
from app.routers.gate import is_loopback
from app.services.carried import Patience
from app.services.dropped import Door
from app.services.election import RENEWALS, Election
from app.services.health import readiness
from app.services.rehearsal import Finding, rehearse
from app.services.retention import Retention
from app.services.sweep import Sweep
from app.services.watch import LandingWatch
from app.settings import Settings

logger = logging.getLogger(__name__)


async def run_api(settings: Settings, announce: Callable[[str], None]) -> None:
    """The API alone, until SIGTERM or SIGINT. `announce` gets the URL once it answers.

    A ledger that is away or not migrated is said and then found at /ready: requests are answered with 503 meanwhile.
    Raises StoreUnavailable when the port is taken, and DomainErrors for settings that no server can be reached by.
    """
    async with open_clients(settings) as clients:
        # One that is away is said below; until it is back nobody gets in.
        with contextlib.suppress(LedgerUnavailable):
            await check_door(settings, clients.ledger)
    with listening(settings.api.host, settings.api.port) as listener:
        telling: list[asyncio.Task[None]] = []

        def started(url: str) -> None:
            announce(url)
            telling.append(asyncio.create_task(_say_what_is_missing(settings)))

        try:
            await serve_api(settings, listener, started, stop_on_signals())
        finally:
            for task in telling:
                task.cancel()
            await asyncio.gather(*telling, return_exceptions=True)


async def run_sweep(settings: Settings) -> None:
    """The sweep alone, until SIGTERM or SIGINT. Any number may run: one is elected, the others stand by."""
    stop = stop_on_signals()
    async with sweeping(settings):
        await stop.wait()


async def rehearse_sweep(settings: Settings) -> tuple[Finding, ...]:
    """What a sweep would mend now. Changes nothing, and may run beside any."""
    async with open_clients(settings) as clients:
        return await rehearse(
            clients,
            scratch=settings.scratch_dir,
            max_attempts=settings.run.max_attempts,
            patience=_patience(settings),
            pause=settings.sweep.interval_seconds,
        )


def stop_on_signals() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def check_door(settings: Settings, ledger: KeyLedger) -> None:
    """Raises OpenDoor when the API would be reached from elsewhere, and no key is demanded, or there is none."""
    api = settings.api
    if is_loopback(api.host) or api.auth == "required" or (api.auth == "off" and api.allow_anonymous):
        return
    if api.auth == "auto":
        now = utcnow()
        if any(key.is_good(now) for key in await ledger.list_api_keys()):
            return
    found = "no API key is demanded (SPATIAL_ETL_API__AUTH=off)" if api.auth == "off" else "there is no API key"
    raise OpenDoor(
        f"The API would be reached from elsewhere at {api.host}, but {found}.",
        "Create one: `spatial-etl keys create NAME --scope admin` (SPATIAL_ETL_API__AUTH stays at auto). Or, behind a "
        "proxy that knows its users, set SPATIAL_ETL_API__AUTH=off and SPATIAL_ETL_API__ALLOW_ANONYMOUS=true.",
    )


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """The API's socket, bound before anything is started, so that a taken port is the first thing said."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as err:
            detail = f"Cannot listen on {host}:{port}: {err.strerror}."
            raise StoreUnavailable(detail, "Choose another with --host or --port.") from None
        yield listener


@contextlib.asynccontextmanager
async def sweeping(settings: Settings) -> AsyncIterator[None]:
    """The sweep's loops beside the body: as the elected one, or standing by."""
    async with open_clients(settings) as clients:
        every, patience = settings.sweep, _patience(settings)
        election = Election(clients.ledger, SWEEP, process_name(), every.lease_seconds)
        sweep = Sweep(clients, scratch=settings.scratch_dir, retries=settings.run.retries, patience=patience)
        bucket = settings.objects.bucket_prefix + LANDING_BUCKET
        watch = LandingWatch(Door(clients, settings.enabled_lanes, settings.api.max_manifest_bytes, bucket))

        async def look() -> None:
            await (sweep.once() if election.leads else sweep.stand_by())

        async def look_into_landing_zone() -> None:
            if election.leads:
                await watch.once()

        retention = Retention(clients, settings.retention)

        async def let_go() -> None:
            if election.leads:
                await retention.once()

        with contextlib.suppress(DomainError):
            await election.once()
        # Beside each other: a slow object store must not keep runs from moving on, nor either of them the election.
        loops = (
            ("election of a sweep", election.once, every.lease_seconds / RENEWALS),
            (SWEEP, look, every.interval_seconds),
            ("look into the landing zone", look_into_landing_zone, every.manifests_seconds),
            ("retention", let_go, settings.retention.interval_seconds),
        )
        tasks = [asyncio.create_task(_repeat(*loop)) for loop in loops]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            with contextlib.suppress(DomainError):
                await election.step_down()


def _patience(settings: Settings) -> Patience:
    run = settings.run
    return Patience(run.lease_seconds, run.cancel_seconds, run.time_limit_seconds, run.queued_seconds)


async def _repeat(name: str, look: Callable[[], Awaitable[object]], interval: float) -> None:
    said = ""
    while True:
        try:
            await look()
            said = ""
        except DomainError as err:
            # Once, not every two seconds for as long as a server is away.
            if str(err) != said:
                said = str(err)
                logger.warning("the %s failed and tries again: %s", name, said)
        except Exception:
            logger.exception("the %s failed and tries again", name)
        if name == SWEEP:
            beat(SWEEP)
        await asyncio.sleep(interval)


async def _say_what_is_missing(settings: Settings) -> None:
    async with open_clients(settings) as clients:
        for check in (await readiness(clients)).checks:
            if not check.ok:
                logger.warning("%s: %s %s", check.name, check.problem, check.fix)


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: whoever starts it stops everything in order."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Requests that wait for a run are answered first, instead of being waited for."""
        self._app.state.run_watch.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_api(
    settings: Settings, listener: socket.socket, announce: Callable[[str], None], stop: asyncio.Event
) -> None:
    """The API on that socket until `stop` is set; requests under way get five seconds to end."""
    app = create_app(settings)
    # proxy_headers: uvicorn would believe X-Forwarded-For of whoever connects from this host.
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        proxy_headers=False,
        server_header=False,
        http=patient_protocol(settings.api.patience_seconds),
    )
    server = _Server(config, app)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():  # noqa: ASYNC110 # uvicorn has no event for it
        await asyncio.sleep(0.01)
    if server.started:
        host, port = listener.getsockname()[:2]
        announce(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait({serving, stopping}, return_when=asyncio.FIRST_COMPLETED)
    server.should_exit = True
    await serving
    stopping.cancel()
