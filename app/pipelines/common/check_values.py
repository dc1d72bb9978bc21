"""Values of checks as SQL writes them, and values of a product as samples show them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from app.pipelines.common.check_database import CheckedFile, quoted

# Characters of one value of a sample.
MOST_TEXT = 100
_DIGITS = 38
_INTEGERS = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT")
_FLOATS = ("FLOAT", "DOUBLE")
_AS_THEY_ARE = frozenset(("BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER"))


def is_float(column_type: str) -> bool:
    return column_type in _FLOATS


def allowed_values(column_type: str) -> str:
    """What a check may compare a column of this type of DuckDB's with; empty where it can be compared with nothing."""
    if column_type in (*_INTEGERS, *_FLOATS) or column_type.startswith("DECIMAL"):
        return "numbers"
    if column_type == "VARCHAR":
        return "texts"
    if column_type == "BOOLEAN":
        return "true or false"
    if column_type == "DATE" or column_type.startswith("TIMESTAMP"):
        return "dates or times as text, such as 2026-01-31 or 2026-01-31T12:00:00Z"
    return "times of day as text, such as 12:30:00" if column_type == "TIME" else ""


def literal(value: Any, column_type: str, file: CheckedFile) -> str | None:
    """The value as SQL for a comparison with a column of this type; None where they cannot be compared.

    A date or time without a zone is one of UTC where the column has a zone.
    """
    allowed = allowed_values(column_type)
    if allowed == "numbers":
        return _number(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    if allowed == "true or false":
        return str(value).lower() if isinstance(value, bool) else None
    if not isinstance(value, str) or not allowed:
        return None
    if allowed == "texts":
        return quoted(value)
    # As a timestamp also for a column of dates: a cast to a date would lose the time of day.
    as_type = column_type if column_type in ("TIME", "TIMESTAMP WITH TIME ZONE") else "TIMESTAMP"
    parsed = file.connection.execute(f"SELECT TRY_CAST(? AS {as_type}) IS NOT NULL", [value]).fetchone()
    return f"CAST({quoted(value)} AS {as_type})" if parsed and parsed[0] else None


def _number(value: float) -> str:
    """All digits, so that the comparison is exact where the column's type is."""
    if isinstance(value, int):
        return str(value)
    plain = format(Decimal(repr(value)), "f")
    return plain if len(plain.strip("-0.")) <= _DIGITS and len(plain) <= _DIGITS + 2 else repr(value)


def sample_expression(alias: str, column_type: str) -> str:
    """SQL for a value of a sample: small, and of a type that JSON has."""
    if column_type in _AS_THEY_ARE:
        return alias
    if column_type in _FLOATS:
        return f"CASE WHEN isfinite({alias}) THEN CAST({alias} AS DOUBLE) END"
    if column_type == "BLOB":
        return f"octet_length({alias}) || ' bytes'"
    return f"replace(left(CAST({alias} AS VARCHAR), {MOST_TEXT}), chr(0), '\\x00')"
