"""GeoPackages are SQLite databases: what in them is data, and what would be run."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from app.errors import RunRefused

# Virtual tables that belong to GeoPackage or to SQLite's full-text search; any other module could reach outside.
_HARMLESS_MODULES = ("rtree", "fts3", "fts4", "fts5")


def check_gpkg(path: Path, layer: str, file: str) -> None:
    """Refuse what would run SQL of the file's author. Triggers are left alone: they never fire on reading."""
    try:
        with closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro&immutable=1", uri=True)) as db:
            rows = db.execute("SELECT type, name, sql FROM sqlite_master WHERE type IN ('table', 'view')").fetchall()
    except sqlite3.Error as err:
        raise RunRefused(
            f"{file} is a damaged GeoPackage: {err}.", "Send an undamaged file.", reason="file_damaged", file=file
        ) from None
    for kind, name, sql in rows:
        words = (sql or "").lower().split()
        if words[:3] == ["create", "virtual", "table"]:
            module = (sql or "").lower().partition(" using ")[2].strip().partition("(")[0].strip()
            if module not in _HARMLESS_MODULES:
                raise RunRefused(
                    f"{file} has a virtual table {name!r} of the module {module!r}.",
                    "Send the GeoPackage without it.",
                    reason="gpkg_virtual_table",
                    file=file,
                )
        if kind == "view" and name == layer:
            raise RunRefused(
                f"{file}: layer {layer!r} is a view, that is SQL to be run, not data.",
                "Save the view as a table and send that.",
                reason="gpkg_view",
                file=file,
            )
