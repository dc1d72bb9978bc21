"""What can be known of the text of a CRS without PROJ, which the API's process does not load."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from functools import cache
from importlib.util import find_spec
from pathlib import Path

MOST_CHARACTERS = 10_000
_CODE = re.compile(r"([A-Za-z][A-Za-z0-9_]*):([A-Za-z0-9._]+)")
# WKT, PROJJSON and PROJ strings; PROJ itself is asked where the sources are read.
_TEXT = re.compile(r"\s*(?:[A-Za-z_]+\s*[\[(]|\{|\+)")


def has_form_of_crs(text: str) -> bool:
    """Whether the text is written as a CRS is: a code, WKT, PROJJSON or a PROJ string of bounded length."""
    return len(text) <= MOST_CHARACTERS and bool(_CODE.fullmatch(text) or _TEXT.match(text))


def may_be_known(text: str) -> bool:
    """False for a code of an authority that PROJ's database has, if it has no such code for places on the Earth.

    True for all other texts, and where the database is not found: then only a run finds out.
    """
    code = _CODE.fullmatch(text)
    database = _database()
    return code is None or database is None or _is_in(database, code[1].upper(), code[2].upper())


@cache
def _database() -> Path | None:
    """The database that pyproj's wheel has; found without importing pyproj."""
    spec = find_spec("pyproj")
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        path = Path(place) / "proj_dir/share/proj/proj.db"
        if path.is_file():
            return path
    return None


@cache
def _is_in(database: Path, authority: str, code: str) -> bool:
    """Whether the database has the code, or cannot say."""
    known = "SELECT 1 FROM crs_view WHERE auth_name = ? LIMIT 1"
    wanted = "SELECT 1 FROM crs_view WHERE auth_name = ? AND code = ? AND type NOT IN ('vertical', 'geocentric')"
    try:
        with closing(sqlite3.connect(f"file:{database}?mode=ro&immutable=1", uri=True)) as opened:
            if opened.execute(known, (authority,)).fetchone() is None:
                return True
            return opened.execute(wanted, (authority, code.lstrip("0") or "0")).fetchone() is not None
    except sqlite3.Error:
        return True
