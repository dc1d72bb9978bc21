"""Times in query parameters."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator

from app.messages.request import TIME_INVALID, TIME_OUT_OF_RANGE
from app.models.problem_text import wrong

_NUMBER = re.compile(r"\s*[-+]?[0-9.]+\s*")
# What every ledger can store, in any time zone.
_FIRST, _END = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


def _not_a_number(value: object) -> object:
    """Pydantic would read a bare number as seconds since 1970: `2026` as a time in that year."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        raise wrong(TIME_INVALID, value=value)
    return value


def _in_range(value: datetime) -> datetime:
    if not _FIRST <= value < _END:
        raise wrong(TIME_OUT_OF_RANGE, time=value.isoformat())
    return value


# RFC 3339, with its zone.
Moment = Annotated[AwareDatetime, BeforeValidator(_not_a_number), AfterValidator(_in_range)]
