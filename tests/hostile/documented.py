"""The codes of refusal that docs/formats.md promises."""

from __future__ import annotations

import re
from pathlib import Path


def documented_codes() -> set[str]:
    text = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")
    rows = text.partition("## What a run is refused for")[2].splitlines()
    return {code for row in rows if row.startswith("| `") for code in re.findall(r"`([a-z_0-9]+)`", row.split("|")[1])}
