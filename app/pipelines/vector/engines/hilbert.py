"""Places on a Hilbert curve: rows that are near each other in space are near each other in the file."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

# The curve visits each cell of a grid of so many cells a side.
_SIDE = 1 << 16

Keys = npt.NDArray[np.uint64]


def places(boxes: npt.NDArray[np.float64], bounds: tuple[float, float, float, float] | None) -> Keys:
    """Where on the curve the centres of boxes lie, from 0 to 2³² - 1; 2³² for a row without coordinates.

    Args:
        boxes: (n, 4) minx, miny, maxx, maxy, in any CRS; NaN for rows without coordinates.
        bounds: of all rows of the dataset, in the same CRS; None without any coordinates.
    """
    missing = np.isnan(boxes[:, 0])
    if bounds is None or missing.all():
        return np.full(len(boxes), _SIDE * _SIDE, np.uint64)
    low, high = np.array(bounds[:2]), np.array(bounds[2:])
    width = high - low
    # Halved before they are added: the sum of two large coordinates may be infinite.
    centres = np.where(missing[:, None], low, boxes[:, :2] / 2 + boxes[:, 2:] / 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        cells = np.nan_to_num(np.where(width > 0, (centres - low) * ((_SIDE - 1) / width), 0))
    x, y = np.clip(cells, 0, _SIDE - 1).astype(np.uint64).T
    found = _distance(x, y)
    found[missing] = _SIDE * _SIDE
    return found


def _distance(x: Keys, y: Keys) -> Keys:
    """The number of the cell (x, y) on the curve, which begins at (0, 0) and ends at (side - 1, 0).

    From the largest quarter of the grid to the smallest: each adds the cells of the quarters before it, and is turned
    so that the curve enters it where it left the one before.
    """
    distance = np.zeros(len(x), np.uint64)
    last, half = np.uint64(_SIDE - 1), np.uint64(_SIDE // 2)
    while half:
        right, upper = (x & half) > 0, (y & half) > 0
        quarter = np.where(upper, np.where(right, 2, 1), np.where(right, 3, 0)).astype(np.uint64)
        distance += half * half * quarter
        turned = right & ~upper
        x, y = np.where(turned, last - x, x), np.where(turned, last - y, y)
        x, y = np.where(upper, x, y), np.where(upper, y, x)
        half >>= np.uint64(1)
    return distance
