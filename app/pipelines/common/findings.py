"""Counts of what the steps of a pipeline find in the rows, with the first few rows as samples."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from app.messages.message import MOST_SAMPLES

Rows = npt.NDArray[np.intp]


class KeptRows(int):
    """The number of the first of some rows that need not follow one another: n more is the number of the nth of them.

    It stands for `first_row` where rows of a chunk were left out, so that all messages name the rows of the source.
    """

    _numbers: Rows

    @classmethod
    def of(cls, first_row: int, kept: Rows) -> Self:
        """Those at these positions of a chunk that begins with row `first_row` of its file."""
        found = cls(first_row + int(kept[0]) if len(kept) else first_row)
        found._numbers = first_row + kept
        return found

    def __add__(self, position: Any) -> Any:
        found = self._numbers[position]
        return int(found) if np.ndim(found) == 0 else found


@dataclass(slots=True)
class Findings:
    """Counts by name, and for each name up to five samples: {row, …}. Rows are numbered from 0 within their file.

    sizes: sums of what is no count, such as areas, by name. largest: the largest of what was found, by name.
    """

    counts: Counter[str] = field(default_factory=Counter)
    sizes: dict[str, float] = field(default_factory=dict)
    largest: dict[str, float] = field(default_factory=dict)
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def add(self, name: str, rows: Rows | npt.NDArray[np.bool_], first_row: int = 0, **more: Iterable[Any]) -> None:
        """Count rows and keep the first few as samples.

        Args:
            name: what was found.
            rows: a mask, or positions in the chunk.
            first_row: number of the chunk's first row within the file.
            more: further fields of the samples, each with a value for each of the first rows.
        """
        at = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        if not len(at):
            return
        self.counts[name] += len(at)
        kept = self.samples.setdefault(name, [])
        details = [dict(zip(more, values, strict=True)) for values in zip(*more.values(), strict=False)]
        for index, row in enumerate(at[: MOST_SAMPLES - len(kept)] if len(kept) < MOST_SAMPLES else ()):
            kept.append({"row": first_row + int(row), **(details[index] if index < len(details) else {})})

    def reach(self, name: str, value: float) -> None:
        """Keep the larger of this and what is known of that name."""
        self.largest[name] = max(value, self.largest.get(name, value))

    def merge_rows(self, *parts: Findings) -> None:
        """Add the findings of parts of one chunk, with the samples of each kind in the order of the rows."""
        for part in parts:
            self.counts.update(part.counts)
        for name in dict.fromkeys(name for part in parts for name in part.samples):
            found = sorted(
                (each for part in parts for each in part.samples.get(name, [])), key=lambda each: each["row"]
            )
            kept = self.samples.setdefault(name, [])
            kept += found[: MOST_SAMPLES - len(kept)]

    def take(self, *names: str) -> Findings:
        """The findings of these names, which are then no longer here."""
        taken = Findings()
        for name in names:
            taken.counts[name] = self.counts.pop(name, 0)
            taken.samples[name] = self.samples.pop(name, [])
            if name in self.largest:
                taken.largest[name] = self.largest.pop(name)
        return taken

    def merge(self, other: Findings, file: str | None = None) -> None:
        """Add later findings; file: whose samples they are, where they do not have it yet."""
        self.counts.update(other.counts)
        for name, size in other.sizes.items():
            self.sizes[name] = self.sizes.get(name, 0.0) + size
        for name, value in other.largest.items():
            self.reach(name, value)
        for name, samples in other.samples.items():
            kept = self.samples.setdefault(name, [])
            named = {} if file is None else {"file": file}
            kept += [{**named, **sample} for sample in samples[: MOST_SAMPLES - len(kept)]]
