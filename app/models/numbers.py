"""Numbers as strangers write them: in requests, headers and source files.

`int()` and `float()` also read digits of other scripts, `1_000` and blanks; `int()` raises ValueError for more than
4,300 digits, and for `²`, which `str.isdigit` accepts.
"""

from __future__ import annotations

import math
import re

_DIGITS = re.compile(r"[0-9]+")
_REAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")
# 10**18 fits into 64 bits.
_MOST_DIGITS = 18


def whole_number(text: str) -> int | None:
    """The number that ASCII digits write, at most 10**18; None for any other text. More digits give 10**18."""
    if not _DIGITS.fullmatch(text):
        return None
    digits = text.lstrip("0")
    return 10**_MOST_DIGITS if len(digits) > _MOST_DIGITS else int(digits or "0")


def real_number(text: str) -> float | None:
    """The finite decimal number, with or without exponent; None for any other text."""
    value = float(text) if _REAL.fullmatch(text) else math.nan
    return value if math.isfinite(value) else None
