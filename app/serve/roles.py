"""The API and the sweep, in one process with `serve` or each as a separate process (workers: app.worker).

When a server is unavailable at the start, they log what is missing and how to fix it, and keep trying.
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
from app.errors import DomainError, LedgerUnavailable, StoreUnavailable, UnsafeBind
from app.http.authentication import is_loopback
from app.http.protocol import head_timeout_protocol
from app.ledger.api_keys import ApiKeyLedger
from app.main import create_app
from app.models.base import utcnow
from app.models.manifests.manifest import LANDING_BUCKET
from app.models.runs.leadership import SWEEP
from app.services.health import readiness
from app.services.intake.dropped_manifests import IntakeConfig
from app.services.intake.landing_scan import LandingScanner
from app.services.retention.schedule import Retention
from app.services.sweep.dead_attempts import LeaseTimeouts
from app.services.sweep.dry_run import Finding, dry_run
from app.services.sweep.election import RENEWALS, Election
from app.services.sweep.sweep import Sweep
from app.settings import Settings
from app.system.processes import beat, process_name, raise_open_files

logger = logging.getLogger(__name__)

# Open files of the API besides connections: ledger, object store, queue, files that are sent.
_OTHER_FILES = 256


async def run_api(settings: Settings, announce: Callable[[str], None]) -> None:
    """Run the API alone, until SIGTERM or SIGINT. `announce` gets the URL once it answers.

    While the ledger is unavailable or not migrated, the reason is logged and shown at /ready, and requests get 503.

    Raises:
        StoreUnavailable: the port is taken.
        UnsafeBind: see `check_bind_address`.
        DomainError: the settings are not usable.
    """
    async with open_clients(settings) as clients:
        # Logged below. Until the ledger is back, every request that needs a key gets 503.
        with contextlib.suppress(LedgerUnavailable):
            await check_bind_address(settings, clients.ledger)
    with listening(settings.api.host, settings.api.port) as listener:
        reports: list[asyncio.Task[None]] = []

        def started(url: str) -> None:
            announce(url)
            reports.append(asyncio.create_task(_log_missing_servers(settings)))

        try:
            await serve_api(settings, listener, started, stop_on_signals())
        finally:
            for task in reports:
                task.cancel()
            await asyncio.gather(*reports, return_exceptions=True)


async def run_sweep(settings: Settings) -> None:
    """Run the sweep alone, until SIGTERM or SIGINT. Several may run: one is elected, the others stand by."""
    stop = stop_on_signals()
    async with sweeping(settings):
        await stop.wait()


async def dry_run_sweep(settings: Settings) -> tuple[Finding, ...]:
    """What a sweep would repair now. Changes nothing, and may run beside a sweep."""
    async with open_clients(settings) as clients:
        return await dry_run(
            clients,
            scratch=settings.scratch_dir,
            max_attempts=settings.run.max_attempts,
            timeouts=_timeouts(settings),
            pause=settings.sweep.interval_seconds,
        )


def stop_on_signals() -> asyncio.Event:
    """Set by SIGTERM and SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    return stop


async def check_bind_address(settings: Settings, ledger: ApiKeyLedger) -> None:
    """Raises UnsafeBind when other hosts could reach the API without an API key."""
    api = settings.api
    if is_loopback(api.host) or api.auth == "required" or (api.auth == "off" and api.allow_anonymous):
        return
    if api.auth == "auto":
        now = utcnow()
        if any(key.is_valid(now) for key in await ledger.list_api_keys()):
            return
    found = "SPATIAL_ETL_API__AUTH=off requires no API key" if api.auth == "off" else "there is no API key"
    raise UnsafeBind(
        f"Refused to bind {api.host}: other hosts could use the API without authentication, because {found}.",
        "Create a key with `spatial-etl keys create NAME --scope admin`, and leave SPATIAL_ETL_API__AUTH at auto. "
        "Or, behind a proxy that authenticates users, set SPATIAL_ETL_API__AUTH=off and "
        "SPATIAL_ETL_API__ALLOW_ANONYMOUS=true.",
    )


@contextlib.contextmanager
def listening(host: str, port: int) -> Iterator[socket.socket]:
    """The API's socket, bound before anything else starts, so that a taken port is reported at once."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
        except OSError as err:
            detail = f"Cannot listen on {host}:{port}: {err.strerror}."
            raise StoreUnavailable(detail, "Choose another address with --host or --port.") from None
        yield listener


@contextlib.asynccontextmanager
async def sweeping(settings: Settings) -> AsyncIterator[None]:
    """Run the loops of the sweep while the body runs, as the elected sweep or standing by."""
    async with open_clients(settings) as clients:
        every, timeouts = settings.sweep, _timeouts(settings)
        election = Election(clients.ledger, SWEEP, process_name(), every.lease_seconds)
        sweep = Sweep(clients, scratch=settings.scratch_dir, retries=settings.run.retries, timeouts=timeouts)
        bucket = settings.objects.bucket_prefix + LANDING_BUCKET
        lanes, most, recipes = settings.enabled_lanes, settings.api.max_manifest_bytes, settings.recipes
        watch = LandingScanner(IntakeConfig(clients, lanes, most, bucket, recipes))

        async def run_sweep_once() -> None:
            await (sweep.once() if election.leads else sweep.stand_by())

        async def scan_landing_zone() -> None:
            if election.leads:
                await watch.once()

        retention = Retention(clients, settings.retention)

        async def apply_retention() -> None:
            if election.leads:
                await retention.once()

        with contextlib.suppress(DomainError):
            await election.once()
        # Concurrent, so that a slow object store delays neither runs nor the election.
        loops = (
            ("election of a sweep", election.once, every.lease_seconds / RENEWALS),
            (SWEEP, run_sweep_once, every.interval_seconds),
            ("scan of the landing zone", scan_landing_zone, every.manifests_seconds),
            ("retention", apply_retention, settings.retention.interval_seconds),
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


def _timeouts(settings: Settings) -> LeaseTimeouts:
    run = settings.run
    return LeaseTimeouts(run.lease_seconds, run.cancel_seconds, run.time_limit_seconds, run.queued_seconds)


async def _repeat(name: str, action: Callable[[], Awaitable[object]], interval: float) -> None:
    last_error = ""
    while True:
        try:
            await action()
            last_error = ""
        except DomainError as err:
            # Log an outage once, not with every attempt.
            if str(err) != last_error:
                last_error = str(err)
                logger.warning("the %s failed and tries again: %s", name, last_error)
        except Exception:
            logger.exception("the %s failed and tries again", name)
        if name == SWEEP:
            beat(SWEEP)
        await asyncio.sleep(interval)


async def _log_missing_servers(settings: Settings) -> None:
    async with open_clients(settings) as clients:
        for check in (await readiness(clients)).checks:
            if not check.ok:
                logger.warning("%s: %s %s", check.name, check.problem, check.fix)


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, because the caller stops all parts in order."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer requests that wait for a run at once, instead of waiting for them."""
        self._app.state.run_watch.close()
        await super().shutdown(sockets)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_api(
    settings: Settings, listener: socket.socket, announce: Callable[[str], None], stop: asyncio.Event
) -> None:
    """Serve the API on that socket until `stop` is set. Requests in progress then get five seconds to end."""
    app = create_app(settings)
    # Else a connection that cannot be accepted would close the API for all others.
    connections = min(settings.api.max_connections, max(16, raise_open_files() - _OTHER_FILES))
    # proxy_headers=False: uvicorn would trust X-Forwarded-For from every client on this host.
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=5,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=connections,
        http=head_timeout_protocol(settings.api.patience_seconds, max(1, connections // 4)),
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
