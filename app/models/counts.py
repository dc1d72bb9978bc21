"""Names of the ledger's counters: what the metrics tell that no other entry of the ledger does.

Every process adds to the same counters, whole numbers only: times are in milliseconds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Final

STEP_SECONDS, RUN_SECONDS, ROWS = "step_seconds", "run_seconds", "rows"
REPAIRS, DELIVERED = "repairs", "delivered_events"
# What retention, clean-up and requests removed.
REMOVED, REMOVED_BYTES = "removed", "removed_bytes"
REMOVED_KINDS: Final = (
    "version",
    "orphan",
    "quarantine",
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
    """The name under which the ledger counts it. Labels come from our own tables, so they contain neither | nor =."""
    return "|".join((name, *(f"{label}={value}" for label, value in sorted(labels.items()))))


def observed(name: str, seconds: float, **labels: str) -> Counter[str]:
    """What one duration adds: to its bucket, and to the sum."""
    bound = next((str(each) for each in BUCKETS if seconds <= each), "+Inf")
    bucket = counter(name + _BUCKET, **labels, **{_BOUND: bound})
    return Counter({bucket: 1, counter(name + _MILLISECONDS, **labels): max(0, round(seconds * 1000))})


Labels = tuple[tuple[str, str], ...]


def counted(counts: Mapping[str, int], name: str) -> dict[Labels, int]:
    """The counters of that name, by their labels."""
    found: dict[Labels, int] = {}
    for key, value in counts.items():
        own, *labels = key.split("|")
        if own == name:
            found[tuple((part.partition("=")[0], part.partition("=")[2]) for part in labels)] = value
    return found


def histograms(counts: Mapping[str, int], name: str) -> dict[Labels, tuple[list[tuple[str, int]], float]]:
    """By labels: the buckets, each with all that is in the smaller ones too, and the sum in seconds."""
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
