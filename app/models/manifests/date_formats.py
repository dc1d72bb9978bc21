"""How dates are written: `dmy`, `mdy`, `ymd`, or a format of Python's strptime, as a regular expression.

The expression is one of RE2, and what it matches is what `datetime.strptime` reads, with digits of ASCII and English
names of months.
"""

from __future__ import annotations

import re

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_FULL_MONTHS = "january|february|march|april|may|june|july|august|september|october|november|december"
# The alternatives are those of Python, in its order: `11` is a day, not the day 1 followed by a month.
DIRECTIVES = {
    "d": "3[0-1]|[1-2][0-9]|0[1-9]|[1-9]| [1-9]",
    "m": "1[0-2]|0[1-9]|[1-9]",
    "b": "|".join(MONTHS),
    "B": _FULL_MONTHS,
    "Y": "[0-9]{4}",
    "y": "[0-9]{2}",
    "H": "2[0-3]|[0-1][0-9]|[0-9]",
    "I": "1[0-2]|0[1-9]|[1-9]",
    "p": "am|pm",
    "M": "[0-5][0-9]|[0-9]",
    "S": "[0-5][0-9]|[0-9]",
    "f": "[0-9]{1,6}",
    "z": "[+-][0-9]{2}:?[0-5][0-9]|(?-i:Z)",
}
# Only one of each of these; the first three are needed.
_PARTS = (("day", "d"), ("month", "mbB"), ("year", "Yy"), ("hour", "HI"))
_NEEDS = (
    ("M", "HI", "hour"),
    ("S", "M", "minute"),
    ("f", "S", "second"),
    ("p", "I", "hour of 12"),
    ("z", "HI", "hour"),
)
_TOKEN = re.compile(r"%(.?)|(\s+)|([^%\s]+)")
# What \s matches in the expressions of Python.
_BLANKS = (
    "[\\t-\\r\\x1c-\\x1f \\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}]+"
)

_SEPARATOR = r"\. ?|[-/ ]"
_TIME = r"(?:(?:[ T]|, )(?P<H>[0-1]?[0-9]|2[0-3]):(?P<M>[0-5][0-9])(?::(?P<S>[0-5][0-9])(?:\.(?P<f>[0-9]{1,6}))?)?)?"
_ORDERS = {
    "dmy": ("(?P<d>[0-9]{1,2})", "(?P<m>[0-9]{1,2})", "(?P<Y>[0-9]{4}|[0-9]{2})"),
    "mdy": ("(?P<m>[0-9]{1,2})", "(?P<d>[0-9]{1,2})", "(?P<Y>[0-9]{4}|[0-9]{2})"),
    "ymd": ("(?P<Y>[0-9]{4}|[0-9]{2})", "(?P<m>[0-9]{1,2})", "(?P<d>[0-9]{1,2})"),
}
ORDERS = tuple(_ORDERS)


def date_pattern(text: str) -> str:
    """The regular expression of a date format. Its groups are named as the directives: d, m or b or B, Y or y, H, …

    `dmy`, `mdy` and `ymd` stand for numbers with one separator twice (groups s and t), and perhaps a time after it.

    Raises:
        ValueError: the text is no format of whole dates; says why, as a phrase.
    """
    if text in _ORDERS:
        first, second, third = _ORDERS[text]
        return f"^{first}(?P<s>{_SEPARATOR}){second}(?P<t>{_SEPARATOR}){third}{_TIME}$"
    found: list[str] = []
    pattern = []
    for directive, blanks, literal in (match.groups() for match in _TOKEN.finditer(text)):
        if blanks:
            pattern.append(_BLANKS)
        elif literal:
            pattern.append(re.escape(literal))
        elif directive == "%":
            pattern.append("%")
        elif directive in DIRECTIVES:
            found.append(directive)
            pattern.append(f"(?P<{directive}>{DIRECTIVES[directive]})")
        else:
            raise ValueError(f"%{directive} is not supported")
    _check_parts(found)
    return f"^(?i:{''.join(pattern)})$"


def _check_parts(found: list[str]) -> None:
    for name, directives in _PARTS:
        times = sum(each in directives for each in found)
        if times > 1:
            raise ValueError(f"it has the {name} twice")
        if times == 0 and name != "hour":
            raise ValueError(f"it has no {name}")
    for directive, needed, name in _NEEDS:
        if found.count(directive) > 1:
            raise ValueError(f"it has %{directive} twice")
        if directive in found and not set(needed) & set(found):
            raise ValueError(f"it has %{directive}, but no {name}")
