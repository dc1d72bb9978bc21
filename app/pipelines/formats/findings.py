"""What steps find on their way: counts, and the first few rows of each kind as samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

MOST_SAMPLES = 5

Rows = npt.NDArray[np.intp]


@dataclass(slots=True)
class Findings:
    """Counts by name; for some of them samples of {row, …}. Rows are numbered from 0 within their file."""

    counts: Counter[str] = field(default_factory=Counter)
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, name: str, rows: Rows | npt.NDArray[np.bool_], first_row: int = 0, **more: Iterable[Any]) -> None:
        """Count the rows (a mask, or positions in the chunk) and keep the first few as samples."""
        at = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        if not len(at):
            return
        self.counts[name] += len(at)
        kept = self.samples.setdefault(name, [])
        details = [dict(zip(more, values, strict=True)) for values in zip(*more.values(), strict=False)]
        for index, row in enumerate(at[: MOST_SAMPLES - len(kept)] if len(kept) < MOST_SAMPLES else ()):
            kept.append({"row": first_row + int(row), **(details[index] if index < len(details) else {})})

    def merge(self, other: Findings, file: str) -> None:
        """Add what a later chunk of `file` found."""
        self.counts.update(other.counts)
        for name, samples in other.samples.items():
            kept = self.samples.setdefault(name, [])
            kept += [{"file": file, **sample} for sample in samples[: MOST_SAMPLES - len(kept)]]
