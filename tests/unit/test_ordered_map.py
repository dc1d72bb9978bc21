"""Work in threads, results in order."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from app.pipelines.common.ordered_map import in_order


def test_results_come_in_the_order_of_the_items() -> None:
    second = threading.Event()

    def work(number: int) -> int:
        if number == 0:
            assert second.wait(30), "the second item is not worked on beside the first"
        if number == 1:
            second.set()
        return number * 10

    assert list(in_order(work, range(20), 2)) == [number * 10 for number in range(20)]


def test_items_are_taken_a_few_ahead() -> None:
    taken: list[int] = []

    def items() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = in_order(lambda number: number, items(), 3)
    assert next(results) == 0
    assert len(taken) == 4


def test_what_the_items_raise_comes_behind_the_results_before_it() -> None:
    def items() -> Iterator[int]:
        yield from (0, 1)
        raise KeyError("the items' own")

    results = in_order(lambda number: number, items(), 4)
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(KeyError, match="own"):
        next(results)


def test_the_first_fault_in_their_order_is_the_one_raised() -> None:
    def items() -> Iterator[int]:
        yield from (0, 1)
        raise KeyError

    def work(number: int) -> int:
        raise ValueError(number)

    with pytest.raises(ValueError, match=r"^0$"):
        next(in_order(work, items(), 4))
