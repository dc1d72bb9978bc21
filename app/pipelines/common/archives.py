"""Unpacking a zipped source into scratch without trusting what the archive states about itself."""

from __future__ import annotations

import errno
import os
import stat
import struct
import tempfile
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath

from app.messages.common import (
    ARCHIVE_BYTES,
    ARCHIVE_DIRECTORY,
    ARCHIVE_DUPLICATE,
    ARCHIVE_ENCRYPTED,
    ARCHIVE_END_MISSING,
    ARCHIVE_ENTRIES,
    ARCHIVE_FILE_AND_DIRECTORY,
    ARCHIVE_INVALID,
    ARCHIVE_LINK,
    ARCHIVE_METHOD,
    ARCHIVE_NAME_TOO_LONG,
    ARCHIVE_PATH,
    ARCHIVE_RATIO,
    MEMBER_UNKNOWN,
)
from app.models.manifests.nearest import nearest
from app.settings import Limits, MiB

_BLOCK = 1 * MiB
_LISTED = 20
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
    """Unpack a zip archive.

    Unpacked bytes are counted as they are read, not taken from the headers. Names that are not flagged as UTF-8 are
    read as UTF-8 where that is possible, else as CP437.

    Args:
        archive: the local copy.
        into: an existing directory.
        limits: of entries, bytes and compression ratio.
        file: the key in the landing zone, for messages.

    Returns:
        The files, in the archive's order.

    Raises:
        RunRefused: archive_invalid (no zip, truncated, checksum), archive_entries, archive_bytes, archive_ratio,
            archive_encrypted, archive_method (neither stored nor deflated), archive_path (absolute, `..`, control
            character), archive_link (link or device), archive_duplicate.
    """
    _check_directory(archive, limits, file)
    try:
        with zipfile.ZipFile(archive) as source:
            return _unpack(source, archive.stat().st_size, into, limits, file)
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, NotImplementedError, OSError) as err:
        if isinstance(err, OSError) and err.errno != errno.EINVAL:  # EINVAL: an offset before the beginning
            raise
        raise ARCHIVE_INVALID(file=file, problem=str(err)) from None


def unpack_once(archive: Path, limits: Limits, file: str) -> tuple[Path, list[Path]]:
    """Unpack a zip archive beside its folder, unless an earlier entry of the manifest has: (where, its files in order).

    Raises:
        RunRefused: as `unpack`.
    """
    into = archive.parent.with_name(f"{archive.parent.name}-unpacked")
    if not into.exists():
        part = Path(tempfile.mkdtemp(prefix=f"{into.name}-", dir=into.parent))
        unpack(archive, part, limits, file)
        part.rename(into)
    with zipfile.ZipFile(archive) as source:
        return into, [target for _, target in _targets(source.infolist(), into, limits, file)]


def choose_member(members: Mapping[str, Path], wanted: str, file: str) -> Path:
    """The unpacked file of that name.

    Args:
        members: {name in the archive: unpacked file}.
        wanted: files[].member of the manifest.
        file: the key in the landing zone, for messages.

    Raises:
        RunRefused: member_unknown.
    """
    for name in (wanted, wanted.replace("\\", "/")):
        if name in members:
            return members[name]
    near = nearest(wanted, members)
    hint = f"Did you mean {near!r}? " if near else ""
    found = ", ".join(map(repr, list(members)[:_LISTED])) or "no files"
    raise MEMBER_UNKNOWN(file=file, member=wanted, hint=hint, found=found)


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
                    raise ARCHIVE_BYTES(file=file, limit=limits.archive_bytes, entry=entry.filename)
                if unpacked > largest:
                    raise ARCHIVE_RATIO(file=file, limit=limits.archive_ratio, entry=entry.filename)
                out.write(block)
    return [target for _, target in targets]


def _targets(
    entries: Sequence[zipfile.ZipInfo], into: Path, limits: Limits, file: str
) -> list[tuple[zipfile.ZipInfo, Path]]:
    """Where each file entry goes; every entry is checked before the first byte is written."""
    if len(entries) > limits.archive_entries:
        raise ARCHIVE_ENTRIES(file=file, entries=len(entries), limit=limits.archive_entries)
    targets: list[tuple[zipfile.ZipInfo, Path]] = []
    seen: set[str] = set()
    for entry in entries:
        name = _name(entry, file)
        _check_kind(entry, name, file)
        if name.endswith("/"):
            continue
        if name.casefold() in seen:
            raise ARCHIVE_DUPLICATE(file=file, entry=name)
        seen.add(name.casefold())
        targets.append((entry, into.joinpath(*name.split("/"))))
    for name in seen:
        for parent in PurePosixPath(name).parents:
            if str(parent) in seen:
                raise ARCHIVE_FILE_AND_DIRECTORY(file=file, entry=str(parent))
    return targets


def _check_kind(entry: zipfile.ZipInfo, name: str, file: str) -> None:
    if entry.flag_bits & _ENCRYPTED:
        raise ARCHIVE_ENCRYPTED(file=file, entry=name)
    kind = stat.S_IFMT(entry.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise ARCHIVE_LINK(file=file, entry=name)
    if not name.endswith("/") and entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ARCHIVE_METHOD(file=file, entry=name, method=entry.compress_type)


def _name(entry: zipfile.ZipInfo, file: str) -> str:
    """The entry's name as a relative path with `/` that cannot leave the directory it is unpacked into.

    Some programs for Windows write the backslash between directories.
    """
    # orig_filename: zipfile cuts `filename` at a NUL, and two readers of one archive must not see two names.
    name = entry.orig_filename
    if not entry.flag_bits & _UTF8:
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    name = name.replace("\\", "/")
    parts = name.removesuffix("/").split("/")
    has_bad_characters = any(ord(c) < 32 for c in name)
    if name.startswith("/") or name[1:2] == ":" or has_bad_characters or any(p in ("", ".", "..") for p in parts):
        raise ARCHIVE_PATH(file=file, entry=name)
    if any(len(os.fsencode(part)) > 255 for part in parts) or len(os.fsencode(name)) > 1024:
        raise ARCHIVE_NAME_TOO_LONG(file=file, length=len(name))
    return name


def _check_directory(archive: Path, limits: Limits, file: str) -> None:
    """Check the archive's last record before `zipfile` reads the whole directory of entries into memory."""
    size = archive.stat().st_size
    with archive.open("rb") as stream:
        tail_size = min(size, 65_535 + _END.size + _END64_LOCATOR.size)
        stream.seek(size - tail_size)
        tail = stream.read()
        at = tail.rfind(b"PK\x05\x06")
        if at < 0 or len(tail) - at < _END.size:
            raise ARCHIVE_END_MISSING(file=file)
        _, _, _, _, entries, directory, _, _ = _END.unpack_from(tail, at)
        if at >= _END64_LOCATOR.size and tail[at - _END64_LOCATOR.size :][:4] == b"PK\x06\x07":
            offset = _END64_LOCATOR.unpack_from(tail, at - _END64_LOCATOR.size)[2]
            stream.seek(min(offset, size))
            record = stream.read(_END64.size)
            if len(record) == _END64.size:
                entries, directory = _END64.unpack(record)[7:9]
    if entries > limits.archive_entries:
        raise ARCHIVE_ENTRIES(file=file, entries=entries, limit=limits.archive_entries)
    largest = limits.archive_entries * _BYTES_OF_ENTRY
    if directory > largest:
        raise ARCHIVE_DIRECTORY(file=file, size=directory, limit=largest)
