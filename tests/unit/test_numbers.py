"""Numbers of strangers: read as ASCII digits of bounded length, or not at all."""

from __future__ import annotations

import pytest

from app.models.numbers import real_number, whole_number


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("0", 0), ("007", 7), ("0" * 5000 + "7", 7), ("9" * 18, 10**18 - 1), ("9" * 5000, 10**18), ("", None)]
    + [(text, None) for text in ("²", "١٢", "1_0", " 1", "1 ", "+1", "-1", "0x1", "1\n", "abc")],
)
def test_whole_numbers(text: str, wanted: int | None) -> None:
    assert whole_number(text) == wanted


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("1", 1.0), ("-1.5e3", -1500.0), (".5", 0.5), ("1.", 1.0), ("0." + "1" * 5000, 0.1111111111111111)]
    + [(text, None) for text in ("", ".", "1_0", "nan", "inf", "1e999", "²", "١", " 1", "0x1", "1,5", "9" * 5000)],
)
def test_real_numbers(text: str, wanted: float | None) -> None:
    assert real_number(text) == wanted
