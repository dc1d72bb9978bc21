"""Changes of a GeoPackage that are still in a file beside it: SQLite's write-ahead log and rollback journal."""

from __future__ import annotations

import shutil
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from app.messages.vector_formats import (
    GPKG_DAMAGED,
    GPKG_JOURNAL,
    GPKG_WAL_APPLIED,
    GPKG_WAL_MISSING,
    GPKG_WAL_UNFINISHED,
    GPKG_WAL_UNFIT,
)
from app.models.runs.run import RunWarning
from app.pipelines.vector.formats.files import neutral_copy, sidecar
from app.pipelines.vector.formats.reader import SourceFile

_WAL, _JOURNAL = ".gpkg-wal", ".gpkg-journal"
_JOURNAL_MARK = bytes.fromhex("d9d505f920a163d7")
_WAL_HEADER, _FRAME_HEADER = 32, 24


def write_ahead_log(path: Path) -> Path | None:
    """The write-ahead log beside a GeoPackage; None if it is missing or empty."""
    beside = sidecar(path, _WAL)
    return beside if beside is not None and beside.stat().st_size > _WAL_HEADER else None


def with_changes(source: SourceFile) -> tuple[Path, list[RunWarning]]:
    """A neutral copy of a GeoPackage, with the finished changes of the write-ahead log beside it.

    As SQLite reads it: transactions count once they are finished. The file itself stays as it is.

    Returns:
        (the copy, what a user should know of it).

    Raises:
        RunRefused: gpkg_journal, file_damaged.
    """
    path, file = source.path, source.file
    journal, wal = sidecar(path, _JOURNAL), write_ahead_log(path)
    if journal is not None and journal.read_bytes()[:8] == _JOURNAL_MARK:
        raise GPKG_JOURNAL(file=file, journal=journal.name)
    copy = neutral_copy(path, source.format.suffixes[0])
    if wal is None:
        with path.open("rb") as stream:
            is_logged = 2 in stream.read(20)[18:]
        return copy, [GPKG_WAL_MISSING(file=file, wal=f"{Path(file).name}-wal")] if is_logged else []
    copy.unlink()  # a link: SQLite must not write to the source
    shutil.copyfile(path, copy)
    shutil.copyfile(wal, copy.with_name(f"{copy.name}-wal"))
    try:
        finished = _apply(copy, file, wal.name)
    except sqlite3.Error as err:
        raise GPKG_DAMAGED(file=file, error=err) from None
    warnings: list[RunWarning] = []
    if finished:
        warnings.append(GPKG_WAL_APPLIED(file=file, wal=wal.name))
    if unfinished := _frames(wal) - finished:
        warnings.append(GPKG_WAL_UNFINISHED(file=file, wal=wal.name, pages=unfinished))
    return copy, warnings


def _apply(copy: Path, file: str, wal: str) -> int:
    """Write the log into the copy. Returns how many pages of it belong to finished transactions."""
    with closing(sqlite3.connect(f"file:{quote(str(copy))}?mode=rw", uri=True, isolation_level=None)) as db:
        db.execute("PRAGMA trusted_schema = OFF")
        db.execute("PRAGMA locking_mode = EXCLUSIVE")  # without a file of shared memory
        _, _, finished = db.execute("PRAGMA wal_checkpoint(FULL)").fetchone()
        (mode,) = db.execute("PRAGMA journal_mode = DELETE").fetchone()
        if mode != "delete":
            raise GPKG_WAL_UNFIT(file=file, wal=wal, error=f"SQLite leaves it in the mode {mode!r}")
        # SQLite does not know whether a log was written for this file. What a table may hold is not the question here.
        (found,) = db.execute("PRAGMA quick_check(1)").fetchone()
        if found.startswith("***"):
            raise GPKG_WAL_UNFIT(file=file, wal=wal, error=found.splitlines()[-1])
    return max(int(finished), 0)


def _frames(wal: Path) -> int:
    """The pages in a log since it was last begun anew: those behind them are older."""
    with wal.open("rb") as stream:
        header = stream.read(_WAL_HEADER)
        (page,) = struct.unpack(">L", header[8:12])
        salts, count = header[16:24], 0
        while True:
            frame = stream.read(_FRAME_HEADER)
            if len(frame) < _FRAME_HEADER or frame[8:16] != salts:
                return count
            count += 1
            stream.seek(page, 1)
