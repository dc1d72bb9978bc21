"""Log lines: text for people, or one JSON object a line for machines. Each carries what is at hand.

`bind` and `bound` say what that is (a run, a request) for the current task or thread and for those that it starts.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import Any, Literal

from pythonjsonlogger.json import JsonFormatter

# Whose lines follow the level that is asked for: of everything else warnings are enough, and drivers that debug print
# what they send.
_OURS = ("app", "rq", "uvicorn")

_at_hand: ContextVar[Mapping[str, Any] | None] = ContextVar("at_hand", default=None)


def bind(**fields: Any) -> None:
    """From now on, lines carry these as well."""
    _at_hand.set({**(_at_hand.get() or {}), **fields})


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Inside, lines carry these as well."""
    token = _at_hand.set({**(_at_hand.get() or {}), **fields})
    try:
        yield
    finally:
        _at_hand.reset(token)


def configure(form: Literal["text", "json"], level: str, role: str) -> None:
    """Send the lines of this process, and those of its libraries, to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_add_what_is_at_hand)
    if form == "json":
        handler.setFormatter(_JsonLines(role))
    else:
        handler.setFormatter(logging.Formatter(f"%(asctime)s {role} %(process)d %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(form == "json")
    for name in _OURS:
        logging.getLogger(name).setLevel(level.upper())


def _add_what_is_at_hand(record: logging.LogRecord) -> bool:
    for name, value in (_at_hand.get() or {}).items():
        if value is not None and not hasattr(record, name):
            setattr(record, name, value)
    return True


class _JsonLines(JsonFormatter):
    """time (RFC 3339, UTC), level, logger, role, pid, message, what is at hand, and a traceback in one field."""

    def __init__(self, role: str) -> None:
        super().__init__("%(message)s", rename_fields={"exc_info": "exception", "stack_info": "stack"})
        self._role = role

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        at = datetime.fromtimestamp(record.created, UTC)
        log_data["time"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        log_data |= {"level": record.levelname.lower(), "logger": record.name, "role": self._role}
        log_data["pid"] = record.process
        super().add_fields(log_data, record, message_dict)
