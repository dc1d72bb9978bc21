"""The three kinds of message: what a document is wrong in, what ends a run, and what a run warns of.

They lie below the models, because the rules of a manifest raise the first kind.
"""

from __future__ import annotations

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict

from app.errors import Fault, RunRefused

# Samples that a warning keeps.
MOST_SAMPLES = 5


class Count(int):
    """A number that brings its noun or verb along: `{count:# row|# rows}` is "1 row" or "3 rows", `{count:is|are}`
    only the word.
    """

    def __format__(self, spec: str) -> str:
        if "|" not in spec:
            return super().__format__(spec)
        one, many = spec.split("|")
        return (one if self == 1 else many).replace("#", str(int(self)))


class RunWarning(BaseModel):  # `Warning` is a builtin exception
    """Something to know about a run that did not fail because of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    code: str
    message: str
    count: int = 1
    samples: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class FaultMessage:
    """Something that is wrong with a manifest or a request, found before there is a run.

    Attributes:
        code: stable, for programs.
        when: what it is about, for the table of codes; a phrase without a full stop.
        detail: template of what was found.
        fix: template of what to do about it.
    """

    code: str
    when: str
    detail: str
    fix: str

    def __call__(self, pointer: str, **values: Any) -> Fault:
        """Return the fault.

        Args:
            pointer: where: a JSON pointer into the body, or `query/NAME` and the like.
            values: those of both templates.
        """
        return Fault(pointer, self.code, *self.texts(**values))

    def texts(self, **values: Any) -> tuple[str, str]:
        """The detail and the fix, for a validator, which does not know where it is."""
        known = _counted(values)
        return self.detail.format(**known), self.fix.format(**known)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A reason for which a run cannot go on.

    Attributes:
        code: stable, for programs. Several refusals may share one where a program would do the same about them.
        when: what it is about, for the table of codes; a phrase without a full stop.
        detail: template of what was found, with `{file}` where it is about a file.
        fix: template of what to do about it.
    """

    code: str
    when: str
    detail: str
    fix: str = ""

    def __call__(self, *, file: str | None = None, **values: Any) -> RunRefused:
        """Return the error to raise.

        Args:
            file: the key of the source in the landing zone.
            values: those of both templates.
        """
        known = _counted({**values, "file": file})
        return RunRefused(self.detail.format(**known), self.fix.format(**known), reason=self.code, file=file)


@dataclass(frozen=True, slots=True)
class Notice:
    """Something a reader should know about a run that goes on.

    Attributes:
        code: stable, for programs.
        when: what it is about, for the table of codes; a phrase without a full stop.
        text: template of the message; `{count}` is there always.
    """

    code: str
    when: str
    text: str

    def __call__(self, *, count: int = 1, samples: Sequence[Any] = (), **values: Any) -> RunWarning:
        """Return the warning.

        Args:
            count: how many rows, pixels, … it is about.
            samples: of these; the first five are kept.
            values: those of the template.
        """
        text = self.text.format(**_counted({**values, "count": count}))
        return RunWarning(code=self.code, message=text, count=count, samples=tuple(samples[:MOST_SAMPLES]))


def fields(*templates: str) -> frozenset[str]:
    """The names of the values that templates ask for."""
    found = (name for template in templates for _, name, _, _ in string.Formatter().parse(template) if name)
    return frozenset(name.partition(".")[0].partition("[")[0] for name in found)


def _counted(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: Count(value) if type(value) is int else value for name, value in values.items()}
