"""All messages of all subjects, and the tables that documents show."""

from __future__ import annotations

import string
from collections.abc import Callable, Mapping
from types import ModuleType

from app.messages import checks, common, job, join, manifest, raster, request, tabular, values, vector, vector_formats
from app.messages.message import FaultMessage, Notice, Refusal

Message = FaultMessage | Refusal | Notice

# Modules by title of their section, in the order in which documents show them.
SUBJECTS: Mapping[str, tuple[ModuleType, ...]] = {
    "Any source": (common,),
    "Vector sources": (vector, vector_formats),
    "Rasters": (raster,),
    "Tables": (tabular,),
    "Joins": (join,),
    "Checks": (checks,),
    "The run itself": (job,),
    "Manifests": (manifest,),
    "Requests": (request,),
    "Values of any field": (values,),
}


def messages(subject: ModuleType) -> dict[str, Message]:
    """{name of the constant: message} of one module, in the order of the code; `NAME[key]` in a mapping."""
    found: dict[str, Message] = {}
    for name, each in vars(subject).items():
        if isinstance(each, Message):
            found[name] = each
        elif isinstance(each, dict):
            found |= {f"{name}[{key}]": one for key, one in each.items() if isinstance(one, FaultMessage)}
    return found


def codes(kind: type[Message]) -> dict[str, str]:
    """{code: when} of everything of one kind: faults of documents, refusals or warnings of runs."""
    return {code: _joined(each, _when) for code, each in _collected(kind, *SUBJECTS).items()}


def table(kind: type[Message]) -> str:
    """A Markdown table of the codes of one kind, by subject; values that differ from case to case are shown as `…`."""
    columns = {"code": None, "when": _when} | ({} if kind is Notice else {"fix": _fix})
    lines = [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for title in SUBJECTS:
        found = _collected(kind, title)
        if found:
            lines.append(f"| **{title}** |" + " |" * (len(columns) - 1))
        for code, each in found.items():
            cells = [_joined(each, column).replace("|", r"\|") for column in columns.values() if column]
            lines.append(f"| {' | '.join([f'`{code}`', *cells])} |".replace("|  |", "| |"))
    return "\n".join(lines)


def _collected(kind: type[Message], *titles: str) -> dict[str, list[Message]]:
    """{code: its messages} of the sections."""
    found: dict[str, list[Message]] = {}
    for title in titles:
        for subject in SUBJECTS[title]:
            for each in messages(subject).values():
                if isinstance(each, kind):
                    found.setdefault(each.code, []).append(each)
    return found


def _joined(found: list[Message], text: Callable[[Message], str]) -> str:
    return " ".join(dict.fromkeys(filter(None, map(text, found))))


def _when(message: Message) -> str:
    return _without_fields(message.when)


def _fix(message: Message) -> str:
    text = "" if isinstance(message, Notice) else _without_fields(message.fix)
    return "" if text == "…" else text


def _without_fields(template: str) -> str:
    text = ""
    for literal, name, spec, _ in string.Formatter().parse(template):
        text += literal
        if name and name != "hint":
            text += spec.rpartition("|")[2].replace("#", "…") if spec and "|" in spec else "…"
    return text
