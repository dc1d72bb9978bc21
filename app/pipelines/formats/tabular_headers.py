"""Column names of any spelling as PostgreSQL identifiers, the same ones for the same header, and what they were."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

MOST_BYTES = 63

# What NFKD leaves as one letter, spelled with ASCII letters as catalogues do.
_LETTERS = str.maketrans(
    {
        "ß": "ss", "ẞ": "ss", "ø": "o", "Ø": "o", "æ": "ae", "Æ": "ae", "œ": "oe", "Œ": "oe", "đ": "d", "Đ": "d",
        "ð": "d", "Ð": "d", "þ": "th", "Þ": "th", "ł": "l", "Ł": "l", "\u0131": "i", "ħ": "h", "Ħ": "h",
        "ŧ": "t", "Ŧ": "t", "ŋ": "n", "Ŋ": "n",
    }
)  # fmt: skip

# Reserved in PostgreSQL (also those that may name functions or types), and the names of its system columns.
_WORDS = """
    all analyse analyze and any array as asc asymmetric authorization binary both case cast check collate collation
    column concurrently constraint create cross current_catalog current_date current_role current_schema current_time
    current_timestamp current_user default deferrable desc distinct do else end except false fetch for foreign freeze
    from full grant group having ilike in initially inner intersect into is isnull join lateral leading left like limit
    localtime localtimestamp natural not notnull null offset on only or order outer overlaps placing primary references
    returning right select session_user similar some symmetric system_user table tablesample then to trailing true
    union unique user using variadic verbose when where window with
    tableoid xmin cmin xmax cmax ctid
"""
_RESERVED = frozenset(_WORDS.split())


def clean_headers(names: Sequence[str]) -> list[str]:
    """One name for each column, in order: lower case, at most 63 bytes, all different, none reserved.

    Accents of Latin letters are folded, letters of other scripts are kept, everything else becomes `_`. A name without
    a letter or digit is `column_` and its number from 1. Cleaning clean names changes nothing.
    """
    plain = [_clean(name) or f"column_{number}" for number, name in enumerate(names, 1)]
    times = Counter(plain)
    taken, seen = set(plain), set()
    cleaned = []
    for name in plain:
        if times[name] > 1 and name in seen:
            name = _free(name, taken)  # noqa: PLW2901 # the name of this column from here on
        seen.add(name)
        cleaned.append(name)
    return cleaned


def mapping_of(names: Sequence[str], cleaned: Sequence[str]) -> dict[str, str]:
    """{name in the source: name here} for those that changed. Of a name that the source has more than once, the later
    columns are keyed as `name [n]`, n being the number of the column from 1."""
    mapping: dict[str, str] = {}
    seen = set()
    every = set(names)
    for number, (name, new) in enumerate(zip(names, cleaned, strict=True), 1):
        key = name
        while key in seen or (key != name and key in every):
            key = f"{key} [{number}]"
        seen.add(key)
        if key != new:
            mapping[key] = new
    return mapping


def _clean(name: str) -> str:
    before, now = name, _once(name)
    while now != before:  # lower case of one letter can be two, one of them a mark
        before, now = now, _once(now)
    return now


def _once(name: str) -> str:
    folded = _without_accents(name.translate(_LETTERS)).lower().translate(_LETTERS)
    marked = "".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else "_" for c in folded)
    word = "_".join(part for part in marked.split("_") if part)
    if word and unicodedata.category(word[0])[0] in "NM":
        word = f"c_{word}"
    word = _cut(word, MOST_BYTES).rstrip("_")
    return f"{word}_col" if word in _RESERVED else word


def _without_accents(text: str) -> str:
    """Marks on Latin letters go, those of other scripts (where they make another letter) stay."""
    kept: list[str] = []
    base = ""
    for c in unicodedata.normalize("NFKD", text):
        if not unicodedata.combining(c):
            base = c
        elif base.isascii():
            continue
        kept.append(c)
    return unicodedata.normalize("NFKC", "".join(kept))


def _free(name: str, taken: set[str]) -> str:
    number = 1
    while True:
        suffix = f"_{number}"
        found = _cut(name, MOST_BYTES - len(suffix)).rstrip("_") + suffix
        if found not in taken:
            taken.add(found)
            return found
        number += 1


def _cut(text: str, most: int) -> str:
    """At most so many bytes of UTF-8, whole characters only."""
    return text.encode()[:most].decode(errors="ignore")
