"""Decompresses a table that comes as .gz, .zst or .zip, within the limits and without trusting sizes in headers."""

from __future__ import annotations

import gzip
import tempfile
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path, PurePath
from typing import Any

import pyarrow as pa

from app.messages.common import (
    ARCHIVE_AMBIGUOUS,
    ARCHIVE_BYTES,
    ARCHIVE_NO_SOURCE,
    ARCHIVE_RATIO,
    FILE_EMPTY,
    MEMBER_WITHOUT_ARCHIVE,
)
from app.messages.tabular import COMPRESSED_DAMAGED
from app.models.formats import Format
from app.pipelines.common.archives import choose_member, is_zip, unpack_once
from app.settings import Limits, MiB
from app.system.memory import raise_lack_of_memory

_BLOCK = 1 * MiB
_RATIO_FLOOR = 16 * MiB


def decompress(path: Path, fmt: Format, limits: Limits, file: str, member: str | None = None) -> Path:
    """The path of the table itself: `path`, or a file beside it when `path` is compressed.

    Args:
        member: name of the table in a zip archive; None: the only one of the format.

    Raises:
        RunRefused: file_empty, member_unknown, member_without_archive, archive_bytes, archive_ratio, archive_invalid,
            archive_no_source, archive_ambiguous and what `unpack` raises.
    """
    with path.open("rb") as stream:
        head = stream.read(4)
    if member is not None and not is_zip(path):
        raise MEMBER_WITHOUT_ARCHIVE(file=file, member=member)
    if head[:2] == b"\x1f\x8b":
        path = _decompress_stream(path, gzip.open, limits, file)
    elif head == b"\x28\xb5\x2f\xfd":
        path = _decompress_stream(path, lambda each: pa.input_stream(str(each), compression="zstd"), limits, file)
    elif is_zip(path):
        path = _unzip_table(path, fmt, limits, file, member)
    if path.stat().st_size == 0:
        raise FILE_EMPTY(file=file)
    return path


def _decompress_stream(path: Path, open_stream: Callable[[Path], Any], limits: Limits, file: str) -> Path:
    target = Path(tempfile.mkdtemp(prefix="unpacked-", dir=path.parent)) / "table"
    max_size = min(limits.archive_bytes, max(_RATIO_FLOOR, path.stat().st_size * limits.archive_ratio))
    entry = PurePath(file).stem  # the only one
    size = 0
    try:
        with open_stream(path) as source, target.open("wb") as out:
            for block in iter(partial(source.read, _BLOCK), b""):
                size += len(block)
                if size > limits.archive_bytes:
                    raise ARCHIVE_BYTES(file=file, limit=limits.archive_bytes, entry=entry)
                if size > max_size:
                    raise ARCHIVE_RATIO(file=file, limit=limits.archive_ratio, entry=entry)
                out.write(block)
    except (OSError, EOFError, zlib.error, pa.ArrowException) as err:
        raise_lack_of_memory(err)
        raise COMPRESSED_DAMAGED(file=file) from None
    return target


def _unzip_table(path: Path, fmt: Format, limits: Limits, file: str, wanted: str | None) -> Path:
    into, members = unpack_once(path, limits, file)
    names = {member: str(member.relative_to(into)) for member in members}
    if wanted is not None:
        return choose_member({name: member for member, name in names.items()}, wanted, file)
    tables = [
        member
        for member, name in names.items()
        if not name.startswith("__MACOSX/")
        and not member.name.startswith(".")
        and member.suffix.lower() in (*fmt.suffixes, ".txt")
    ]
    if not tables:
        found = ", ".join(map(repr, list(names.values())[:5])) or "nothing"
        raise ARCHIVE_NO_SOURCE(file=file, format=fmt.name, suffixes=", ".join(fmt.suffixes), found=found)
    if len(tables) > 1:
        found = ", ".join(repr(names[table]) for table in tables[:5])
        raise ARCHIVE_AMBIGUOUS(file=file, format=fmt.name, number=len(tables), found=found)
    return tables[0]
