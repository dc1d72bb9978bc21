"""Values of a source that do not fit the type of their column."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from app.messages.message import MOST_SAMPLES, Notice
from app.models.runs.run import RunWarning

_SHOWN = 40


@dataclass(slots=True)
class Misfits:
    """Those of one column. samples: {row, value} of the first few."""

    count: int = 0
    samples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, row: int, text: str) -> None:
        self.count += 1
        if len(self.samples) < MOST_SAMPLES:
            self.samples.append({"row": row, "value": text[:_SHOWN]})


def warnings_of(found: Mapping[str, Misfits], notice: Notice, file: str) -> list[RunWarning]:
    """One warning of the misfits of all columns, if there are any. notice: takes file, columns and count."""
    some = {name: each for name, each in found.items() if each.count}
    if not some:
        return []
    samples = [{"column": name, **sample} for name, each in some.items() for sample in each.samples]
    columns = ", ".join(map(repr, some))
    return [notice(file=file, count=sum(each.count for each in some.values()), columns=columns, samples=samples)]
