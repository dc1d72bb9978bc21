"""Unpacking a zipped source into scratch, believing nothing that the archive says about itself."""

from __future__ import annotations

import errno
import os
import stat
import struct
import zipfile
import zlib
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import NoReturn

from app.errors import RunRefused
from app.settings import Limits, MiB

_BLOCK = 1 * MiB
_RATIO_FLOOR = 16 * MiB
_ENCRYPTED = 0x1
_UTF8 = 0x800
_END = struct.Struct("<4s4H2LH")
_END64_LOCATOR = struct.Struct("<4sLQL")
_END64 = struct.Struct("<4sQ2H2L4Q")
_BYTES_OF_ENTRY = 1024


def is_zip(path: Path) -> bool:
    """Whether the file begins as a zip archive does (an empty or truncated one too)."""
    with path.open("rb") as stream:
        return stream.read(4) in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")


def unpack(archive: Path, into: Path, limits: Limits, file: str) -> list[Path]:
    """Unpack `archive` below `into` and return the files, in the archive's order.

    Unpacked bytes are counted as they come out, whatever the headers claim; only stored and deflated entries are read.
    Names that are not flagged as UTF-8 are read as UTF-8 where that is possible, else as CP437.

    Raises RunRefused, naming the entry: archive_invalid (no zip, truncated, checksum), archive_entries, archive_bytes,
    archive_ratio, archive_encrypted, archive_method, archive_path (absolute, `..`, backslash, control character),
    archive_link (link or device), archive_duplicate.
    """
    _check_directory(archive, limits, file)
    try:
        with zipfile.ZipFile(archive) as source:
            return _unpack(source, archive.stat().st_size, into, limits, file)
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, NotImplementedError, OSError) as err:
        if isinstance(err, OSError) and err.errno != errno.EINVAL:  # EINVAL: an offset before the beginning
            raise
        _refuse(
            file,
            "archive_invalid",
            f"is damaged or truncated ({err})",
            "Send the archive again; `unzip -t` should find no error.",
        )


def _unpack(source: zipfile.ZipFile, packed: int, into: Path, limits: Limits, file: str) -> list[Path]:
    targets = _targets(source.infolist(), into, limits, file)
    largest = min(limits.archive_bytes, max(_RATIO_FLOOR, packed * limits.archive_ratio))
    unpacked = 0
    for entry, target in targets:
        target.parent.mkdir(parents=True, exist_ok=True)
        # O_EXCL and O_NOFOLLOW: no entry can write through something that an earlier one left behind.
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(handle, "wb") as out, source.open(entry) as stream:
            while block := stream.read(_BLOCK):
                unpacked += len(block)
                if unpacked > limits.archive_bytes:
                    found = f"unpacks to more than {limits.archive_bytes} bytes (at entry {entry.filename!r})"
                    _refuse(file, "archive_bytes", found, "Split the data, or raise SPATIAL_ETL_LIMITS__ARCHIVE_BYTES.")
                if unpacked > largest:
                    found = f"unpacks to more than {limits.archive_ratio} times its size (at entry {entry.filename!r})"
                    _refuse(
                        file,
                        "archive_ratio",
                        found,
                        "Send the data with less compression, or raise SPATIAL_ETL_LIMITS__ARCHIVE_RATIO.",
                    )
                out.write(block)
    return [target for _, target in targets]


def _targets(
    entries: Sequence[zipfile.ZipInfo], into: Path, limits: Limits, file: str
) -> list[tuple[zipfile.ZipInfo, Path]]:
    """Where each file entry goes; every entry is checked before the first byte is written."""
    if len(entries) > limits.archive_entries:
        _too_many(file, len(entries), limits)
    targets: list[tuple[zipfile.ZipInfo, Path]] = []
    seen: set[str] = set()
    for entry in entries:
        name = _name(entry, file)
        _check_kind(entry, name, file)
        if name.endswith("/"):
            continue
        if name.casefold() in seen:
            _refuse(file, "archive_duplicate", f"has two entries named {name!r} (case aside)", "Leave one of them out.")
        seen.add(name.casefold())
        targets.append((entry, into.joinpath(*name.split("/"))))
    for name in seen:
        for parent in PurePosixPath(name).parents:
            if str(parent) in seen:
                found = f"has {str(parent)!r} both as a file and as a directory"
                _refuse(file, "archive_duplicate", found, "Leave one of them out.")
    return targets


