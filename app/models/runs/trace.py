"""W3C trace context: one header that names the trace which a request, its run and all their log lines belong to."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence

# Later versions may add fields after a dash.
_FORM = re.compile(r"(?P<version>[0-9a-f]{2})-(?P<trace>[0-9a-f]{32})-(?P<span>[0-9a-f]{16})-[0-9a-f]{2}(?P<more>-.*)?")
_MAX_LENGTH = 128


def new_traceparent() -> str:
    """Return the header of a new trace that is not sampled."""
    return f"00-{secrets.token_hex(16)}-{secrets.token_hex(8)}-00"


def parse_traceparent(headers: Sequence[str]) -> str:
    """Return the `traceparent` of a request; a new one when it is missing, repeated or malformed."""
    if len(headers) != 1 or len(headers[0]) > _MAX_LENGTH:
        return new_traceparent()
    found = _FORM.fullmatch(headers[0].strip())
    if found is None or found["version"] == "ff" or (found["version"] == "00" and found["more"]):
        return new_traceparent()
    if not found["trace"].strip("0") or not found["span"].strip("0"):
        return new_traceparent()
    return found[0]
