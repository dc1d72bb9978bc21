"""Numbers, logicals and dates of a .dbf against the bytes that were written: no value becomes another one."""

from __future__ import annotations

import math
from datetime import date
from typing import Any

import numpy as np
import pyarrow.parquet
import pytest

from tests.pipelines.conftest import Bench, Result
from tests.pipelines.dbf import Field, dbf


def read(bench: Bench, field: Field, values: list[bytes]) -> tuple[Result, pyarrow.ChunkedArray]:
    """A column of these values, with a first one that the helper may mark."""
    result = bench.one(dbf(bench, [(b"s", "C", 3, 0), field], [[b"a", value] for value in values]), "SHP")
    return result, pyarrow.parquet.read_table(result.path)[field[0].decode()]


@pytest.mark.parametrize(
    ("kind", "width", "decimals", "other"),
    [
        *(
            ("N", 10, 2, value)
            for value in (b"12,50", b"n/a", b"1 234.50", b"1.2.3", b"0x10", b"1d3", b"-", b".", b"**1")
        ),
        *(("N", 10, 2, value) for value in (b"1e", b"--1", b"1-2", b"5 %")),
        ("F", 12, 3, b"3,125"),
        ("F", 12, 0, b"3,125"),
        ("F", 20, 0, b"n/a"),
        ("N", 8, 0, b"1 234"),
        ("N", 8, 0, b"1-2"),
        ("N", 8, 0, b"*12"),
        ("N", 20, 0, b"1 234"),
    ],
)
def test_a_column_with_a_value_that_is_no_number_is_text(
    bench: Bench, kind: str, width: int, decimals: int, other: bytes
) -> None:
    plain = [b"7", b"", b"*" * width, b"0"]
    result, column = read(bench, (b"n", kind, width, decimals), [*plain, other])
    text = other.decode()
    assert column.to_pylist() == ["7", None, None, "0", text]
    message, count, samples = result.watch.warnings["numbers_as_text"]
    assert (count, samples) == (1, ({"column": "n", "row": 4, "value": text},))
    assert "'n'" in message


@pytest.mark.parametrize(("kind", "width", "decimals"), [("N", 12, 3), ("F", 12, 3), ("F", 20, 0)])
def test_numbers_are_those_that_are_written(bench: Bench, kind: str, width: int, decimals: int) -> None:
    written = [
        b"1.5",
        b"-0.25",
        b"+.5",
        b"5.",
        b"1E+3",
        b"1e-7",
        b"7  ",
        b"12\0\0xx",
        b"\0\x0034",
        b"\0\0\0",
        b"",
        b"*" * width,
    ]
    wanted = [1.5, -0.25, 0.5, 5.0, 1000.0, 1e-7, 7.0, 12.0, 34.0, None, None, None]
    result, column = read(bench, (b"n", kind, width, decimals), written)
    assert column.to_pylist() == wanted
    assert not result.watch.warnings
    for text, value in ((b"nan", math.nan), (b"-inf", -math.inf), (b"1.#INF", math.inf), (b"-1.#IND", math.nan)):
        (bench.lake / "v1.parquet").unlink()
        _, column = read(bench, (b"n", kind, width, decimals), [b"1", text])
        np.testing.assert_array_equal(column.to_numpy(), [1.0, value])


@pytest.mark.parametrize(
    ("width", "values", "wanted", "misfits"),
    [
        (1, [b"T", b"t", b"Y", b"y", b"F", b"f", b"N", b"n"], [True] * 4 + [False] * 4, []),
        (1, [b"T", b"?", b"", b"\0", b"F"], [True, None, None, None, False], []),
        (1, [b"T", b"J", b"1", b"0", b"F"], [True, None, None, None, False], ["J", "1", "0"]),
        (3, [b"T", b"  F", b"N  ", b"Yes", b""], [True, False, False, None, None], ["Yes"]),
    ],
)
def test_logicals(bench: Bench, width: int, values: list[bytes], wanted: list[bool | None], misfits: list[str]) -> None:
    result, column = read(bench, (b"b", "L", width, 0), values)
    assert str(column.type) == "bool"
    assert column.to_pylist() == wanted
    _, count, samples = result.watch.warnings.get("values_nulled", ("", 0, ()))
    assert (count, [sample["value"] for sample in samples]) == (len(misfits), misfits)


