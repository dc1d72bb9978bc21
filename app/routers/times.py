"""Times in queries."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, BeforeValidator
from pydantic_core import PydanticCustomError

_NUMBER = re.compile(r"\s*[-+]?[0-9.]+\s*")
# What every ledger can keep, in whichever zone.
_FIRST, _END = datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)


def _written(value: object) -> object:
    """Pydantic would take a bare number for seconds since 1970: a year for some minutes of it."""
    if isinstance(value, str) and _NUMBER.fullmatch(value):
        raise PydanticCustomError("time_invalid", "A time is written as 2026-11-22T10:00:00Z")
    return value


def _kept(value: datetime) -> datetime:
    if not _FIRST <= value < _END:
        raise PydanticCustomError("time_out_of_range", "Times are from 1970 to 9998")
    return value


# RFC 3339, with its zone.
Moment = Annotated[AwareDatetime, BeforeValidator(_written), AfterValidator(_kept)]
