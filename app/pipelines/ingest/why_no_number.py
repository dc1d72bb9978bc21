"""Why a text is no coordinate, and how to write or declare it so that it is one."""

from __future__ import annotations

import math
import re

from app.pipelines.tabular.notation import Notation

_SHOWN = 80
# Longer text is no coordinate in any notation, and the patterns below are slow with it.
_MOST = 60
_LETTER = r"[NSEWOnsewo]"
_NUMBER = r"\d+(?:[.,]\d+)?"
_DEGREES = re.compile(
    rf"""(?P<before>{_LETTER})?\s*(?P<sign>[+-])?(?P<degrees>\d{{1,3}}(?P<fraction>[.,]\d+)?)\s*(?P<mark>[°º˚d:]|\s)?\s*
    (?:(?P<minutes>{_NUMBER})\s*(?:['\u2032\u2019:m]|\s|$)?\s*(?:(?P<seconds>{_NUMBER})\s*(?:["\u2033\u201d]|''|s|$)?\s*)?)?
    (?P<behind>{_LETTER})?""",
    re.VERBOSE,
)
_COMMA = re.compile(r"[+-]?\d*,\d+")
_POINT_GROUPS = re.compile(r"[+-]?\d{1,3}(\.\d{3})+(,\d+)?")
_COMMA_GROUPS = re.compile(r"[+-]?\d{1,3}(,\d{3})+(\.\d+)?")
_TWO_NUMBERS = re.compile(r"[+-]?\d+(\.\d+)?\s*[,;\s]\s*[+-]?\d+(\.\d+)?")
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)


def why_no_number(value: str, notation: Notation, *, has_notation: bool) -> str:
    """A sentence without its subject: what the value is instead, and what to do.

    Args:
        value: without blanks around it.
        notation: how the table writes numbers.
        has_notation: whether files[].options of the format have `decimal` and `thousands`.
    """
    found = shortened(value)
    if len(value) > _MOST:
        return f"{found} is not a number"
    if _NOT_FINITE.fullmatch(value):
        return f"{found} is not a finite number; leave the value empty where there is no coordinate"
    change = _other_notation(value, notation)
    if change is not None:
        fix = f"set files[].options {change}" if has_notation else "write it with a decimal point and without groups"
        return f"{found} is written with other marks; {fix}"
    if (degrees := _in_degrees(value)) is not None:
        return f"{found} is in degrees, minutes and seconds; convert it to decimal degrees, {degrees}"
    if _TWO_NUMBERS.fullmatch(value):
        return f"{found} has two numbers; give each its own column, and name them as x and y"
    return f"{found} is not a number"


def shortened(value: str) -> str:
    """The value in quotation marks, cut where it is long."""
    return repr(value if len(value) <= _SHOWN else f"{value[:_SHOWN]}…")


def _other_notation(value: str, notation: Notation) -> str | None:
    """files[].options with which the value is a number; None without any."""
    if notation.decimal == "." and notation.thousands is None:
        if _COMMA.fullmatch(value):
            return '{"decimal": ","}'
        if _COMMA_GROUPS.fullmatch(value):
            return '{"thousands": ","}'
        if _POINT_GROUPS.fullmatch(value):
            return '{"decimal": ",", "thousands": "."}'
    if notation.decimal == "," and notation.thousands is None and _POINT_GROUPS.fullmatch(value):
        return '{"decimal": ",", "thousands": "."}'
    return None


def _in_degrees(value: str) -> str | None:
    """The value in decimal degrees as an example; None where it has no mark, letter or minutes."""
    found = _DEGREES.fullmatch(value)
    if found is None:
        return None
    letter = (found["before"] or found["behind"] or "").upper()
    marked = (found["mark"] or "").strip()
    if not (letter or marked or found["minutes"]) or (found["before"] and found["behind"]):
        return None
    if found["minutes"] and (found["fraction"] or not (found["mark"] or letter)):
        return None
    degrees, minutes, seconds = (_number(found[name]) for name in ("degrees", "minutes", "seconds"))
    if minutes >= 60 or seconds >= 60:
        return None
    total = degrees + minutes / 60 + seconds / 3600
    if found["sign"] == "-" or letter in ("S", "W"):
        total = math.copysign(total, -1)
    text = f"{total:.7f}".rstrip("0").rstrip(".")
    return "negative in the south and west" if letter == "O" else f"for example {text}"


def _number(text: str | None) -> float:
    return float(text.replace(",", ".")) if text else 0.0
