"""Totals of a ledger from what it keeps: unfinished runs as they are, finished runs and versions as counters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from app.ledger import AssetTotal, RunTotal, Totals
from app.models.runs.counts import ATTEMPTS_TOTAL, BYTES_TOTAL, RUNS_TOTAL, VERSIONS_TOTAL, counted, counter
from app.models.runs.run import RunStatus


def of_run(lane: str, status: str, attempts: int, runs: int = 1) -> Counter[str]:
    """Return what finished runs add."""
    labels = {"lane": lane, "status": status}
    return Counter({counter(RUNS_TOTAL, **labels): runs, counter(ATTEMPTS_TOTAL, **labels): attempts})


def of_versions(kind: str, size: int, versions: int = 1) -> Counter[str]:
    """Return what versions add. size: of all, in bytes; both are negative for versions that were deleted."""
    return Counter({counter(VERSIONS_TOTAL, kind=kind): versions, counter(BYTES_TOTAL, kind=kind): size})


def totals_from(unfinished: Iterable[RunTotal], counts: Mapping[str, int]) -> Totals:
    """Return the totals of unfinished runs together with those in the counters."""
    attempts = counted(counts, ATTEMPTS_TOTAL)
    finished = [
        RunTotal(RunStatus(dict(labels)["status"]), dict(labels)["lane"], runs, attempts.get(labels, 0))
        for labels, runs in counted(counts, RUNS_TOTAL).items()
        if runs
    ]
    size = counted(counts, BYTES_TOTAL)
    kinds = {dict(labels)["kind"]: (versions, size.get(labels, 0)) for labels, versions in
             counted(counts, VERSIONS_TOTAL).items()}  # fmt: skip
    return Totals(
        tuple(sorted((*unfinished, *finished), key=lambda total: (total.status, total.lane))),
        tuple(AssetTotal(kind, *kinds[kind]) for kind in sorted(kinds) if kinds[kind][0]),
    )
