"""Log lines as text, or as one JSON object per line, with context fields.

`bind` and `bound` set these fields (a run, a request) for the current task or thread, and for those that it starts.
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

# Loggers that follow the configured level. Others log warnings only: drivers at debug level would log what they send.
_OURS = ("app", "rq", "uvicorn")

_context: ContextVar[Mapping[str, Any] | None] = ContextVar("log_context", default=None)


def bind(**fields: Any) -> None:
    """Add context fields to all further log lines."""
    _context.set({**(_context.get() or {}), **fields})


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Add context fields to the log lines of the body."""
    token = _context.set({**(_context.get() or {}), **fields})
    try:
        yield
    finally:
        _context.reset(token)


def configure(form: Literal["text", "json"], level: str, role: str) -> None:
    """Log this process and its libraries to standard error. role: shown in each line."""
    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(_add_context)
    if form == "json":
        handler.setFormatter(_JsonLines(role))
    else:
        handler.setFormatter(logging.Formatter(f"%(asctime)s {role} %(process)d %(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(form == "json")
    logging.getLogger("asyncio").addFilter(_is_news)
    for name in _OURS:
        logging.getLogger(name).setLevel(level.upper())


def _is_news(record: logging.LogRecord) -> bool:
    """False for an error that is raised elsewhere too: aiohttp gives it to the caller, and logs it as well."""
    error = record.exc_info[1] if record.exc_info else None
    return type(error).__name__ != "ClientConnectionResetError"


def _add_context(record: logging.LogRecord) -> bool:
    for name, value in (_context.get() or {}).items():
        if value is not None and not hasattr(record, name):
            setattr(record, name, value)
    return True


class _JsonLines(JsonFormatter):
    """time (RFC 3339, UTC), level, logger, role, pid, message, context fields, and a traceback in one field."""

    def __init__(self, role: str) -> None:
        super().__init__("%(message)s", rename_fields={"exc_info": "exception", "stack_info": "stack"})
        self._role = role

    def add_fields(self, log_data: dict[str, Any], record: logging.LogRecord, message_dict: dict[str, Any]) -> None:
        at = datetime.fromtimestamp(record.created, UTC)
        log_data["time"] = at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        log_data |= {"level": record.levelname.lower(), "logger": record.name, "role": self._role}
        log_data["pid"] = record.process
        super().add_fields(log_data, record, message_dict)
