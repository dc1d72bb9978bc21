"""Messages about values of the wrong type, length or range, which the models' validation finds."""

from __future__ import annotations

from collections.abc import Mapping

from app.messages.message import FaultMessage

_STRING, _INTEGER, _NUMBER, _BOOLEAN = "a string", "an integer", "a number", "true or false"
_ARRAY, _OBJECT, _TIME = "an array", "an object", "a time with its zone, such as 2026-11-22T10:00:00Z"

# What is allowed, by the type of pydantic's error; templates take its context. "must be {...}" fits.
_ALLOWED: Mapping[str, str] = {
    "string_type": _STRING,
    "string_unicode": "Unicode text",
    "string_pattern_mismatch": "text that matches {pattern}",
    "string_too_short": "a string with at least {min_length:# character|# characters}",
    "string_too_long": "a string with at most {max_length:# character|# characters}",
    "int_type": _INTEGER,
    "int_parsing": _INTEGER,
    "int_parsing_size": "an integer of at most 64 bits",
    "int_from_float": _INTEGER,
    "float_type": _NUMBER,
    "float_parsing": _NUMBER,
    "finite_number": "a finite number",
    "bool_type": _BOOLEAN,
    "bool_parsing": _BOOLEAN,
    "tuple_type": _ARRAY,
    "too_short": "an array with at least {min_length:# item|# items}",
    "too_long": "an array with at most {max_length} items",
    "dict_type": _OBJECT,
    "model_type": _OBJECT,
    "model_attributes_type": _OBJECT,
    "literal_error": "one of {expected}",
    "enum": "one of {expected}",
    "greater_than": "a number greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than_equal": "at most {le}",
    "datetime_parsing": _TIME,
    "datetime_from_date_parsing": _TIME,
    "timezone_aware": _TIME,
}

NOT_VALID = FaultMessage(
    "value_error", "a value is not valid", "{name} is not valid; found {found}.", "See its description at /docs."
)


def _message(code: str, allowed: str) -> FaultMessage:
    verb = "Use" if allowed.startswith("one of") else "Give"
    return FaultMessage(
        code, f"a value is not {allowed}", f"{{name}} must be {allowed}; found {{found}}.", f"{verb} {allowed}."
    )


VALUES: Mapping[str, FaultMessage] = {code: _message(code, allowed) for code, allowed in _ALLOWED.items()}
