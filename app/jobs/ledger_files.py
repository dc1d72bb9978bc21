"""Keeps the files of a SQLite ledger in place, so that a job can write them without the right to create files."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import unquote

_held: list[sqlite3.Connection] = []


def hold_ledger_files(url: str) -> list[Path]:
    """Open a SQLite ledger until this process ends, and return the paths that writing it needs.

    Args:
        url: of the ledger; of another kind than SQLite: there are no files.

    Returns:
        The database, its log and its index, which SQLite keeps while a connection is open. Their directory, where that
        does not hold: without a write-ahead log, or when the ledger cannot be opened now.
    """
    scheme, _, path = url.partition(":///")
    if not scheme.startswith("sqlite"):
        return []
    ledger = Path(unquote(path.partition("?")[0])).absolute()
    files = [ledger, *(ledger.with_name(f"{ledger.name}-{ending}") for ending in ("wal", "shm"))]
    with contextlib.suppress(sqlite3.Error):
        connection = sqlite3.connect(f"{ledger.as_uri()}?mode=rw", uri=True)
        _held.append(connection)
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if mode == "wal" and all(file.is_file() for file in files):
            return files
    return [ledger.parent]
