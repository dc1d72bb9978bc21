"""Checks of the values of a product, by DuckDB: one query for all of them, one sorted read for each `unique`.

Samples are read only for checks that fail. Memory does not grow with the rows: what DuckDB sorts goes to scratch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.errors import RunRefused
from app.messages.checks import CHECK_PATTERN_INVALID, CHECK_SQL_FAILED, CHECK_SQL_INVALID, CHECK_TYPE
from app.messages.message import MOST_SAMPLES
from app.models.checks.kinds import Between, CheckResult, Custom, In, Matches, NotNull, Unique, Within, unanswered
from app.models.json_values import shown
from app.pipelines.common.check_database import CheckedFile, quoted
from app.pipelines.common.check_sql import contained, first_line
from app.pipelines.common.check_values import allowed_values, is_float, literal, sample_expression

_BATCH_ROWS = 65_536
_MOST_SAMPLE_COLUMNS = 4
# Of memory, while hashes are read and sorted here.
_BYTES_A_HASH = 32
# Equal hashes beyond which all keys are compared.
_MOST_SUSPECTS = 5_000
ROW_CHECKS = (NotNull, Between, In, Matches, Custom, Within)
RowCheck = NotNull | Between | In | Matches | Custom | Within


@dataclass(frozen=True, slots=True)
class RowQuestion:
    """A check that each row passes or fails by itself. fails: a condition of SQL; columns: for the samples."""

    index: int
    check: RowCheck
    fails: str
    columns: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class KeyQuestion:
    """A check of a key. columns: of the key."""

    index: int
    check: Unique
    columns: tuple[int, ...]


def row_question(index: int, check: RowCheck, file: CheckedFile, box: str | None) -> RowQuestion:
    """Put a check into SQL.

    Args:
        index: of the check in the manifest.
        check: one of ROW_CHECKS.
        file: the product, or an empty file of its schema.
        box: the name of its column with the boxes of the geometries.

    Raises:
        RunRefused: check_column_unknown, check_type, check_pattern_invalid, check_sql_invalid.
    """
    if isinstance(check, Custom):
        expression, columns = contained(file.connection, check.sql, file.columns, index)
        question = RowQuestion(index, check, f"({expression}) IS NOT TRUE", columns)
        _check_boolean(file, expression, columns, index)
        return question
    name = box if isinstance(check, Within) else check.column
    number = file.columns.number(name or "", index, check.check)
    column, kind = f"c{number}", file.columns.types[number]
    match check:
        case NotNull():
            fails = f"{column} IS NULL"
        case Between():
            parts = [f"isnan({column})"] if is_float(kind) else []
            parts += [
                f"{column} {sign} {_literal(value, index, check, number, file)}"
                for sign, value in (("<", check.min), (">", check.max))
                if value is not None
            ]
            fails = " OR ".join(parts)
        case In():
            fails = (
                f"{column} NOT IN ({', '.join(_literal(each, index, check, number, file) for each in check.values)})"
            )
        case Matches():
            if kind != "VARCHAR":
                raise _type_refused(index, check, number, file, "a regular expression", "a column of text")
            _check_pattern(file, check.pattern, index)
            fails = f"NOT regexp_full_match({column}, {quoted(check.pattern)})"
        case Within(bbox=(low_x, low_y, high_x, high_y)):
            fails = (
                f"{column}.xmin < {low_x!r}::DOUBLE OR {column}.ymin < {low_y!r}::DOUBLE "
                f"OR {column}.xmax > {high_x!r}::DOUBLE OR {column}.ymax > {high_y!r}::DOUBLE"
            )
    return RowQuestion(index, check, fails, (number,))


def key_question(index: int, check: Unique, file: CheckedFile) -> KeyQuestion:
    """Raises RunRefused: check_column_unknown."""
    return KeyQuestion(index, check, tuple(file.columns.number(name, index, "unique") for name in check.columns_named))


def answer_rows(questions: Sequence[RowQuestion], file: CheckedFile) -> tuple[int, dict[int, CheckResult]]:
    """(rows of the product, results by the index of the check). Raises RunRefused: check_sql_failed, of all at once."""
    conditions = "".join(f", count_if({each.fails})" for each in questions)
    try:
        total, *failed = file.select(f"count(*){conditions}").fetchall()[0]
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error:
        refusals = [found for each in questions if (found := _error_of(each, file)) is not None]
        if refusals:
            raise refusals[0].beside(refusals[1:]) from None
        raise
    results = {}
    for question, found in zip(questions, failed, strict=True):
        samples = _samples(question, question.fails, file) if found else ()
        results[question.index] = _result(question.check, found, samples)
    return total, results


def answer_key(question: KeyQuestion, file: CheckedFile) -> CheckResult:
    """Count the rows that repeat an earlier one: equal keys are neighbours once they are sorted.

    First the hashes only, which are small. Where some are equal, the keys that have them.
    """
    key = [f"c{number}" for number in question.columns]
    kinds = [file.columns.types[number] for number in question.columns]
    present = [f"{each} IS NOT NULL" for each in key]
    present += [f"NOT isnan({each})" for each, kind in zip(key, kinds, strict=True) if is_float(kind)]
    columns = ", ".join(key)
    # The hash first: comparing it is faster than comparing text.
    suspects = _equal_hashes(f"hash({columns})", f"WHERE {' AND '.join(present)}", file)
    if not suspects:
        return _result(question.check, 0, ())
    if len(suspects) <= _MOST_SUSPECTS:
        present.append(f"hash({columns}) IN ({', '.join(map(str, suspects))})")
    rest = f"WHERE {' AND '.join(present)} ORDER BY {columns}, file_row_number"
    found, repeats = 0, list[tuple[int, int]]()
    last: pa.RecordBatch | None = None
    for batch in file.select(f"{columns}, file_row_number", rest).fetch_record_batch(_BATCH_ROWS):
        both = batch if last is None else pa.concat_batches([last, batch])
        same = pc.indices_nonzero(_equal_neighbours(both.drop_columns("file_row_number")))
        found += len(same)
        rows = both.column("file_row_number")
        repeats += [(rows[at + 1].as_py(), rows[at].as_py()) for at in same[: MOST_SAMPLES - len(repeats)].to_pylist()]
        last = batch.slice(batch.num_rows - 1)
    return _result(question.check, found, _key_samples(question, repeats, file))


def _equal_hashes(hashes: str, where: str, file: CheckedFile) -> list[int]:
    """Those that occur more than once; no more than a few thousand of them."""
    if file.rows * _BYTES_A_HASH <= file.memory_bytes:
        # Sorting numbers here is faster than in DuckDB, which can also do it through scratch.
        every = np.sort(file.select(f"{hashes} AS hash", where).fetchnumpy()["hash"])
        repeated: list[int] = np.unique(every[1:][every[1:] == every[:-1]])[: _MOST_SUSPECTS + 1].tolist()
        return repeated
    found: list[int] = []
    last: pa.Array | None = None
    for batch in file.select(f"{hashes} AS hash", f"{where} ORDER BY hash").fetch_record_batch(_BATCH_ROWS):
        column = batch.column(0) if last is None else pa.concat_arrays([last, batch.column(0)])
        same = pc.equal(column.slice(1), column.slice(0, len(column) - 1))
        found += pc.unique(column.slice(1).filter(same)).to_pylist()
        if len(found) > _MOST_SUSPECTS:
            break
        last = batch.column(0).slice(batch.num_rows - 1)
    return list(dict.fromkeys(found))


def _equal_neighbours(batch: pa.RecordBatch) -> pa.BooleanArray:
    """Whether each row but the last has the key of the next one."""
    most = max(batch.num_rows - 1, 0)
    found = pa.array([True] * most, pa.bool_())
    for column in batch.columns:
        found = pc.and_(found, pc.equal(column.slice(0, most), column.slice(1, most)))
    return found


def _key_samples(
    question: KeyQuestion, repeats: Sequence[tuple[int, int]], file: CheckedFile
) -> tuple[dict[str, Any], ...]:
    if not repeats:
        return ()
    wanted = ", ".join(str(row) for row, _ in repeats)
    found = {each["row"]: each for each in _samples(question, f"file_row_number IN ({wanted})", file)}
    return tuple({"row": row, "same_as": other, "values": found[row]["values"]} for row, other in repeats)


def _samples(question: RowQuestion | KeyQuestion, condition: str, file: CheckedFile) -> tuple[dict[str, Any], ...]:
    """The first rows for which the condition is true."""
    shown_columns = question.columns[:_MOST_SAMPLE_COLUMNS]
    values = [sample_expression(f"c{number}", file.columns.types[number]) for number in shown_columns]
    what = ", ".join(["file_row_number", *values])
    rest = f"WHERE {condition} LIMIT {MOST_SAMPLES}"
    names = [file.columns.names[number] for number in shown_columns]
    return tuple(
        {"row": row, "values": dict(zip(names, found, strict=True))}
        for row, *found in file.select(what, rest).fetchall()
    )


def _result(check: RowCheck | Unique, found: int, samples: Sequence[Any]) -> CheckResult:
    return unanswered(check).model_copy(update={"passed": found == 0, "found": found, "samples": tuple(samples)})


def _literal(value: Any, index: int, check: RowCheck, number: int, file: CheckedFile) -> str:
    kind = file.columns.types[number]
    text = literal(value, kind, file)
    if text is None:
        raise _type_refused(index, check, number, file, shown(value), allowed_values(kind) or "another check")
    try:
        file.select(f"count_if(c{number} = {text})", "LIMIT 0")
    except duckdb.Error:
        raise _type_refused(index, check, number, file, shown(value), "a value that the type can hold") from None
    return text


def _type_refused(index: int, check: RowCheck, number: int, file: CheckedFile, value: str, allowed: str) -> RunRefused:
    columns = file.columns
    values = {"column": columns.names[number], "type": columns.types[number], "value": value, "allowed": allowed}
    return CHECK_TYPE(index=index, check=check.check, **values)


def _check_boolean(file: CheckedFile, expression: str, columns: Sequence[int], index: int) -> None:
    """Compute the expression for a row of nulls, which finds what is wrong with it for all data."""
    nulls = ", ".join(f"CAST(NULL AS {file.columns.types[number]}) AS c{number}" for number in columns) or "NULL"
    try:
        query = f"SELECT ({expression}) FROM (SELECT {nulls})"  # noqa: S608 # contained
        kind = str(file.connection.execute(query).description[0][1])
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as err:
        fix = "Correct it; TRY_CAST changes the type of a value."
        raise CHECK_SQL_INVALID(index=index, problem=f"it cannot be computed ({first_line(err)})", fix=fix) from None
    if kind != "BOOLEAN":
        problem = f"its value has the type {kind}, not BOOLEAN"
        raise CHECK_SQL_INVALID(index=index, problem=problem, fix="Compare it with something, for example `… > 0`.")


def _check_pattern(file: CheckedFile, pattern: str, index: int) -> None:
    try:
        file.connection.execute("SELECT regexp_full_match('', ?)", [pattern])
    except duckdb.Error as err:
        problem = first_line(err).partition(": ")[2]
        raise CHECK_PATTERN_INVALID(index=index, pattern=pattern, problem=problem) from None


def _error_of(question: RowQuestion, file: CheckedFile) -> RunRefused | None:
    """The refusal check_sql_failed, if this is a question that cannot be answered."""
    try:
        file.select(f"count_if({question.fails})")
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as err:
        return CHECK_SQL_FAILED(index=question.index, problem=first_line(err))
    return None
