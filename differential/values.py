"""Tables of random values with the traps of this trade: what a file is made of, and what has to come out of it."""

from __future__ import annotations

import random
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Literal

Kind = Literal["text", "whole", "real", "yes_no", "day", "moment", "instant", "bytes", "decimal"]

_WORDS = (
    "Straße",
    "ÅNGSTRÖM",
    "Łódź",
    "東京都",
    "Ελλάδα",
    "Київ",
    "مدينة",
    "न\u200bदी",
    "café",
    "cafe\u0301",
    "😀",
    "a b",
    " lead",
    "trail ",
    "x,y",
    "x;y",
    'say "so"',
    "it's",
    "back\\slash",
    "tab\there",
    "two\nlines",
    "NULL",
    "NaN",
    "n/a",
    "-",
    "007",
    "1e5",
    "0x1F",
    "+49 30",
    "1,5",
    "1.234,50",
    "2024/01/31",
    "31.12.1999",
    "10:10",
    "TRUE",
    "ja",
    "=1+1",
    "#N/A",
    "<b>&amp;</b>",
    "%20",
    "\u00a0",
    "𝔘nicode",
    "ﬁ",
    "İ",
    "ß",
    "a" * 200,
)
_NAMES = (
    "id",
    "Name",
    "NAME2",
    "größe",
    "a b",
    "select",
    "from",
    "x",
    "fid2",
    "value.1",
    "naïve",
    "日本",
    "UPPER",
    "lower",
    "with-dash",
    "per%",
)
_WHOLES = (0, 1, -1, 7, 255, 2**15, -(2**31), 2**31 - 1, 2**31, 2**53 - 1, 2**53, 2**53 + 1, -(2**63), 2**63 - 1)
_REALS = (
    0.0,
    -0.0,
    0.1,
    1 / 3,
    1.5,
    -2.75,
    1e-300,
    5e-324,
    1.7976931348623157e308,
    123456789.123456789,
    1e15,
    1e16 + 2,
)
_DAYS = (
    date(1, 1, 1),
    date(1582, 10, 10),
    date(1899, 12, 31),
    date(1900, 2, 28),
    date(1969, 12, 31),
    date(2000, 2, 29),
    date(9999, 12, 31),
)
_EPOCH = datetime(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a format can hold.

    Attributes:
        kinds: of columns.
        longest_name: bytes of a column's name in UTF-8.
        longest_text: bytes of a text in UTF-8.
        digits: of whole numbers and of numbers with decimals.
        decimals: of a number with decimals; None for doubles.
        days: the first and last date.
        places: decimals of the seconds of a moment.
        distinct_case: two names may differ in case alone.
        spacing: texts may begin or end with spaces, and hold line breaks.
        empty_texts: an empty text is not a null.
    """

    kinds: tuple[Kind, ...]
    longest_name: int = 60
    longest_text: int = 10_000
    digits: int = 19
    decimals: int | None = None
    days: tuple[date, date] = (date.min, date.max)
    places: int = 6
    distinct_case: bool = False
    spacing: bool = True
    empty_texts: bool = True
    plain_names: bool = False


@dataclass(frozen=True, slots=True)
class Column:
    """name: in the file. values: one for each row, None where there is none."""

    name: str
    kind: Kind
    values: tuple[Any, ...]


def columns(rng: random.Random, rows: int, limits: Limits) -> list[Column]:
    """Two to seven columns, the first a row number, so that rows are told apart."""
    made = [Column("nr", "whole", tuple(range(1, rows + 1)))]
    taken = {"nr"}
    for _ in range(rng.randint(1, 6)):
        name = _name(rng, limits)
        if (name if limits.distinct_case else name.lower()) in taken:
            continue
        taken.add(name if limits.distinct_case else name.lower())
        kind = rng.choice(limits.kinds)
        made.append(Column(name, kind, _cells(rng, rows, kind, limits)))
    return made


def _name(rng: random.Random, limits: Limits) -> str:
    if limits.plain_names or rng.random() < 0.4:
        return "".join(rng.choices(string.ascii_lowercase, k=rng.randint(2, 8)))
    name = rng.choice(_NAMES)
    return name if len(name.encode()) <= limits.longest_name else "short"


def _cells(rng: random.Random, rows: int, kind: Kind, limits: Limits) -> tuple[Any, ...]:
    """Some columns have no nulls, some begin with them, some have nothing else."""
    share = rng.choice((0.0, 0.0, 0.2, 0.8, 1.0))
    first = rng.choice((0, 0, 0, rows // 2))
    make = _MAKERS[kind]
    return tuple(None if row < first or rng.random() < share else make(rng, limits) for row in range(rows))


def _text(rng: random.Random, limits: Limits) -> str:
    found = (
        rng.choice(_WORDS) if rng.random() < 0.8 else "".join(rng.choices(string.printable[:95], k=rng.randint(1, 30)))
    )
    if not limits.spacing:
        found = " ".join(found.split()) or "x"
    if limits.empty_texts and rng.random() < 0.05:
        return ""
    while len(found.encode()) > limits.longest_text:
        found = found[:-1]
    return found


def _whole(rng: random.Random, limits: Limits) -> int:
    found = rng.choice(_WHOLES) if rng.random() < 0.5 else rng.randint(-10_000, 10_000)
    return found if len(str(found)) <= limits.digits else found % 10 ** (limits.digits - 1)


def _real(rng: random.Random, limits: Limits) -> float:
    found = rng.choice(_REALS) if rng.random() < 0.4 else rng.uniform(-1e6, 1e6)
    if limits.decimals is None:
        return found
    return round(found, limits.decimals) if 1e-9 < abs(found) < 1e9 else 0.5


def _day(rng: random.Random, limits: Limits) -> date:
    found = rng.choice(_DAYS) if rng.random() < 0.4 else date(1900, 1, 1) + timedelta(days=rng.randint(0, 60_000))
    first, last = limits.days
    return min(max(found, first), last)


def _moment(rng: random.Random, limits: Limits) -> datetime:
    day = _day(rng, limits)
    whole = datetime(day.year, day.month, day.day) + timedelta(seconds=rng.choice((0, 1, 43_200, 86_399)))
    return whole.replace(
        microsecond=rng.choice((0, 0, 500_000, 123_456, 1_000)) // 10 ** (6 - limits.places) * 10 ** (6 - limits.places)
    )


def _instant(rng: random.Random, limits: Limits) -> datetime:
    found = _moment(rng, limits)
    return found.replace(year=min(max(found.year, 2), 9998), tzinfo=UTC)


_MAKERS: Mapping[Kind, Callable[[random.Random, Limits], Any]] = {
    "text": _text,
    "whole": _whole,
    "real": _real,
    "yes_no": lambda rng, _: rng.random() < 0.5,
    "day": _day,
    "moment": _moment,
    "instant": _instant,
    "bytes": lambda rng, _: rng.randbytes(rng.randint(0, 12)),
    "decimal": lambda rng, _: Decimal(rng.randint(-(10**15), 10**15)).scaleb(-4),
}


def microseconds(moment: datetime) -> int:
    """Since 1970, of the moment in UTC or of the naive one."""
    naive = moment.astimezone(UTC).replace(tzinfo=None) if moment.tzinfo else moment
    return (naive - _EPOCH) // timedelta(microseconds=1)


def is_empty(column: Sequence[Any]) -> bool:
    return all(value is None for value in column)
