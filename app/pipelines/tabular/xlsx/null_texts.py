"""Text cells that are no value: those of options.nulls, and with options.trim those of blanks alone."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from app.models.manifests.file_options import FileOptions
from app.pipelines.tabular.xlsx.cells import Cell


@dataclass(frozen=True, slots=True)
class NullTexts:
    """Which texts mean null.

    Attributes:
        texts: options.nulls.
        trim: blanks around a text are no part of it, and a text of blanks alone is null.
    """

    texts: tuple[str, ...]
    trim: bool

    @classmethod
    def of(cls, options: FileOptions) -> Self:
        return cls(options.nulls or (), bool(options.trim))

    def kind_of(self, cell: Cell) -> str:
        """The kind of the cell; of text also `null`, `empty` (no character) and `blanks` (nothing but blanks)."""
        if cell.kind != "text":
            return cell.kind
        word = cell.text.strip()
        if (self.trim and cell.text and not word) or (word if self.trim else cell.text) in self.texts:
            return "null"
        return "text" if word else "blanks" if cell.text else "empty"

    def advice(self, found: Mapping[str, int]) -> str | None:
        """The options, ready to be pasted, with which such texts are null; None without such texts.

        Args:
            found: how many cells there are of each kind.
        """
        needed: dict[str, Any] = {}
        if found.get("empty"):
            needed["nulls"] = [*self.texts, ""]
        if found.get("blanks"):
            needed["trim"] = True
        return json.dumps(needed, ensure_ascii=False) if needed else None
