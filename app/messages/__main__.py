"""Writes the tables of docs/formats.md from the catalogue: `python -m app.messages`, in a source checkout."""

from __future__ import annotations

import re
from pathlib import Path

from app.messages.catalogue import table
from app.messages.message import Notice, Refusal

DOCUMENT = Path(__file__).parents[2] / "docs" / "formats.md"


def with_tables(text: str) -> str:
    """The document with both tables made anew.

    Args:
        text: the document. A table stands between the lines `<!-- refusals -->` and `<!-- /refusals -->`, the other
            one between `<!-- warnings -->` and `<!-- /warnings -->`.

    Raises:
        ValueError: a pair of these lines is missing, or is there twice.
    """
    for name, kind in (("refusals", Refusal), ("warnings", Notice)):
        before, after = f"<!-- {name} -->", f"<!-- /{name} -->"
        parts = re.split(f"(?<={re.escape(before)}\n).*?(?={re.escape(after)})", text, flags=re.DOTALL)
        if len(parts) != 2:
            raise ValueError(f"{DOCUMENT.name} needs one pair of the lines {before} and {after}.")
        text = f"{parts[0]}\n{table(kind)}\n\n{parts[1]}"
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