def _check_kind(entry: zipfile.ZipInfo, name: str, file: str) -> None:
    if entry.flag_bits & _ENCRYPTED:
        _refuse(file, "archive_encrypted", f"has an encrypted entry {name!r}", "Send the archive without a password.")
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        _refuse(
            file,
            "archive_link",
            f"has an entry {name!r} that is a link or a device",
            "Archive the files themselves.",
        )
    if not name.endswith("/") and entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        found = f"has an entry {name!r} packed by method {entry.compress_type}"
        _refuse(file, "archive_method", found, "Pack it with the usual method, deflate.")


def _name(entry: zipfile.ZipInfo, file: str) -> str:
    """The entry's name as a relative path with `/`, proven to stay below the directory it is unpacked into."""
    # orig_filename: zipfile cuts `filename` at a NUL, and two readers of one archive must not see two names.
    name = entry.orig_filename
    if not entry.flag_bits & _UTF8:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    parts = name.removesuffix("/").split("/")
    if name.startswith("/") or "\\" in name or any(ord(c) < 32 for c in name) or name[1:2] == ":":
        _refuse(
            file,
            "archive_path",
            f"has an entry {name!r} that could leave its directory",
            "Use relative names with '/'.",
        )
    if any(part in ("", ".", "..") for part in parts):
        _refuse(
            file, "archive_path", f"has an entry {name!r} with an empty, '.' or '..' part", "Use plain relative names."
        )
    if any(len(os.fsencode(part)) > 255 for part in parts) or len(os.fsencode(name)) > 1024:
        _refuse(file, "archive_path", f"has an entry with a name of {len(name)} characters", "Use shorter names.")
    return name


def _check_directory(archive: Path, limits: Limits, file: str) -> None:
    """Look at the archive's last record before zipfile reads the whole directory of entries into memory."""
    size = archive.stat().st_size
    with archive.open("rb") as stream:
        tail_size = min(size, 65_535 + _END.size + _END64_LOCATOR.size)
        stream.seek(size - tail_size)
        tail = stream.read()
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or len(tail) - at < _END.size:
            _refuse(
                file, "archive_invalid", "is no complete zip archive: its end is missing", "Send the archive again."
            )
        _, _, _, _, entries, directory, _, _ = _END.unpack_from(tail, at)
        if at >= _END64_LOCATOR.size and tail[at - _END64_LOCATOR.size :][:4] == b"PK\x06\x07":
            offset = _END64_LOCATOR.unpack_from(tail, at - _END64_LOCATOR.size)[2]
            stream.seek(min(offset, size))
            record = stream.read(_END64.size)
            if len(record) == _END64.size:
                entries, directory = _END64.unpack(record)[7:9]
    if entries > limits.archive_entries:
        _too_many(file, entries, limits)
    if directory > limits.archive_entries * _BYTES_OF_ENTRY:
        _refuse(
            file, "archive_entries", f"has a directory of {directory} bytes", "Split the data into several archives."
        )


def _too_many(file: str, entries: int, limits: Limits) -> NoReturn:
    found = f"has {entries} entries, the limit is {limits.archive_entries}"
    _refuse(
        file,
        "archive_entries",
        found,
        "Archive only the files of one source, or raise SPATIAL_ETL_LIMITS__ARCHIVE_ENTRIES.",
    )


def _refuse(file: str, reason: str, found: str, fix: str) -> NoReturn:
    raise RunRefused(f"The archive {file} {found}.", fix, reason=reason, file=file)
