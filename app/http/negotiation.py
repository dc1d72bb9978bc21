"""Content negotiation by the Accept header (RFC 9110)."""

from __future__ import annotations

import re
from collections.abc import Sequence

from app.errors import NotAcceptable

_RANGE = re.compile(r"\s*([^\s/;,]+)/([^\s/;,]+)\s*((?:;[^,]*)?)")


def preferred(accept: str | None, offered: Sequence[str]) -> str:
    """The offered media type with the highest quality; of equal ones the first. No header: the first of all.

    A range with parameters (`application/json;profile=x`) is another type than the one without. Raises NotAcceptable.
    """
    ranges = _ranges(accept) if accept else []
    if not ranges and not (accept or "").strip():
        return offered[0]
    best = max(offered, key=lambda media_type: _quality(media_type, ranges))
    if _quality(best, ranges) <= 0:
        raise NotAcceptable(
            f"The Accept header {(accept or '')[:200]!r} allows no media type of this resource.",
            f"Ask for one of {', '.join(offered)}.",
        )
    return best


def _ranges(accept: str) -> list[tuple[str, str, float]]:
    """(type, subtype, quality) of each media range; unreadable ones are left out."""
    found = []
    for part in accept.split(","):
        match = _RANGE.fullmatch(part)
        if match is None:
            continue
        parameters = [word.strip().lower() for word in match[3].split(";") if word.strip()]
        others = [word for word in parameters if not word.startswith(("q=", "charset="))]
        quality = next((word[2:] for word in parameters if word.startswith("q=")), "1")
        if not others and re.fullmatch(r"[01](\.\d{0,3})?", quality):
            found.append((match[1].lower(), match[2].lower(), min(float(quality), 1.0)))
    return found


def _quality(media_type: str, ranges: Sequence[tuple[str, str, float]]) -> float:
    """That of the most specific range that matches; 0 without one."""
    kind, _, subtype = media_type.partition("/")
    for wanted in ((kind, subtype), (kind, "*"), ("*", "*")):
        matching = [quality for *name, quality in ranges if tuple(name) == wanted]
        if matching:
            return max(matching)
    return 0.0
