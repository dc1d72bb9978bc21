"""Virtual tables and views of other programs beside the wanted layers of a GeoPackage: no driver gets to see them."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from app.messages.vector_formats import GPKG_DAMAGED, GPKG_SET_ASIDE, GPKG_VIRTUAL_TABLE
from app.models.runs.run import RunWarning
from app.pipelines.vector.formats.reader import SourceFile

# Virtual tables that belong to GeoPackage or to SQLite's full-text search; any other module could reach outside.
_HARMLESS_MODULES = ("rtree", "fts3", "fts4", "fts5")
# Tables of the standard and of GDAL that name other tables.
_LISTS = ("gpkg_contents", "gpkg_geometry_columns", "gpkg_extensions", "gpkg_ogr_contents")
_NAMED = 20
# SQL as SQLite divides it: blanks, comments, quoted names and texts, words, and single characters.
_WORDS = re.compile(
    r"""[\s\ufeff]+|--[^\n]*|/\*.*?\*/|"(?:[^"]|"")*"|'(?:[^']|'')*'|`(?:[^`]|``)*`|\[[^\]]*\]|[\w$]+|.""", re.DOTALL
)
_NO_WORDS = ("--", "/*", "\ufeff")


def without_foreign(copy: Path, source: SourceFile) -> list[RunWarning]:
    """Take virtual tables of foreign modules out of the schema of a copy; views too, where the manifest names layers.

    Args:
        copy: the GeoPackage in scratch. It is a link to the source, which stays as it is: what is changed is a copy.
        source: the file that the manifest declares.

    Returns:
        What a user should know of it.

    Raises:
        RunRefused: gpkg_virtual_table if a layer that is asked for is one; file_damaged.
    """
    try:
        with closing(_connect(copy, "mode=ro&immutable=1")) as db:
            virtual, views = _foreign(db)
            asked = set(source.declared.named_layers) or _listed_layers(db)
        for name, module in virtual.items():
            if name in asked:
                raise GPKG_VIRTUAL_TABLE(file=source.file, table=name, module=module)
        unasked = [name for name in views if name not in asked] if source.declared.named_layers else []
        if virtual or unasked:
            _take_out(copy, [*virtual, *unasked])
    except sqlite3.Error as err:
        raise GPKG_DAMAGED(file=source.file, error=err) from None
    if not virtual:
        return []
    more = f" and {len(virtual) - _NAMED} more" if len(virtual) > _NAMED else ""
    names = ", ".join(f"{name!r} ({module})" for name, module in list(virtual.items())[:_NAMED]) + more
    return [GPKG_SET_ASIDE(file=source.file, count=len(virtual), samples=list(virtual), names=names)]


def module_of(sql: str | None) -> str | None:
    """The module of a virtual table, by the statement that made it: empty if it is not clear, None for other tables."""
    found = [word for word in _WORDS.findall(sql or "") if not word[0].isspace() and not word.startswith(_NO_WORDS)]
    if [word.lower() for word in found[:3]] != ["create", "virtual", "table"]:
        return None
    # A quoted name is one word, with all that is in it.
    words = [word.lower() for word in found[3:]]
    at = words.index("using") if "using" in words else len(words)
    return words[at + 1].strip("\"'`[]") if at + 1 < len(words) else ""


def is_harmless(module: str) -> bool:
    return module in _HARMLESS_MODULES


def _foreign(db: sqlite3.Connection) -> tuple[dict[str, str], list[str]]:
    """({virtual table: its module}, views)."""
    rows = db.execute("SELECT type, name, sql FROM sqlite_master WHERE type IN ('table', 'view')").fetchall()
    modules = {name: module for _, name, sql in rows if (module := module_of(sql)) is not None}
    virtual = {name: module for name, module in modules.items() if not is_harmless(module)}
    return virtual, [name for kind, name, _ in rows if kind == "view"]


def _listed_layers(db: sqlite3.Connection) -> set[str]:
    """The tables that are layers where the manifest names none."""
    try:
        return {name for (name,) in db.execute("SELECT table_name FROM gpkg_contents WHERE data_type = 'features'")}
    except sqlite3.Error:
        return set()  # GDAL says better what is wrong


def _take_out(copy: Path, names: Sequence[str]) -> None:
    """Take tables and views out of the schema, and out of the lists of tables."""
    with copy.open("rb") as stream:
        copy.unlink()
        with copy.open("xb") as out:
            shutil.copyfileobj(stream, out)
    marks = ", ".join("?" * len(names))
    with closing(_connect(copy, "mode=rw")) as db:
        db.execute("PRAGMA writable_schema = ON")
        # Triggers would run on the changes below; none is needed to read.
        db.execute(f"DELETE FROM sqlite_master WHERE type = 'trigger' OR name IN ({marks})", names)  # noqa: S608
    with closing(_connect(copy, "mode=rw")) as db:
        there = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
        for table in there.intersection(_LISTS):
            db.execute(f"DELETE FROM {table} WHERE table_name IN ({marks})", names)  # noqa: S608


def _connect(path: Path, how: str) -> sqlite3.Connection:
    db = sqlite3.connect(f"file:{quote(str(path))}?{how}", uri=True, isolation_level=None)
    db.execute("PRAGMA trusted_schema = OFF")
    db.execute("PRAGMA locking_mode = EXCLUSIVE")  # no file of shared memory where the file has a write-ahead log
    db.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return db
