"""Recipes as SQL: the steps of a recipe become one statement over one batch of rows.

A batch is a table (n integer, geom geometry). The statement gives back one row of aggregates, which costs less on both
sides than a row for each feature: the numbers, the flags, the byte lengths of all geometries (-1 for null), the
geometries as ISO WKB one after the other, and the reasons of the invalid ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import IntFlag
from typing import Literal

from app.models.recipes.steps import MakeValid, Simplify

Cleaning = MakeValid | Simplify
_METHODS = {"linework": "method=linework", "structure": "method=structure keepcollapsed=true"}


class Flag(IntFlag):
    """What happened to a row."""

    REPAIRED = 1
    TYPE_CHANGED = 2
    SIMPLIFIED = 4
    SIMPLIFY_KEPT = 8


def statement(steps: Sequence[Cleaning], srids: tuple[int, int] | None) -> str:
    """The query, with `{table}` for the batch. srids: codes of the CRS to transform from and to, x before y.

    Every level is fenced by OFFSET 0: PostgreSQL would else compute an expression anew wherever its name is used.
    """
    query = "SELECT n, geom AS g, 0 AS flags, NULL::text AS reason FROM {table} ORDER BY n OFFSET 0"
    if srids is not None:
        source, target = srids
        moved = f"ST_Transform(ST_SetSRID(g, {int(source)}), {int(target)})"
        query = _level(f"n, {moved} AS g, flags, reason", query)
    for step in steps:
        query = _make_valid(query, step.method) if isinstance(step, MakeValid) else _simplify(query, step.tolerance)
    query = _level("n, flags, reason, ST_AsBinary(g, 'NDR') AS wkb", query)
    return (
        "SELECT array_agg(n), array_agg(flags), array_agg(coalesce(octet_length(wkb), -1)), "  # noqa: S608 # no input
        f"string_agg(wkb, ''::bytea), array_agg(reason) FILTER (WHERE reason IS NOT NULL) FROM ({query}) AS s"
    )


def _level(columns: str, query: str) -> str:
    return f"SELECT {columns} FROM ({query}) AS s OFFSET 0"  # noqa: S608 # no input


def _make_valid(query: str, method: Literal["linework", "structure"]) -> str:
    query = _level("*, ST_IsValidReason(g) AS validity", query)
    query = _level("*, validity <> 'Valid Geometry' AS broken", query)
    query = _level(f"*, CASE WHEN broken THEN ST_MakeValid(g, '{_METHODS[method]}') ELSE g END AS fixed", query)
    changed = "broken AND ST_GeometryType(fixed) <> ST_GeometryType(g)"
    both, one = Flag.REPAIRED | Flag.TYPE_CHANGED, Flag.REPAIRED
    flags = f"CASE WHEN {changed} THEN {both:d} WHEN broken THEN {one:d} ELSE 0 END"
    return _level(
        f"n, fixed AS g, flags | {flags} AS flags, CASE WHEN broken THEN validity ELSE reason END AS reason", query
    )


def _simplify(query: str, tolerance: float) -> str:
    """As engines.clean.simplify: what would become invalid stays, and so do multi geometries of one part."""
    query = _level(f"*, ST_SimplifyPreserveTopology(g, {float(tolerance)!r}) AS s", query)
    query = _level("*, ST_NPoints(s) <> ST_NPoints(g) AS fewer", query)
    triangle = "ST_NPoints(s) = 4 AND ST_GeometryType(s) = 'ST_Polygon' AND ST_Area(s) > 0"
    query = _level(f"*, fewer AND NOT (({triangle}) OR ST_IsValid(s)) AS bad", query)
    multi = "ST_GeometryType(g) IN ('ST_MultiPolygon', 'ST_MultiLineString')"
    simple = f"CASE WHEN fewer AND NOT bad THEN CASE WHEN {multi} THEN ST_Multi(s) ELSE s END ELSE g END"
    flags = f"CASE WHEN bad THEN {Flag.SIMPLIFY_KEPT:d} WHEN fewer THEN {Flag.SIMPLIFIED:d} ELSE 0 END"
    return _level(f"n, {simple} AS g, flags | {flags} AS flags, reason", query)