DATES: dict[bytes, date | None] = {
    b"20230228": date(2023, 2, 28), b"20240229": date(2024, 2, 29), b"00010101": date(1, 1, 1),
    b"99991231": date(9999, 12, 31), b"19691231": date(1969, 12, 31), b"": None, b"00000000": None, b"0": None,
    b"0       ": None, b"\0" * 8: None,
}  # fmt: skip
NO_DATES = (
    *(b"19900000", b"19900600", b"20231332", b"20230230", b"20230229", b"20230431", b"00000101", b"2023", b"2023-02"),
    *(b"202302", b" 2023101", b"2023011x", b"2024 1 2", b"********", b"1/2/2023", b"12:30:00"),
)


def test_dates(bench: Bench) -> None:
    values = [*DATES, *NO_DATES]
    result, column = read(bench, (b"d", "D", 8, 0), values)
    assert str(column.type) == "date32[day]"
    assert column.to_pylist() == [*DATES.values(), *[None] * len(NO_DATES)]
    message, count, samples = result.watch.warnings["values_nulled"]
    assert count == len(NO_DATES)
    assert "'d'" in message
    first = len(DATES)
    assert samples == tuple(
        {"column": "d", "row": first + i, "value": value.decode()} for i, value in enumerate(NO_DATES[:5])
    )


def test_a_column_that_is_declared_as_text_keeps_them(bench: Bench) -> None:
    fields = [(b"d", "D", 8, 0), (b"b", "L", 1, 0), (b"n", "N", 6, 2), (b"plain", "D", 8, 0)]
    records = [
        [b"20230228", b"T", b"1.50", b"20230228"],
        [b"19900000", b"J", b"1,50", b"00000000"],
        [b"00000000", b"?", b"", b"20230301"],
    ]
    types = dict.fromkeys(("d", "b", "n", "plain"), "text")
    result = bench.one(dbf(bench, fields, records), "SHP", options={"types": types})
    table = pyarrow.parquet.read_table(result.path)
    assert {name: table[name].to_pylist() for name in types} == {
        "d": ["2023-02-28", "19900000", None],
        "b": ["true", "J", None],
        "n": ["1.50", "1,50", None],
        "plain": ["2023-02-28", None, "2023-03-01"],
    }
    assert not result.watch.warnings


def test_dates_in_wider_fields(bench: Bench) -> None:
    values = [b"2023-01-05", b"2023/01/05", b"20230105", b"2023-02-30", b"2023-01/05", b"05/06/2010", b"0020230105"]
    result, column = read(bench, (b"d", "D", 10, 0), values)
    assert column.to_pylist() == [date(2023, 1, 5)] * 3 + [None] * 4
    assert result.watch.warnings["values_nulled"][1] == 4


def oracle(value: bytes) -> date | None:
    try:
        return date(int(value[:4]), int(value[4:6]), int(value[6:])) if value.isdigit() else None
    except ValueError:
        return None


def test_many_rows_some_of_them_deleted(bench: Bench) -> None:
    """Over several blocks, with each kind of misfit in the last: rows are counted without the deleted records."""
    rng = np.random.default_rng(7)
    days = [b"%08d" % n for n in rng.integers(19_000_000, 20_301_300, 70_000)]
    numbers: list[Any] = [b"%.2f" % n for n in rng.normal(0, 1e4, 70_000)]
    numbers[-1] = b"1,5"
    fields = [(b"s", "C", 2, 0), (b"d", "D", 8, 0), (b"n", "N", 12, 2)]
    records = [[b"*a" if i % 7 == 3 else b"a", days[i], numbers[i]] for i in range(70_000)]
    result = bench.one(dbf(bench, fields, records), "SHP")
    table = pyarrow.parquet.read_table(result.path)
    kept = [i for i in range(70_000) if i % 7 != 3]
    assert table["d"].to_pylist() == [oracle(days[i]) for i in kept]
    assert table["n"].to_pylist() == [numbers[i].decode() for i in kept]
    assert result.watch.warnings["numbers_as_text"][2] == ({"column": "n", "row": len(kept) - 1, "value": "1,5"},)
    assert result.watch.warnings["values_nulled"][1] == sum(oracle(days[i]) is None for i in kept)
