"""Patterns in files[].path: `*` and `?` stand for characters of a name, `**` for any number of folders."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_WILDCARDS = re.compile(r"[*?]")
_FOLDERS = "**"


def is_pattern(key: str) -> bool:
    """Whether the key has a wildcard."""
    return _WILDCARDS.search(key) is not None


def before_wildcard(pattern: str) -> str:
    """What every matching key begins with."""
    return _WILDCARDS.split(pattern, maxsplit=1)[0]


def matcher(pattern: str) -> Callable[[str], bool]:
    """A function that says whether a key matches, in time proportional to both lengths."""
    *folders, last = pattern.split("/")
    # `a/**` is every file below `a`.
    names = [*folders, _FOLDERS, "*"] if last == _FOLDERS else [*folders, last]
    wanted = [None if name == _FOLDERS else _name_matcher(name) for name in names]
    return lambda key: _matches(wanted, key.split("/"))


def _matches(wanted: Sequence[re.Pattern[str] | None], names: Sequence[str]) -> bool:
    """Whether the names fit, one by one; None takes any number of them, as few as possible."""
    at = place = 0
    after_folders: tuple[int, int] | None = None
    while place < len(names):
        if at < len(wanted) and wanted[at] is None:
            at += 1
            after_folders = (at, place)
        elif at < len(wanted) and (pattern := wanted[at]) is not None and pattern.fullmatch(names[place]):
            at, place = at + 1, place + 1
        elif after_folders is not None:
            # The last `**` takes one name more.
            after_folders = (after_folders[0], after_folders[1] + 1)
            at, place = after_folders
        else:
            return False
    return all(each is None for each in wanted[at:])


def _name_matcher(name: str) -> re.Pattern[str]:
    """Of one name. Between two `*` the first fit is as good as any, so nothing is tried twice (atomic groups)."""
    first, *others = (re.escape(part).replace(r"\?", ".") for part in re.split(r"\*+", name))
    if not others:
        return re.compile(first, re.DOTALL)
    *middle, last = others
    return re.compile(first + "".join(f"(?>.*?{part})" for part in middle) + f".*{last}", re.DOTALL)
