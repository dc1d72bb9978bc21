"""Values of a request in the words of JSON, for messages that quote them."""

from __future__ import annotations

import json

_MAX_CHARACTERS = 80


def shown(value: object) -> str:
    """The value as a message quotes it: `'text'`, `5`, `null`, `{"a": 1}`; cut after 80 characters."""
    # Only as much as is shown is looked at: the value may be a whole request.
    if isinstance(value, bytes):
        value = value[: 4 * _MAX_CHARACTERS].decode("utf-8", "replace")
    text = repr(value[: _MAX_CHARACTERS + 1]) if isinstance(value, str) else _json(value)
    return text if len(text) <= _MAX_CHARACTERS else text[: _MAX_CHARACTERS - 3] + "..."


def _json(value: object) -> str:
    parts, length = [], 0
    for part in json.JSONEncoder(ensure_ascii=False, default=str).iterencode(value):
        parts.append(part)
        length += len(part)
        if length > _MAX_CHARACTERS:
            break
    # A lone surrogate is shown by its number: no answer could carry it.
    return "".join(parts).encode("utf-8", "backslashreplace").decode()
