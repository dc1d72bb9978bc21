"""Errors that cross the channel between a job and its reader, as JSON and back."""

from __future__ import annotations

import traceback
from collections.abc import Mapping
from typing import Any

from app.errors import DomainError, EngineUnavailable, RunRefused, TimeLimitExceeded
from app.storage.postgis.server import StatementFailed
from app.system.error_chain import chain
from app.system.memory import is_lack_of_memory

# What the other side handles by its kind; everything else ends the job.
_KINDS: Mapping[str, type[DomainError]] = {
    each.__name__: each for each in (RunRefused, EngineUnavailable, TimeLimitExceeded)
}
_MAX_TEXT = 20_000


class ReaderFailed(Exception):
    """The reader met an error that it does not know: its text, with what that was raised from."""


def to_message(err: BaseException) -> dict[str, Any]:
    """The error as JSON values."""
    kind = type(err).__name__
    if kind in _KINDS and isinstance(err, DomainError):
        found: dict[str, Any] = {"kind": kind, "detail": err.detail, "fix": err.fix}
        return found | ({"reason": err.reason, "file": err.file} if isinstance(err, RunRefused) else {})
    if isinstance(err, StatementFailed):
        return {"kind": "StatementFailed", "text": str(err), "state": err.state}
    if is_lack_of_memory(err):
        return {"kind": "MemoryError"}
    numbers = [each.errno for each in chain(err) if isinstance(each, OSError)]
    text = "".join(traceback.format_exception(err))
    return {"kind": "defect", "text": text[-_MAX_TEXT:], "errno": next((each for each in numbers if each), None)}


def from_message(message: Mapping[str, Any]) -> BaseException:
    """The error that `to_message` described."""
    kind = str(message.get("kind"))
    if kind == "MemoryError":
        return MemoryError()
    if kind == "StatementFailed":
        return StatementFailed(str(message.get("text")), str(message.get("state")))
    if kind in _KINDS:
        detail, fix = str(message.get("detail")), str(message.get("fix") or "")
        if kind == "RunRefused":
            file = message.get("file")
            return RunRefused(detail, fix, reason=str(message.get("reason")), file=None if file is None else str(file))
        return _KINDS[kind](detail, fix)
    err = ReaderFailed(str(message.get("text"))[-_MAX_TEXT:])
    if isinstance(number := message.get("errno"), int):
        err.__cause__ = OSError(number, "in the reader")
    return err
