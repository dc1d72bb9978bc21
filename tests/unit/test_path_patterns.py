"""Patterns in paths, against all keys of a small world and a second, plain way to match them."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.models.manifests.path_patterns import before_wildcard, is_pattern, matcher


@pytest.mark.parametrize(
    ("pattern", "fits", "others"),
    [
        ("tiles/*.gpkg", ["tiles/a.gpkg", "tiles/.gpkg"], ["tiles/b/a.gpkg", "tiles/a.gpk", "x/tiles/a.gpkg"]),
        ("tiles/?.gpkg", ["tiles/a.gpkg", "tiles/ä.gpkg"], ["tiles/.gpkg", "tiles/ab.gpkg", "tiles//.gpkg"]),
        ("tiles/**/*.gpkg", ["tiles/a.gpkg", "tiles/b/c/a.gpkg"], ["a.gpkg", "tiles/a.txt"]),
        ("tiles/**", ["tiles/a", "tiles/a/b"], ["tiles", "tile/a"]),
        ("**", ["a", "a/b"], []),
        ("**/a/**/b", ["a/b", "x/a/y/z/b", "a/a/b"], ["a", "b", "a/b/c"]),
        ("a**b/c", ["ab/c", "axxb/c"], ["a/b/c"]),
        ("[a]*(.+)", ["[a](.+)", "[a]x(.+)"], ["a(.+)"]),
    ],
)
def test_what_fits(pattern: str, fits: list[str], others: list[str]) -> None:
    matches = matcher(pattern)
    assert [key for key in [*fits, *others] if matches(key)] == fits
    assert all(key.startswith(before_wildcard(pattern)) for key in fits)
    assert is_pattern(pattern)


def plainly(pattern: str) -> re.Pattern[str]:
    """One regular expression for the whole, which may take very long."""
    if pattern.endswith("/**") or pattern == "**":
        pattern += "/*"
    parts = re.split(r"(^\*\*/|(?<=/)\*\*/)", pattern)
    return re.compile(
        "".join(
            "(?:[^/]*/)*" if part == "**/" else re.sub(r"(\\\*)+", "[^/]*", re.escape(part)).replace(r"\?", "[^/]")
            for part in parts
        ),
        re.DOTALL,
    )


WORDS = st.text("ab*?", min_size=1, max_size=4) | st.just("**")
NAMES = st.text("ab\n", min_size=1, max_size=4)


@given(st.lists(WORDS, min_size=1, max_size=4).map("/".join), st.lists(NAMES, min_size=1, max_size=5).map("/".join))
def test_as_one_regular_expression_would(pattern: str, key: str) -> None:
    assert matcher(pattern)(key) == bool(plainly(pattern).fullmatch(key))


def test_no_pattern_takes_long() -> None:
    """A pattern that is tried in all ways would not end."""
    assert not matcher("/".join(["*a" * 100] * 5))("/".join(["a" * 199] * 5 + ["b"]))
    assert not matcher("**/a/" * 200 + "b")("a/" * 500 + "c")
    assert not matcher("*a?" * 300 + "b")("a" * 1000)
