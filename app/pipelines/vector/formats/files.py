"""Files of a source: the sidecars beside it, and copies under a neutral name for drivers to open."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path


def sidecar(path: Path, suffix: str) -> Path | None:
    """The file beside `path` with the same stem and that suffix, case aside; None if it does not exist."""
    for candidate in (path.with_suffix(suffix), path.with_suffix(suffix.upper())):
        if candidate.is_file():
            return candidate
    wanted = (path.stem + suffix).lower()
    return next((p for p in sorted(path.parent.iterdir()) if p.name.lower() == wanted and p.is_file()), None)


def neutral_copy(path: Path, suffix: str) -> Path:
    """A link to the source in a new directory, as `source<suffix>`.

    A driver finds no other file beside it and can conclude nothing from its name. Of a directory, its files are linked.
    """
    copy = Path(tempfile.mkdtemp(prefix="source-", dir=path.parent)) / f"source{suffix}"
    if path.is_dir():
        copy.mkdir()
        for part in path.iterdir():
            if part.is_file():
                link(part, copy / part.name)
    else:
        link(path, copy)
    return copy


def link(source: Path, target: Path) -> None:
    """A hard link, or a copy on a file system without hard links."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def shown(raw: bytes) -> str:
    """The first bytes of a value, quoted for a message."""
    return repr(raw[:40]).removeprefix("b")
