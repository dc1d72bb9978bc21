"""The codes of refusal that docs/formats.md promises."""

from __future__ import annotations

import re
from pathlib import Path


def documented_codes() -> set[str]:
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    tables = [
        text.partition(f"<!-- {name} -->")[2].partition(f"<!-- /{name} -->")[0] for name in ("refusals", "attempts")
    ]
    rows = [row for table in tables for row in table.splitlines() if row.startswith("| `")]
    return {code for row in rows for code in re.findall(r"`([a-z_0-9]+)`", row.split("|")[1])}
