"""The nearest known name, for messages that say "did you mean"."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

# Longer than any known name; the comparison of long texts is slow.
_MAX_CHARACTERS = 100


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name most like `name` (compared without case), or None when none is near."""
    if len(name) > _MAX_CHARACTERS:
        return None
    by_lower = {candidate.lower(): candidate for candidate in known}
    found = get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return by_lower[found[0]] if found else None
