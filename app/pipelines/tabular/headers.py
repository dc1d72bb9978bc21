"""Turns column names of any spelling into PostgreSQL identifiers, the same ones for the same header."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

MAX_NAME_BYTES = 63

# Letters that NFKD does not decompose, in their usual ASCII spelling.
_LETTERS = str.maketrans(
    {
        "ß": "ss", "ẞ": "ss", "ø": "o", "Ø": "o", "æ": "ae", "Æ": "ae", "œ": "oe", "Œ": "oe", "đ": "d", "Đ": "d",
        "ð": "d", "Ð": "d", "þ": "th", "Þ": "th", "ł": "l", "Ł": "l", "\u0131": "i", "ħ": "h", "Ħ": "h",
        "ŧ": "t", "Ŧ": "t", "ŋ": "n", "Ŋ": "n",
    }
)  # fmt: skip

# Reserved words of PostgreSQL (also those allowed as function or type names), and its system columns.
_RESERVED_WORDS = """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
    column concurrently constraint create cross current_catalog current_date current_role current_schema current_time
    current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze
    from full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit
    localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references
    returning right select session_user similar some symmetric system_user table tablesample then to trailing true
    union unique user using variadic verbose when where window with
    tableoid xmin cmin xmax cmax ctid
"""
_RESERVED = frozenset(_RESERVED_WORDS.split())


def clean_headers(names: Sequence[str]) -> list[str]:
    """One name for each column, in order: lower case, at most 63 bytes, all different, none reserved.

    Accents of Latin letters are removed, letters of other scripts are kept, everything else becomes `_`. A name
    without a
    letter or digit becomes `column_` and its number from 1. Clean names are not changed.
    """
    plain = [_clean(name) or f"column_{number}" for number, name in enumerate(names, 1)]
    times = Counter(plain)
    used, seen = set(plain), set()
    cleaned = []
    for name in plain:
        if times[name] > 1 and name in seen:
            name = _unused_name(name, used)  # noqa: PLW2901
        seen.add(name)
        cleaned.append(name)
    return cleaned


def _clean(name: str) -> str:
    before, now = name, _clean_once(name)
    while now != before:  # a letter in lower case can be two characters, one of them a mark
        before, now = now, _clean_once(now)
    return now


def _clean_once(name: str) -> str:
    folded = _without_accents(name.translate(_LETTERS)).lower().translate(_LETTERS)
    marked = "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else "_" for c in folded)
    word = "_".join(part for part in marked.split("_") if part)
    if word and unicodedata.category(word[0])[0] in "NM":
        word = f"c_{word}"
    word = _truncate(word, MAX_NAME_BYTES).rstrip("_")
    return f"{word}_col" if word in _RESERVED else word


def _without_accents(text: str) -> str:
    """Removes marks from Latin letters; in other scripts they make another letter and stay."""
    kept: list[str] = []
    base = ""
    for c in unicodedata.normalize("NFKD", text):
        if not unicodedata.combining(c):
            base = c
        elif base.isascii():
            continue
        kept.append(c)
    return unicodedata.normalize("NFKC", "".join(kept))


def _unused_name(name: str, used: set[str]) -> str:
    number = 1
    while True:
        suffix = f"_{number}"
        found = _truncate(name, MAX_NAME_BYTES - len(suffix)).rstrip("_") + suffix
        if found not in used:
            used.add(found)
            return found
        number += 1


def _truncate(text: str, max_bytes: int) -> str:
    """At most so many bytes of UTF-8, whole characters only."""
    return text.encode()[:max_bytes].decode(errors="ignore")
