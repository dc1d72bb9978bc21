"""Types that several columns get together, and casts that change no value."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.pipelines.common.exact_cast import can_become, cast_exactly
from app.pipelines.common.widening import widened

D, S = pa.decimal128, pa.string()
TOGETHER: list[tuple[pa.DataType, pa.DataType, pa.DataType | None]] = [
    (pa.int32(), pa.int64(), pa.int64()),
    (pa.uint8(), pa.int8(), pa.int16()),
    (pa.uint32(), pa.int32(), pa.int64()),
    (pa.uint64(), pa.int8(), pa.int64()),
    (pa.int64(), pa.float64(), pa.float64()),
    (pa.float32(), pa.float64(), pa.float64()),
    (pa.int16(), D(5, 2), D(7, 2)),
    (D(5, 0), D(3, 3), D(8, 3)),
    (D(38, 0), D(3, 3), None),
    (D(5, 2), pa.float64(), None),
    (pa.bool_(), pa.int64(), None),
    (S, pa.int64(), S),
    (S, pa.large_string(), pa.large_string()),
    (S, pa.bool_(), S),
    (S, pa.date32(), S),
    (S, pa.binary(), None),
    (S, pa.list_(S), None),
    (pa.null(), pa.bool_(), pa.bool_()),
    (pa.timestamp("ms"), pa.timestamp("us"), pa.timestamp("us")),
    (pa.timestamp("ms"), pa.timestamp("ms", "UTC"), None),
    (pa.date32(), pa.timestamp("ms"), None),
    (pa.time32("ms"), pa.time64("us"), pa.time64("us")),
    (pa.binary(), pa.large_binary(), pa.large_binary()),
]


@pytest.mark.parametrize(("one", "other", "wanted"), TOGETHER, ids=[f"{a} {b}" for a, b, _ in TOGETHER])
def test_the_type_of_two_columns(one: pa.DataType, other: pa.DataType, wanted: pa.DataType | None) -> None:
    assert widened(one, other) == widened(other, one) == wanted
    assert wanted is None or (can_become(one, wanted) and can_become(other, wanted))


NAN, BIG = float("nan"), 2**53 + 1
CASTS: list[tuple[pa.Array, pa.DataType, list[Any], list[bool]]] = [
    (pa.array([1, BIG, None]), pa.float64(), [1.0, None, None], [False, True, False]),
    (pa.array([1.5, 2.0, NAN, None]), pa.int64(), [None, 2, None, None], [True, False, True, False]),
    (pa.array([1.1, 1.005, 1e30]), D(12, 2), [Decimal("1.10"), None, None], [False, True, True]),
    (pa.array([0, 1, 2]), pa.bool_(), [False, True, None], [False, False, True]),
    (pa.array([5, 500]), D(3, 1), [Decimal("5.0"), None], [False, True]),
    (pa.array([Decimal("1.10"), Decimal("3.00")]), pa.int64(), [None, 3], [True, False]),
    (pa.array([2**64 - 1, 5], pa.uint64()), pa.int64(), [None, 5], [True, False]),
    (pa.array(["1", "x", None, "007"]), pa.int64(), [1, None, None, 7], [False, True, False, False]),
    (pa.array([0, 1], pa.timestamp("ns")), pa.date32(), [dt.date(1970, 1, 1), None], [False, True]),
    (pa.array([1, 2000], pa.time64("ns")), pa.time64("us"), [None, dt.time(0, 0, 0, 2)], [True, False]),
]


@pytest.mark.parametrize(("array", "to", "wanted", "misfits"), CASTS, ids=[f"{a.type} {to}" for a, to, _, _ in CASTS])
def test_values_that_do_not_fit_are_found(
    array: pa.Array, to: pa.DataType, wanted: list[Any], misfits: list[bool]
) -> None:
    converted, wrong = cast_exactly(array, to)
    assert (converted.to_pylist(), converted.type) == (wanted, to)
    assert wrong is not None
    assert wrong.tolist() == misfits


@pytest.mark.parametrize(
    ("found", "to"), [(pa.int64(), pa.timestamp("us")), (pa.binary(), S), (pa.list_(S), S), (pa.date32(), pa.int64())]
)
def test_types_that_have_nothing_in_common(found: pa.DataType, to: pa.DataType) -> None:
    assert not can_become(found, to)


NUMBERS = {
    pa.int8(): st.integers(-(2**7), 2**7 - 1),
    pa.int32(): st.integers(-(2**31), 2**31 - 1),
    pa.int64(): st.integers(-(2**63), 2**63 - 1) | st.integers(-(2**54), 2**54),
    pa.uint64(): st.integers(0, 2**64 - 1),
    pa.float32(): st.floats(width=32),
    pa.float64(): st.floats(),
    pa.bool_(): st.booleans(),
    D(20, 3): st.integers(-(10**20) + 1, 10**20 - 1).map(lambda n: Decimal(n).scaleb(-3)),
    S: st.text(max_size=4) | st.integers().map(str) | st.floats().map(repr),
}
KINDS = st.sampled_from(list(NUMBERS))


PARSERS = {pa.bool_(): "true".__eq__, D(20, 3): Decimal, pa.float64(): float}


def is_same(one: Any, other: Any) -> bool:
    """Equal, with NaN as itself. Python compares numbers of different types exactly."""
    return bool(one == other or (one != one and other != other))  # noqa: PLR0124 # NaN


def parsed(text: str, kind: pa.DataType) -> Any:
    """The value of a text. That of a float32 has as many digits as a float32 needs."""
    if kind == pa.float32():
        return float(np.float32(text))
    return PARSERS.get(kind, int)(text)


@given(KINDS, KINDS, st.data())
def test_no_value_changes(one: pa.DataType, other: pa.DataType, data: st.DataObject) -> None:
    to = widened(one, other)
    for kind in (one, other) if to is not None else ():
        array = pa.array(data.draw(st.lists(st.none() | NUMBERS[kind], max_size=6)), kind)
        converted, misfits = cast_exactly(array, to)
        wrong = [False] * len(array) if misfits is None else misfits.tolist()
        for value, found, is_wrong in zip(array.to_pylist(), converted.to_pylist(), wrong, strict=True):
            if value is None or is_wrong:
                assert found is None
                assert not (value is None and is_wrong)
            else:
                assert is_same(parsed(found, kind) if to == S and kind != S else found, value)
            if is_wrong and to == pa.float64():
                assert not is_same(float(value), value)
