"""Importing this makes geopandas and pandas look as if they were not installed: see bench.ours."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Hidden(MetaPathFinder):
    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        _ = path, target
        if fullname in ("geopandas", "pandas"):
            raise ModuleNotFoundError(f"{fullname} is hidden", name=fullname)
        return None


sys.meta_path.insert(0, _Hidden())
