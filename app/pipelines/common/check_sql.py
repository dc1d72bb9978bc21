"""Contains the SQL of the check `custom`: one expression over the columns of a row, and nothing else.

DuckDB parses it. Its syntax tree may only have the nodes, types and functions of the lists below, none of which reads a
file, a setting, a clock or another row, or makes much of little. It is written anew from the tree, so that neither
comments nor brackets of the text reach the query.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from app.messages.checks import CHECK_SQL_INVALID
from app.pipelines.common.check_columns import ProductColumns

_NODES = frozenset(
    ("BETWEEN", "CASE", "CAST", "COLUMN_REF", "COMPARISON", "CONJUNCTION", "CONSTANT", "FUNCTION", "OPERATOR")
)
_OPERATORS = frozenset(
    (
        "OPERATOR_NOT", "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL", "OPERATOR_COALESCE", "OPERATOR_NULLIF",
        "COMPARE_IN", "COMPARE_NOT_IN",
    )
)  # fmt: skip
_TYPES = frozenset(
    (
        "BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER",
        "UBIGINT", "FLOAT", "DOUBLE", "DECIMAL", "VARCHAR", "DATE", "TIME", "TIMESTAMP", "TIMESTAMP WITH TIME ZONE",
        "INTERVAL", "NULL", "INTEGER_LITERAL", "STRING_LITERAL",
    )
)  # fmt: skip
_LIKE = ("~~", "!~~", "~~*", "!~~*", "~~~", "like_escape", "not_like_escape", "ilike_escape", "not_ilike_escape")
_ARITHMETIC = ("+", "-", "*", "/", "//", "%", "||", "&", "|", "<<", ">>", "**", "^")
NAMED_FUNCTIONS = (
    "abs", "ceil", "ceiling", "floor", "round", "trunc", "sign", "sqrt", "ln", "log", "log10", "log2", "exp", "pow",
    "power", "mod", "greatest", "least", "isnan", "isinf", "isfinite",
    "length", "strlen", "octet_length", "lower", "upper", "trim", "ltrim", "rtrim", "left", "right", "substring",
    "substr", "concat", "contains", "starts_with", "ends_with", "prefix", "suffix", "strpos", "instr", "position",
    "split_part", "regexp_matches", "regexp_full_match", "regexp_extract",
    "date_part", "datepart", "date_trunc", "datetrunc", "date_diff", "datediff", "year", "quarter", "month", "day",
    "hour", "minute", "second", "week", "isodow", "dayofweek", "dayofyear", "to_days", "to_months", "to_years",
    "to_hours", "to_minutes", "to_seconds", "make_date", "nullif", "ifnull",
)  # fmt: skip
_FUNCTIONS = frozenset((*_LIKE, *_ARITHMETIC, *NAMED_FUNCTIONS))
_ONE_EXPRESSION = "Write one expression over the columns of a row that is true or false, for example: {example}."
_EXAMPLE = "population >= 0 AND length(code) = 3"


def contained(
    connection: duckdb.DuckDBPyConnection, sql: str, columns: ProductColumns, index: int
) -> tuple[str, tuple[int, ...]]:
    """The expression with the columns' aliases, and the places of the columns that it names.

    Args:
        connection: parses; nothing is computed.
        sql: of the manifest.
        columns: of the product.
        index: of the check in the manifest.

    Raises:
        RunRefused: check_sql_invalid, check_column_unknown.
    """
    fix = _ONE_EXPRESSION.format(example=_EXAMPLE)
    try:
        found = connection.execute("SELECT json_serialize_sql(?)", [f"SELECT ({sql}\n)"]).fetchone()
        tree = json.loads(found[0]) if found else {}
        if tree.get("error"):
            problem = f"it is not valid SQL ({tree.get('error_message', 'unknown error')})"
            raise CHECK_SQL_INVALID(index=index, problem=problem, fix=fix)
        if not _is_one_expression(tree["statements"]):
            raise CHECK_SQL_INVALID(index=index, problem="it is more than one expression", fix=fix)
        expression = tree["statements"][0]["node"]["select_list"][0]
        named: list[int] = []
        for node in _nodes(expression):
            if reason := _forbidden(node):
                raise CHECK_SQL_INVALID(index=index, problem=reason, fix=f"{fix} Functions: {_listed()}.")
            if node["class"] == "COLUMN_REF":
                number = columns.number_in_sql(node["column_names"][0], index)
                node["column_names"][0] = f"c{number}"
                named.append(number)
        again = connection.execute("SELECT json_deserialize_sql(?)", [json.dumps(tree)]).fetchone()
    except RecursionError:
        raise CHECK_SQL_INVALID(index=index, problem="it is nested too deeply", fix="Use fewer brackets.") from None
    except duckdb.Error as err:
        raise CHECK_SQL_INVALID(index=index, problem=f"it is not valid SQL ({first_line(err)})", fix=fix) from None
    return str(again[0]).removeprefix("SELECT ") if again else "", tuple(dict.fromkeys(named))


def first_line(err: duckdb.Error) -> str:
    """What DuckDB found, in one short line."""
    return str(err).partition("\n")[0].rstrip(".")[:200]


def _is_one_expression(statements: list[dict[str, Any]]) -> bool:
    """Whether the text is `SELECT (EXPRESSION)`, without any other clause."""
    if len(statements) != 1:
        return False
    node = statements[0]["node"]
    nothing = ("where_clause", "group_expressions", "group_sets", "having", "sample", "qualify", "modifiers")
    return (
        node["type"] == "SELECT_NODE"
        and node["from_table"]["type"] == "EMPTY"
        and len(node["select_list"]) == 1
        and not node["cte_map"]["map"]
        and not any(node.get(name) for name in nothing)
    )


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """All expressions of a syntax tree, from the outside to the inside."""
    if isinstance(value, dict):
        if "class" in value:
            yield value
        for each in value.values():
            yield from _nodes(each)
    elif isinstance(value, list):
        for each in value:
            yield from _nodes(each)


def _forbidden(node: dict[str, Any]) -> str:
    """What is not allowed in this node; empty where all is."""
    kind = node["class"]
    if kind not in _NODES or (kind == "OPERATOR" and node["type"] not in _OPERATORS):
        return f"{str(node['type']).replace('_', ' ').lower()} is not allowed"
    if kind == "FUNCTION":
        name = str(node["function_name"]).lower()
        if name not in _FUNCTIONS or node["schema"] not in ("", "main") or node["catalog"]:
            return f"the function {name!r} is not allowed"
        if node["filter"] or node["distinct"] or node["order_bys"]["orders"]:
            return f"the function {name!r} takes values of one row only"
    if kind in ("CAST", "CONSTANT"):
        found = node["cast_type"] if kind == "CAST" else node["value"]["type"]
        if found["id"] not in _TYPES:
            return f"the type {found['id']} is not allowed"
    return ""


def _listed() -> str:
    return ", ".join(NAMED_FUNCTIONS)
