"""Checks of a product before it is published, and their results.

Null values pass every check but `not_null` and `custom`. A row fails `custom` if its expression is not true.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Field, WithJsonSchema
from pydantic_core import core_schema

from app.messages.checks import CHECK_VALUE
from app.models.base import Frozen
from app.models.bounded import DATASET_ID_PATTERN, FROM_LEDGER, AtMost, Column
from app.models.json_values import shown
from app.models.problem_text import wrong

MAX_CHECKS = 100
_MAX_VALUES = 1_000
_MAX_KEY_COLUMNS = 16
_MAX_TEXT = 1_000
_MAX_SQL = 2_000
_NUMBER_OR_TEXT = "a finite number of at most 64 bits, or a text of at most 1,000 characters"

GeometryType = Literal[
    "Point", "LineString", "Polygon", "MultiPoint", "MultiLineString", "MultiPolygon", "GeometryCollection"
]


def _comparable(value: object, info: core_schema.ValidationInfo) -> object:
    if isinstance(value, str) and (len(value) <= _MAX_TEXT or info.context == FROM_LEDGER):
        return value
    if isinstance(value, int) and not isinstance(value, bool) and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, float) and math.isfinite(value):
        return value
    raise wrong(CHECK_VALUE, value=shown(value), allowed=_NUMBER_OR_TEXT)


def _listed(value: object, info: core_schema.ValidationInfo) -> object:
    if isinstance(value, bool):
        return value
    return _comparable(value, info)


_NUMBER_SCHEMA = [{"type": "integer"}, {"type": "number"}, {"type": "string", "maxLength": _MAX_TEXT}]
Comparable = Annotated[Any, BeforeValidator(_comparable), WithJsonSchema({"anyOf": _NUMBER_SCHEMA})]
Listed = Annotated[Any, BeforeValidator(_listed), WithJsonSchema({"anyOf": [{"type": "boolean"}, *_NUMBER_SCHEMA]})]


class _Check(Frozen):
    """What all checks share. Each also has `expected`: what has to hold, in words."""

    severity: Literal["error", "warn"] = Field(
        "error", description="`error`: nothing is published if the check fails. `warn`: published with a warning."
    )

    @property
    def columns_named(self) -> tuple[str, ...]:
        """The columns of the product that the check names."""
        column = getattr(self, "column", None)
        return () if column is None else (column,)


class NotNull(_Check):
    """No value of the column is null."""

    check: Literal["not_null"]
    column: Column

    @property
    def expected(self) -> str:
        return "no nulls"


class Unique(_Check):
    """No two rows have the same values in the column, or in all of the columns. Rows with a null are left out."""

    check: Literal["unique"]
    column: Column | None = Field(None, description="One column; or give `columns`.")
    columns: Annotated[tuple[Column, ...], AtMost(_MAX_KEY_COLUMNS, least=1)] | None = Field(
        None, description="Several columns that identify a row together."
    )

    @property
    def columns_named(self) -> tuple[str, ...]:
        return (self.column,) if self.column is not None else self.columns or ()

    @property
    def expected(self) -> str:
        return "unique" if self.column is not None else f"unique {', '.join(map(shown, self.columns_named))}"


class Between(_Check):
    """Every value lies between `min` and `max`, both included. NaN never does."""

    check: Literal["between"]
    column: Column
    min: Comparable | None = Field(None, description="A number, or a date or time as text; `2026-01-31`.")
    max: Comparable | None = Field(None, description="As `min`; at least one of them is needed.")

    @property
    def expected(self) -> str:
        if self.max is None:
            return f"at least {shown(self.min)}"
        return f"at most {shown(self.max)}" if self.min is None else f"between {shown(self.min)} and {shown(self.max)}"


class In(_Check):
    """Every value is one of `values`."""

    check: Literal["in"]
    column: Column
    values: Annotated[tuple[Listed, ...], AtMost(_MAX_VALUES, least=1)]

    @property
    def expected(self) -> str:
        return f"one of {shown(list(self.values))}"


class Matches(_Check):
    """Every value as a whole matches the regular expression."""

    check: Literal["matches"]
    column: Column
    pattern: Annotated[str, Field(min_length=1), AtMost(_MAX_TEXT)] = Field(
        description="A regular expression of RE2 for the whole value.", examples=["[0-9]{5}"]
    )

    @property
    def expected(self) -> str:
        return f"matches {shown(self.pattern)}"


class Rows(_Check):
    """How many rows the product has."""

    check: Literal["rows"]
    min: Annotated[int, Field(ge=0, strict=True)] | None = Field(None, description="Fewest rows.")
    max: Annotated[int, Field(ge=0, strict=True)] | None = Field(None, description="Most rows.")
    change: Annotated[float, Field(ge=0, le=1_000, allow_inf_nan=False, strict=True)] | None = Field(
        None,
        description="Largest change since the newest version, as a share of its rows: 0.1 is ten percent more or "
        "fewer. Without such a version the check passes.",
    )

    @property
    def expected(self) -> str:
        parts = [f"at least {self.min}"] if self.min is not None else []
        parts += [f"at most {self.max}"] if self.max is not None else []
        parts += [f"changed by at most {self.change * 100:g} %"] if self.change is not None else []
        return " and ".join(parts)


class ValidGeometry(_Check):
    """Every geometry is valid by the rules of OGC."""

    check: Literal["valid_geometry"]

    @property
    def expected(self) -> str:
        return "valid geometries"


class GeometryTypes(_Check):
    """Every geometry has one of these types, with or without heights."""

    check: Literal["geometry_types"]
    types: Annotated[tuple[GeometryType, ...], AtMost(7, least=1)]

    @property
    def expected(self) -> str:
        return f"one of {', '.join(self.types)}"


class Within(_Check):
    """Every geometry lies in the box, or in the area that the geometries of a dataset cover; borders included."""

    check: Literal["within"]
    bbox: (
        Annotated[tuple[Annotated[float, Field(allow_inf_nan=False, strict=True)], ...], AtMost(4, least=4)] | None
    ) = Field(
        None,
        description="`[minx, miny, maxx, maxy]` in the CRS of the product, x before y; or give `dataset`.",
        examples=[[5.9, 45.8, 10.5, 47.9]],
    )
    dataset: Annotated[str, Field(pattern=DATASET_ID_PATTERN)] | None = Field(
        None, description="A dataset of vector data or a join, in any CRS.", examples=["districts"]
    )
    version: Annotated[int, Field(ge=1, strict=True)] | None = Field(
        None, description="Version of `dataset`; default: the newest."
    )

    @property
    def version_asked(self) -> tuple[str, int | None]:
        """(dataset, version or None for the newest)."""
        return str(self.dataset), self.version

    @property
    def expected(self) -> str:
        if self.dataset is None:
            return f"within {shown(list(self.bbox or ()))}"
        return f"within {self.dataset}" + ("" if self.version is None else f" version {self.version}")


class NoOverlaps(_Check):
    """No two polygons share a part of their interior. Common borders and corners are no overlaps."""

    check: Literal["no_overlaps"]

    @property
    def expected(self) -> str:
        return "no overlaps"


class AreaKept(_Check):
    """The recipe keeps this share of the area of all geometries."""

    check: Literal["area_kept"]
    min: Annotated[float, Field(gt=0, le=1, allow_inf_nan=False, strict=True)] = Field(
        description="Smallest share: 0.99 allows one percent to be lost."
    )

    @property
    def expected(self) -> str:
        return f"at least {self.min:.4g} of the area kept"


class Custom(_Check):
    """The SQL expression is true for every row."""

    check: Literal["custom"]
    sql: Annotated[str, Field(min_length=1), AtMost(_MAX_SQL)] = Field(
        description="One expression of DuckDB's SQL over the columns of the product; no subqueries, no aggregates.",
        examples=["population >= 0 AND length(code) = 3"],
    )

    @property
    def expected(self) -> str:
        return f"true: {shown(self.sql)}"


CHECKS: tuple[type[_Check], ...] = (
    NotNull, Unique, Between, In, Matches, Rows, ValidGeometry, GeometryTypes, Within, NoOverlaps, AreaKept, Custom,
)  # fmt: skip
Check: TypeAlias = Annotated[
    NotNull
    | Unique
    | Between
    | In
    | Matches
    | Rows
    | ValidGeometry
    | GeometryTypes
    | Within
    | NoOverlaps
    | AreaKept
    | Custom,
    Field(discriminator="check"),
]


def check_name(check: type[_Check]) -> str:
    """The value of its field `check`."""
    return str(check.model_fields["check"].annotation.__args__[0])  # type: ignore[union-attr] # a Literal


BY_NAME: dict[str, type[_Check]] = {check_name(each): each for each in CHECKS}


class CheckResult(Frozen):
    """One check and what came of it.

    Attributes:
        check: its name.
        column: the column that it is about; None if it is about several, or about whole rows.
        expected: what has to hold, in words.
        passed: None in a plan: only the run finds out.
        found: rows that fail the check. Of `no_overlaps`: pairs of rows; of `rows`: the rows of the product; of
            `unique`: rows that repeat an earlier one; of `area_kept`: the share that was kept, None without areas.
        samples: the first few that fail, with the number of the row (from 0) and values.
    """

    check: str
    column: str | None = None
    expected: str
    severity: Literal["error", "warn"] = "error"
    passed: bool | None = None
    found: int | float | None = None
    samples: tuple[Any, ...] = ()


def unanswered(check: Any) -> CheckResult:
    """The result of a check that was not made yet."""
    named: Sequence[str] = check.columns_named
    return CheckResult(
        check=check.check,
        column=named[0] if len(named) == 1 else None,
        expected=check.expected,
        severity=check.severity,
    )


def passing(check: Any) -> CheckResult:
    """The result of a check that no row fails."""
    return unanswered(check).model_copy(update={"passed": True, "found": 0})
