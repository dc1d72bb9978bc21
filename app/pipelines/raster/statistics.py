"""Exact statistics of a band, added up window by window: the same windows in the same order give the same numbers.

Types of up to 16 bits are counted value by value in one pass. Wider types need a second pass for the histogram, whose
range is known only after the first.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 256
# An integer band of no more values than this is a classification or a mask: an average of two of them means nothing.
MOST_CLASSES = 64
# No measurement is as large as that: such numbers, such as -3.4028e38, mean nodata where a writer named another value.
EXTREME = 1e38

Pixels = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


@dataclass(slots=True)
class BandStatistics:
    """Statistics of the valid pixels: those that are finite numbers below ±1e38 and neither nodata nor masked.

    Call `add` for every window, `finish` once, and `add_second_pass` for every window where `needs_second_pass`.
    """

    dtype: np.dtype[Any]
    valid: int = 0
    nodata: int = 0
    not_finite: int = 0
    extreme: int = 0
    extreme_sample: float | None = None
    low: float | int | None = None
    high: float | int | None = None
    mean: float = 0.0
    _squares: float = 0.0
    _counts: npt.NDArray[np.int64] | None = field(init=False, default=None)
    _bins: npt.NDArray[np.int64] | None = field(init=False, default=None)
    _edges: npt.NDArray[np.float64] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        if self.dtype.kind in "iu" and self.dtype.itemsize <= 2:
            self._counts = np.zeros(2 ** (8 * self.dtype.itemsize), np.int64)

    @property
    def needs_second_pass(self) -> bool:
        return self._counts is None and self.low is not None

    def add(self, pixels: Pixels, valid: Mask | None) -> None:
        """First pass. valid: the mask of valid pixels; None where all of them are."""
        chosen = self._chosen(pixels, valid)
        values = self._usual(chosen)
        self.nodata += pixels.size - chosen.size
        if values.size < chosen.size:
            self._count_unusual(chosen)
        if not values.size:
            return
        if self._counts is not None:
            at = values.view(f"u{self.dtype.itemsize}") if self.dtype.kind == "i" else values
            self._counts += np.bincount(at, minlength=len(self._counts))
            self.valid += values.size
            return
        low, high = values.min().item(), values.max().item()
        self.low = low if self.low is None else min(self.low, low)
        self.high = high if self.high is None else max(self.high, high)
        count, mean = values.size, float(values.mean(dtype=np.float64))
        apart, total = mean - self.mean, self.valid + values.size
        with np.errstate(over="ignore"):
            deviations = values - np.float64(mean)
            # Not np.dot: BLAS adds in an order that depends on its number of threads.
            squares = float(np.square(deviations, out=deviations).sum())
        self._squares += squares + apart * apart * self.valid * count / total
        self.mean += apart * count / total
        self.valid = total

    def add_second_pass(self, pixels: Pixels, valid: Mask | None) -> None:
        """Second pass, over the same pixels, where `needs_second_pass`."""
        if self.low is None or self.high is None:
            return
        values = self._usual(self._chosen(pixels, valid))
        try:
            # NumPy scalars: with Python floats, the edges of a float32 band would be float32.
            ends = np.float64(self.low), np.float64(self.high)
            with np.errstate(over="ignore", invalid="ignore"):
                bins, self._edges = np.histogram(values, BINS, ends)
        except ValueError:  # a range that is infinite, or too narrow for 256 different edges
            return
        self._bins = bins if self._bins is None else self._bins + bins

    def finish(self) -> None:
        """Compute the numbers of a type that was counted value by value."""
        if self._counts is None or not self.valid:
            return
        seen, counts = self._distinct_values()
        self.low, self.high = int(seen[0]), int(seen[-1])
        total = int((seen * counts).sum())
        self.mean = total / self.valid
        # In integers, so that only the result is rounded.
        squares = sum(int(v) * int(v) * int(c) for v, c in zip(seen, counts, strict=True))
        self._squares = (squares * self.valid - total * total) / self.valid
        self._bins, self._edges = np.histogram(seen, BINS, _range(self.dtype, self.low, self.high), weights=counts)

    @property
    def is_categorical(self) -> bool:
        """Whether the values are few enough to be classes (types of up to 16 bits)."""
        return self._counts is not None and bool(np.count_nonzero(self._counts) <= MOST_CLASSES)

    @property
    def deviation(self) -> float:
        """The standard deviation of the whole population."""
        return math.sqrt(max(self._squares, 0.0) / self.valid) if self.valid else 0.0

    def describe(self) -> dict[str, Any]:
        """JSON-able. histogram: 256 counts between 257 edges; a bin holds its lower edge, the last one both."""
        found: dict[str, Any] = {"valid": self.valid, "nodata": self.nodata}
        if self.not_finite:
            found["not_finite"] = self.not_finite
        if self.extreme:
            found["extreme"] = self.extreme
        if self.valid:
            found |= {"min": self.low, "max": self.high, "mean": _finite(self.mean), "std": _finite(self.deviation)}
        if self._bins is not None and self._edges is not None:
            found["histogram"] = {
                "counts": [int(count) for count in self._bins],
                "edges": [float(edge) for edge in self._edges],
            }
        return found

    def tags(self) -> Mapping[str, str]:
        """The statistics as GDAL's band metadata, which COG readers show."""
        if not self.valid:
            return {}
        total = self.valid + self.nodata + self.not_finite + self.extreme
        return {
            "STATISTICS_MINIMUM": repr(self.low),
            "STATISTICS_MAXIMUM": repr(self.high),
            "STATISTICS_MEAN": repr(self.mean),
            "STATISTICS_STDDEV": repr(self.deviation),
            "STATISTICS_VALID_PERCENT": f"{100 * self.valid / total:.4g}",
        }

    def _chosen(self, pixels: Pixels, valid: Mask | None) -> Pixels:
        values: Pixels = pixels.ravel() if valid is None or valid.all() else pixels[valid]
        return values

    def _usual(self, values: Pixels) -> Pixels:
        """Those that are finite numbers below ±1e38."""
        if self.dtype.kind != "f" or (usual := np.abs(values) < EXTREME).all():
            return values
        kept: Pixels = values[usual]
        return kept

    def _count_unusual(self, values: Pixels) -> None:
        finite = np.isfinite(values)
        self.not_finite += values.size - int(np.count_nonzero(finite))
        extreme = values[finite & (np.abs(values) >= EXTREME)]
        self.extreme += extreme.size
        if self.extreme_sample is None and extreme.size:
            self.extreme_sample = extreme[0].item()

    def _distinct_values(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The values that occur, sorted, and their counts. Negative values were counted as their bit patterns."""
        if self._counts is None:
            raise TypeError(f"{self.dtype} is not counted value by value")
        at = np.flatnonzero(self._counts)
        values = at.astype(f"u{self.dtype.itemsize}").view(self.dtype).astype(np.int64)
        order = np.argsort(values)
        return values[order], self._counts[at][order]


def _finite(value: float) -> float | None:
    """None for an overflow, as squares of the largest floats give."""
    return value if math.isfinite(value) else None


def _range(dtype: np.dtype[Any], low: float, high: float) -> tuple[float, float]:
    """The range of the histogram: for bytes one bin per value, else from the smallest value to the largest."""
    if dtype.itemsize == 1:
        first = float(np.iinfo(dtype).min)
        return first, first + BINS
    return float(low), float(high)
