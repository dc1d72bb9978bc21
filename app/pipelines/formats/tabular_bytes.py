"""The plain bytes of a table: the file as it came, or what its .gz, .zst or .zip holds, believing no header."""

from __future__ import annotations

import gzip
import tempfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pyarrow as pa

from app.errors import RunRefused
from app.models.formats import Format
from app.pipelines.formats.archives import is_zip, unpack
from app.settings import Limits, MiB

_BLOCK = 1 * MiB
_RATIO_FLOOR = 16 * MiB


def plain_file(path: Path, fmt: Format, limits: Limits, file: str) -> Path:
    """The path of the table's own bytes, unpacked beside `path` when they are compressed.

    Raises RunRefused: file_empty, archive_bytes, archive_ratio, archive_invalid, archive_no_source, archive_ambiguous
    and what `unpack` raises.
    """
    with path.open("rb") as stream:
        head = stream.read(4)
    if head[:2] == b"\x1f\x8b":
        path = _decompressed(path, gzip.open, limits, file)
    elif head == b"\x28\xb5\x2f\xfd":
        path = _decompressed(path, _open_zstd, limits, file)
    elif is_zip(path):
        path = _only_member(path, fmt, limits, file)
    if path.stat().st_size == 0:
        raise RunRefused(f"{file} is empty (0 bytes).", "Upload the file again.", reason="file_empty", file=file)
    return path


def _open_zstd(path: Path) -> Any:
    return pa.input_stream(str(path), compression="zstd")


def _decompressed(path: Path, opened: Callable[[Path], Any], limits: Limits, file: str) -> Path:
    target = Path(tempfile.mkdtemp(prefix="unpacked-", dir=path.parent)) / "table"
    most = min(limits.archive_bytes, max(_RATIO_FLOOR, path.stat().st_size * limits.archive_ratio))
    size = 0
    try:
        with opened(path) as source, target.open("wb") as out:
            while block := source.read(_BLOCK):
                size += len(block)
                if size > limits.archive_bytes:
                    found = f"unpacks to more than {limits.archive_bytes} bytes"
                    _refuse(file, "archive_bytes", found, "Split the data, or raise SPATIAL_ETL_LIMITS__ARCHIVE_BYTES.")
                if size > most:
                    found = f"unpacks to more than {limits.archive_ratio} times its size"
                    fix = "Send the data with less compression, or raise SPATIAL_ETL_LIMITS__ARCHIVE_RATIO."
                    _refuse(file, "archive_ratio", found, fix)
                out.write(block)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as err:
        fix = "Compress and upload it again; `gzip -t` or `zstd -t` should find no error."
        _refuse(file, "archive_invalid", f"is damaged or truncated ({err})", fix)
    return target


def _only_member(path: Path, fmt: Format, limits: Limits, file: str) -> Path:
    if not fmt.zipped:
        raise RunRefused(
            f"{file} is declared as {fmt.name}, its content is a zip archive.",
            "Send the file itself.",
            reason="content_mismatch",
            file=file,
        )
    into = Path(tempfile.mkdtemp(prefix="unpacked-", dir=path.parent))
    members = unpack(path, into, limits, file)
    names = {member: str(member.relative_to(into)) for member in members}
    found = [m for m in members if not (names[m].startswith("__MACOSX/") or m.name.startswith("."))]
    found = [m for m in found if m.suffix.lower() in (*fmt.suffixes, ".txt")]
    if not found:
        listed = ", ".join(map(repr, list(names.values())[:5])) or "nothing"
        _refuse(
            file,
            "archive_no_source",
            f"holds no {fmt.name} ({', '.join(fmt.suffixes)}); it holds {listed}",
            "Put the table into the archive, or correct files[].format.",
        )
    if len(found) > 1:
        listed = ", ".join(repr(names[m]) for m in found[:5])
        _refuse(
            file, "archive_ambiguous", f"holds {len(found)} tables: {listed}", "Send one archive, or file, for each."
        )
    return found[0]


def _refuse(file: str, reason: str, found: str, fix: str) -> NoReturn:
    raise RunRefused(f"The archive {file} {found}.", fix, reason=reason, file=file)
