"""The figures of a campaign, for people and for programs."""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

from chaos.checks import CHECKS
from chaos.evidence import Evidence
from chaos.schedule import WORDS
from chaos.strike import Struck

_SHOWN = 10


def say(text: str = "") -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def progress(text: str, *, now_and_then: bool = False) -> None:
    """One line that is overwritten on a terminal; elsewhere only what comes now and then."""
    if sys.stdout.isatty():
        sys.stdout.write(f"\r\033[K{text}")
        sys.stdout.flush()
    elif now_and_then:
        say(text)


def report(found: Evidence, struck: list[Struck], figures: dict[str, Any]) -> dict[str, Any]:
    """figures: seed, profile and the like, which come first."""
    faults = {check.__name__: check(found) for check in CHECKS}
    return {
        **figures,
        "faults": len(struck),
        "by_kind": dict(Counter(each.fault.kind for each in struck).most_common()),
        "by_victim": dict(Counter(each.fault.victim for each in struck).most_common()),
        "manifests": len(found.manifests),
        "outcomes": dict(Counter(each["status"] for each in found.manifests.values()).most_common()),
        "errors": dict(Counter(run["error"]["code"] for run in found.runs.values() if run["error"]).most_common()),
        "runs": len(found.runs),
        "attempts": {str(n): k for n, k in sorted(Counter(run["attempt"] for run in found.runs.values()).items())},
        "versions": len(found.assets),
        "repairs": found.repairs,
        "stories": dict(found.book.stories),
        "answers": {str(status): n for status, n in sorted(found.answers.statuses.items())},
        "broken_requests": dict(found.answers.broken),
        "memory_mib": {role: round(size) for role, size in found.memory.items()},
        "tracebacks": dict(Counter(found.tracebacks).most_common()),
        "checks": faults,
        "sequence": [asdict(each) for each in struck],
    }


def show(made: dict[str, Any], found: Evidence) -> None:
    seconds = f"{made['seconds']:.0f} s, settled after {made['settled_seconds']:.0f} s"
    say(f"\n{made['profile']}, seed {made['seed']}: {made['faults']} faults in {seconds}")
    rows = {
        "faults": ", ".join(f"{number} {WORDS[kind]}" for kind, number in made["by_kind"].items()),
        "victims": _counts(made["by_victim"]),
        "manifests": f"{made['manifests']}: {_counts(made['outcomes'])}",
        "runs": f"{made['runs']}, by attempts: {_counts(made['attempts'])}",
        "failures": _counts(made["errors"]),
        "versions": str(made["versions"]),
        "repairs": _counts({re.sub(r'action="(\w+)"', r"\1", name): n for name, n in made["repairs"].items()}),
        "answers": f"{_counts(made['answers'])}; without one: {sum(made['broken_requests'].values())}",
        "memory": ", ".join(f"{role} {size} MiB" for role, size in made["memory_mib"].items()),
    }
    for name, text in rows.items():
        say(f"  {name:10} {text}")
    for last, number in made["tracebacks"].items():
        say(f"  traceback  {number} x {last}")
    for name, faults in made["checks"].items():
        say(f"  {'WRONG' if faults else 'ok':10} {name.replace('_', ' ')}{f': {len(faults)}' if faults else ''}")
        for fault in faults[:_SHOWN]:
            say(f"    {fault}")
            _show_run(fault, found)
        if len(faults) > _SHOWN:
            say(f"    and {len(faults) - _SHOWN} more")


def _show_run(fault: str, found: Evidence) -> None:
    """The log of the run that a fault names."""
    for run_id in re.findall(r"\brun (?:of )?([0-9a-f]{32})\b", fault)[:1]:
        for event in found.events.get(run_id, ()):
            say(f"      {event['seq']:3} {event['at']} {event['level']:7} {event['code']}: {event['message'][:160]}")


def write(made: list[dict[str, Any]], path: Path) -> None:
    path.write_text(json.dumps(made, indent=2) + "\n")


def write_evidence(found: Evidence, path: Path) -> None:
    """Everything that the service has recorded, as JSON, for finding the cause."""
    names = ("manifests", "runs", "events", "assets", "activity", "deliveries", "problems")
    path.write_text(json.dumps({name: getattr(found, name) for name in names}, indent=1) + "\n")


def _counts(found: dict[str, int]) -> str:
    return ", ".join(f"{number} {name}" for name, number in found.items()) or "none"
