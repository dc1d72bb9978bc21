"""What the service tells Prometheus: from the ledger and the queue, at the moment of a scrape.

Every process of the API tells the same of them. What is away is said by `spatial_etl_up`, and its numbers are left out:
a number that could not be read is left out, not 0.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Final, get_args

from anyio import to_thread
from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

from app import __version__
from app.clients import Clients
from app.errors import DomainError
from app.ledger import RunFilter, Totals
from app.models.asset import Asset
from app.models.base import utcnow
from app.models.intents import LANES
from app.models.manifests.delivery import EventOutcome
from app.models.page import Page
from app.models.runs.counts import (
    DELIVERED,
    REMOVED,
    REMOVED_BYTES,
    REMOVED_KINDS,
    REPAIRS,
    ROWS,
    RUN_SECONDS,
    STEP_SECONDS,
    counted,
    histograms,
)
from app.models.runs.run import UNDER_WAY, Run, RunStatus
from app.services.health import Readiness, readiness
from app.services.runs.lane_control import Lane, State, list_lanes
from app.services.sweep.election import LeaderWatch

logger = logging.getLogger(__name__)

# The default time-out of Prometheus is ten seconds.
_TIMEOUT_SECONDS: Final = 4.0
# What each combination of label values has.
Values = dict[tuple[str, ...], float]

_REPAIRS: Final = (
    *("enqueued", "queued", "success", "failure", "canceled"),
    *("scratch_removed", "schema_dropped", "upload_removed", "orphan_removed"),
)


async def collect(clients: Clients, sweep: LeaderWatch) -> tuple[Metric, ...]:
    """All metrics of ledger, queue and sweep; those of an unavailable server are left out."""
    ready, ledger, workers = await asyncio.gather(
        readiness(clients, _TIMEOUT_SECONDS, sweep=sweep), _of_ledger(clients), _workers(clients)
    )
    info = _gauge("spatial_etl_info", "The release that answers.", ("version",), {(__version__,): 1})
    return (info, *_of_servers(ready), *workers, *ledger)


def _of_servers(ready: Readiness) -> Iterator[Metric]:
    up: Values = {(check.name,): float(check.ok) for check in ready.checks}
    yield _gauge("spatial_etl_up", "Whether the server answers, as at /ready.", ("dependency",), up)
    latency: Values = {(check.name,): check.latency_ms / 1000 for check in ready.checks if check.ok}
    yield _gauge("spatial_etl_dependency_seconds", "How long it took to answer.", ("dependency",), latency)
    waiting: Values = {}
    terms: Values = {}
    for check in ready.checks:
        if check.name == "sweep" and check.ok:
            terms[()] = float(check.details["term"])
        if check.name == "queue" and check.ok:
            waiting[()] = float(check.details["waiting"])
    yield _gauge("spatial_etl_queue_jobs", "Jobs that wait for a worker.", (), waiting)
    yield _counter("spatial_etl_sweep_elections", "Processes that took over the sweep.", (), terms)


async def _workers(clients: Clients) -> tuple[Metric, ...]:
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            found = await to_thread.run_sync(clients.queue.count_workers, abandon_on_cancel=True)
    except (DomainError, TimeoutError):
        return ()
    return (_gauge("spatial_etl_workers", "Workers that listen to the queue.", (), {(): found}),)


async def _of_ledger(clients: Clients) -> tuple[Metric, ...]:
    try:
        async with asyncio.timeout(_TIMEOUT_SECONDS):
            totals = await clients.ledger.totals()
            counts = await clients.ledger.get_counts()
            lanes = await list_lanes(clients)
            carried: list[Run] = []
            for status in UNDER_WAY:
                carried += (await clients.ledger.list_runs(RunFilter(status), Page(limit=1000))).items
    except (DomainError, TimeoutError) as err:
        logger.warning("the metrics of the ledger are missing: %s", err or type(err).__name__)
        return ()
    return (*_of_lanes(lanes), *_of_runs(totals, carried, utcnow()), *_of_assets(totals), *_of_counts(counts))


def _of_lanes(lanes: Iterable[Lane]) -> Iterator[Metric]:
    states: Values = {(lane.lane, state): float(lane.state == state) for lane in lanes for state in get_args(State)}
    yield _gauge("spatial_etl_lane_state", "1 for the state that the lane is in.", ("lane", "state"), states)
    limits: Values = {(lane.lane,): float(lane.limit) for lane in lanes if lane.limit is not None}
    yield _gauge("spatial_etl_lane_limit", "Limit of concurrent runs of a lane.", ("lane",), limits)


def _of_runs(totals: Totals, carried: Iterable[Run], now: datetime) -> Iterator[Metric]:
    lanes = sorted({*LANES, *(total.lane for total in totals.runs)})
    runs: Values = {(status.value, lane): 0.0 for status in RunStatus for lane in lanes}
    attempts: Values = {(lane,): 0.0 for lane in lanes}
    oldest: Values = {(lane,): 0.0 for lane in lanes}
    for total in totals.runs:
        runs[total.status.value, total.lane] = total.runs
        attempts[total.lane,] += total.attempts
        if total.status is RunStatus.QUEUED and total.oldest is not None:
            oldest[total.lane,] = max(0.0, (now - total.oldest).total_seconds())
    yield _gauge("spatial_etl_runs", "Runs in the ledger.", ("status", "lane"), runs)
    yield _gauge("spatial_etl_oldest_queued_seconds", "Age of the oldest run that waits.", ("lane",), oldest)
    yield _counter("spatial_etl_attempts", "Attempts that were begun.", ("lane",), attempts)
    leases = Counter("held" if run.lease and run.lease.expires_at > now else "expired" for run in carried)
    held: Values = {(state,): float(leases[state]) for state in ("held", "expired")}
    yield _gauge("spatial_etl_leases", "Leases of runs that are running or canceling.", ("state",), held)


def _of_assets(totals: Totals) -> Iterator[Metric]:
    kinds: Values = {(kind,): 0.0 for kind in get_args(Asset.model_fields["kind"].annotation)}
    versions = kinds | {(total.kind,): float(total.versions) for total in totals.assets}
    size = kinds | {(total.kind,): float(total.bytes) for total in totals.assets}
    # Gauges: versions may be deleted.
    yield _gauge("spatial_etl_versions", "Versions in the catalogue.", ("kind",), versions)
    yield _gauge("spatial_etl_version_bytes", "Bytes of their data.", ("kind",), size)


def _of_counts(counts: Mapping[str, int]) -> Iterator[Metric]:
    rows: Values = {(dict(labels)["lane"], dict(labels)["direction"]): n for labels, n in counted(counts, ROWS).items()}
    yield _counter("spatial_etl_rows", "Rows read and written by successful runs.", ("lane", "direction"), rows)
    repairs: Values = {(action,): 0 for action in _REPAIRS}
    repairs |= {(dict(labels)["action"],): n for labels, n in counted(counts, REPAIRS).items()}
    for name, text in (
        (REMOVED, "Things removed by retention, clean-up and users."),
        (REMOVED_BYTES, "Bytes of these, where known."),
    ):
        kinds: Values = dict.fromkeys(((kind,) for kind in REMOVED_KINDS), 0.0)
        kinds |= {(dict(labels)["kind"],): float(n) for labels, n in counted(counts, name).items()}
        yield _counter(f"spatial_etl_{name}", text, ("kind",), kinds)
    yield _counter(
        "spatial_etl_repairs",
        "Repairs by the sweep, by action.",
        ("action",),
        repairs,
    )
    events: Values = {(result,): 0 for result in get_args(EventOutcome.model_fields["result"].annotation)}
    events |= {(dict(labels)["result"],): n for labels, n in counted(counts, DELIVERED).items()}
    yield _counter("spatial_etl_webhook_events", "Events of webhook deliveries, by outcome.", ("result",), events)
    yield _histogram(counts, STEP_SECONDS, "Time of a step, of attempts that reached their end.", ("lane", "step"))
    yield _histogram(counts, RUN_SECONDS, "Time from acceptance to the end of a run.", ("lane", "status"))


def _gauge(name: str, text: str, labels: tuple[str, ...], values: Values) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _counter(name: str, text: str, labels: tuple[str, ...], values: Values) -> Metric:
    family = CounterMetricFamily(name, text, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _histogram(counts: Mapping[str, int], name: str, text: str, labels: tuple[str, ...]) -> Metric:
    family = HistogramMetricFamily(f"spatial_etl_{name}", text, labels=labels)
    for key, (buckets, total) in histograms(counts, name).items():
        family.add_metric([dict(key)[label] for label in labels], [(bound, float(n)) for bound, n in buckets], total)
    return family
