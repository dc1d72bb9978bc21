"""What was measured and what had to hold, for people and for programs."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Check:
    """A bound, and what was measured: once, and again each time that it was missed. Times decide by the best."""

    what: str
    measured: tuple[float, ...]
    limit: float
    unit: str = ""
    details: str = ""

    @property
    def holds(self) -> bool:
        return min(self.measured) <= self.limit


def none_of(what: str, faults: Sequence[str]) -> Check:
    """A check that nothing was found wrong."""
    told = [f"{number} x {text}" if number > 1 else text for text, number in Counter(faults).most_common()]
    more = [f"and {len(told) - _SHOWN} more"] if len(told) > _SHOWN else []
    return Check(what, (float(len(faults)),), 0, details="; ".join(told[:_SHOWN] + more))


@dataclass(slots=True)
class Part:
    """about: what the part did, and how the machine was. untried: what could not be tried here, with the reason."""

    name: str
    title: str
    about: dict[str, Any] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)
    untried: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def holds(self) -> bool:
        return all(check.holds for check in self.checks)


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def progress(text: str) -> None:
    """One line that is overwritten on a terminal; elsewhere nothing."""
    if sys.stdout.isatty():
        sys.stdout.write(f"\r\033[K{text}")
        sys.stdout.flush()


def show(part: Part) -> None:
    progress("")
    say(f"\n{part.name}: {part.title} ({part.seconds:.0f} s)")
    for name, text in part.about.items():
        say(f"  {name:10} {text}")
    for check in part.checks:
        say(f"  {'ok' if check.holds else 'WRONG':10} {_line(check)}")
    for text in part.untried:
        say(f"  {'not tried':10} {text}")


def _line(check: Check) -> str:
    found = ", then ".join(_number(value) for value in check.measured)
    bound = f"{found} of at most {_number(check.limit)} {check.unit}".rstrip() if check.limit else found
    return f"{check.what}: {bound}{f' ({check.details})' if check.details else ''}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def write(parts: Sequence[Part], options: dict[str, Any], path: Path) -> None:
    """Write everything as JSON."""
    made = [
        {
            "part": part.name,
            "seconds": round(part.seconds, 1),
            "about": part.about,
            "checks": [asdict(check) | {"holds": check.holds} for check in part.checks],
            "untried": part.untried,
        }
        for part in parts
    ]
    path.write_text(json.dumps({"options": options, "parts": made}, indent=2) + "\n", encoding="utf-8")
