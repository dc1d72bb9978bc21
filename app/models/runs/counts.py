"""Names of the ledger's counters, from which metrics are made.

All processes add to the same counters. Counters are integers, so times are in milliseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

STEP_SECONDS, RUN_SECONDS, ROWS = "step_seconds", "run_seconds", "rows"
REPAIRS, DELIVERED = "repairs", "delivered_events"
# What the ledger keeps with every change, so that no reader has to count finished runs and versions. Not for `count`.
TOTAL = "total_"
RUNS_TOTAL, ATTEMPTS_TOTAL = f"{TOTAL}runs", f"{TOTAL}attempts"
VERSIONS_TOTAL, BYTES_TOTAL = f"{TOTAL}versions", f"{TOTAL}bytes"
# Removed by retention, clean-up and requests.
REMOVED, REMOVED_BYTES = "removed", "removed_bytes"
REMOVED_KINDS: Final = (
    "version",
    "orphan",
    "quarantine",
    "rejected_product",
    "batch",
    "run_log",
    "rejected",
    "archived",
    "delivery",
    "activity",
    "landing",
)

# Upper bounds of the histograms' buckets, in seconds.
BUCKETS: Final = (0.1, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)
_MILLISECONDS, _BUCKET, _BOUND = "_ms", "_bucket", "le"


def counter(name: str, **labels: str) -> str:
    """Return the name of a counter with labels, which must not contain | or =."""
    return "|".join((name, *(f"{label}={value}" for label, value in sorted(labels.items()))))


def observed(name: str, seconds: float, **labels: str) -> Counter[str]:
    """Return what one duration adds to the counters of its bucket and of the sum."""
    bound = next((str(each) for each in BUCKETS if seconds <= each), "+Inf")
    bucket = counter(name + _BUCKET, **labels, **{_BOUND: bound})
    return Counter({bucket: 1, counter(name + _MILLISECONDS, **labels): max(0, round(seconds * 1000))})


Labels = tuple[tuple[str, str], ...]


def counted(counts: Mapping[str, int], name: str) -> dict[Labels, int]:
    """Return the counters of that name, by their labels."""
    found: dict[Labels, int] = {}
    for key, value in counts.items():
        own, *labels = key.split("|")
        if own == name:
            found[tuple((part.partition("=")[0], part.partition("=")[2]) for part in labels)] = value
    return found


def histograms(counts: Mapping[str, int], name: str) -> dict[Labels, tuple[list[tuple[str, int]], float]]:
    """Return, by labels, the cumulative buckets and the sum in seconds."""
    single: dict[Labels, Counter[str]] = {}
    for labels, value in counted(counts, name + _BUCKET).items():
        rest = tuple(pair for pair in labels if pair[0] != _BOUND)
        single.setdefault(rest, Counter())[dict(labels)[_BOUND]] += value
    sums = counted(counts, name + _MILLISECONDS)
    found = {}
    for labels, each in single.items():
        total, buckets = 0, []
        for bound in (*map(str, BUCKETS), "+Inf"):
            total += each[bound]
            buckets.append((bound, total))
        found[labels] = (buckets, sums.get(labels, 0) / 1000)
    return found
