"""Whether bytes are UTF-8 text."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from app.pipelines.common.utf8 import is_utf8, open_end

ODD = (
    b"\xc0\x80",
    b"\xed\xa0\x80",
    b"\xed\xbf\xbf",
    b"\xf4\x90\x80\x80",
    b"\xf8\x88\x80\x80\x80",
    b"\xe0\x80\xaf",
    b"\xff",
)


def decodes(raw: bytes) -> bool:
    try:
        raw.decode()
    except UnicodeDecodeError:
        return False
    return True


@given(st.binary(max_size=12) | st.text(max_size=6).map(str.encode))
@example(b"")
@example("aé€\U0001f600\x00".encode())
def test_it_is_what_python_decodes(raw: bytes) -> None:
    assert is_utf8(raw) == decodes(raw)


@pytest.mark.parametrize("raw", ODD)
@pytest.mark.parametrize("around", [b"", b"plain text that is longer than one word of the processor"])
def test_what_is_almost_text(raw: bytes, around: bytes) -> None:
    assert not is_utf8(around + raw + around)


@given(st.text(st.sampled_from("aé€\U0001f600"), min_size=1), st.data())
def test_text_may_be_cut_anywhere(text: str, data: st.DataObject) -> None:
    raw = text.encode()
    cut = data.draw(st.integers(0, len(raw)))
    whole = cut - open_end(raw[:cut])
    assert is_utf8(raw[:whole])
    assert is_utf8(raw[whole:])
    assert cut - whole < 4
    assert whole == cut or not is_utf8(raw[:cut])


@pytest.mark.parametrize("raw", [b"a\x80", b"\x80\x80\x80\x80", b"\xc3\xa9", b"", b"abc"])
def test_nothing_is_open_where_nothing_could_follow(raw: bytes) -> None:
    assert open_end(raw) == 0
