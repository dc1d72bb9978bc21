"""The operator's folder of datum grids, for both copies of PROJ in a reader: pyproj's and rasterio's."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

# How files of datum grids end: those of PROJ, and those of national mapping agencies (NTv2).
PATTERNS = ("*.tif", "*.gsb")
_TOGETHER = "proj"
_in_use: list[str] = []


def use_grids(folder: Path, scratch: Path) -> None:
    """Let both find the grids in `folder`. Call it before the process transforms coordinates.

    Args:
        folder: with grids under the names that PROJ has for them.
        scratch: gets a folder of links, because rasterio's copy of PROJ takes one folder for all of its data.
    """
    import rasterio
    from pyproj.datadir import append_data_dir

    append_data_dir(str(folder))
    together = scratch / _TOGETHER
    together.mkdir()
    found = grids_in([folder])
    for path in (*(Path(rasterio.__file__).parent / "proj_data").glob("*"), *found):
        if not (together / path.name).exists():
            (together / path.name).symlink_to(path)
    os.environ["PROJ_DATA"] = str(together)
    _in_use[:] = [f"{path.name} {path.stat().st_size}" for path in found]


def grids_in(folders: Iterable[Path]) -> list[Path]:
    """The files of grids in these folders, by name."""
    found = {path.name: path for folder in folders for pattern in PATTERNS for path in folder.glob(pattern)}
    return [found[name] for name in sorted(found)]


def grids_version() -> dict[str, str]:
    """What results depend on besides the versions of the software: names and sizes of the grids, as a hash."""
    return {"grids": hashlib.sha256("\n".join(_in_use).encode()).hexdigest()[:12]} if _in_use else {}
