"""Finding features, their coordinates and the numbers in them in JSON text, many bytes at a time.

A JSON parser makes an object of every number; here coordinates are cut out as text and converted in one go, and only
the rest, small, is parsed as JSON. Comparisons of whole arrays are several times faster than tables looked up by byte.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

Bytes = npt.NDArray[np.uint8]
Ints = npt.NDArray[np.intp]
Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.float64]

_COMMA, _OPEN, _CLOSE = ord(","), ord("["), ord("]")


@dataclass(frozen=True, slots=True)
class Brackets:
    """All brackets outside strings: position, +1 or -1, depth after it (0 outside everything)."""

    at: Ints
    delta: npt.NDArray[np.int8]
    depth: npt.NDArray[np.int32]

    def features(self) -> tuple[Ints, Ints, int | None]:
        """(starts, ends) of the complete objects at depth 0, ends exclusive; position of the bracket that closes the
        array around them, where it is there."""
        closing = int(np.argmax(self.depth < 0)) if len(self.depth) else 0
        is_closed = len(self.depth) > 0 and self.depth[closing] < 0
        last = closing if is_closed else len(self.at)
        depth, delta, at = self.depth[:last], self.delta[:last], self.at[:last]
        ends = at[(depth == 0) & (delta == -1)] + 1
        starts = at[(depth == 1) & (delta == 1)][: len(ends)]
        return starts, ends, int(self.at[last]) if is_closed else None

    def between(self, start: int, end: int) -> Brackets:
        """Those from position `start` to `end`, both at depth 0, counted from `start`."""
        first, last = np.searchsorted(self.at, (start, end))
        return Brackets(self.at[first:last] - start, self.delta[first:last], self.depth[first:last])


def find_brackets(data: Bytes) -> Brackets:
    """The brackets of text that begins outside a string."""
    folded = data | 0x20  # [ and { become {, ] and } become }
    at = np.flatnonzero((folded == ord("{")) | (folded == ord("}")) | (data == ord('"')))
    marks = data[at]
    quotes = marks == ord('"')
    escaped = _escaped(data)
    if len(escaped):
        real = ~(quotes & np.isin(at, escaped, assume_unique=True))
        at, marks, quotes = at[real], marks[real], quotes[real]
    outside = ~quotes & (np.cumsum(quotes, dtype=np.int32) % 2 == 0)
    delta = np.where((marks[outside] | 0x20) == ord("{"), np.int8(1), np.int8(-1))
    return Brackets(at[outside], delta, np.cumsum(delta, dtype=np.int32))


def count_colons(data: Bytes) -> int:
    """How many colons stand outside strings: as many as there are members in all objects."""
    at = np.flatnonzero((data == ord(":")) | (data == ord('"')))
    quotes = data[at] == ord('"')
    escaped = _escaped(data)
    if len(escaped):
        real = ~(quotes & np.isin(at, escaped, assume_unique=True))
        at, quotes = at[real], quotes[real]
    return int(np.count_nonzero(~quotes & (np.cumsum(quotes, dtype=np.int32) % 2 == 0)))


def _escaped(data: Bytes) -> Ints:
    """Positions of the characters that a backslash escapes."""
    slashes = np.flatnonzero(data == ord("\\"))
    if not len(slashes):
        return slashes
    is_first = np.append(True, np.diff(slashes) > 1)
    lengths = np.diff(np.append(np.flatnonzero(is_first), len(slashes)))
    result: Ints = (slashes[is_first] + lengths)[lengths % 2 == 1]
    return result


def find_coordinates(data: Bytes, brackets: Brackets, starts: Ints) -> tuple[Ints, Ints]:
    """(starts, ends) of the array feature → "geometry" → "coordinates" of each feature, ends exclusive; -1 where none.

    Found are arrays with at most one space behind the colon; others are left to the JSON parser.
    """
    found = np.full((2, len(starts)), -1, np.intp)
    opening = brackets.delta == 1
    candidates = np.flatnonzero(opening & (brackets.depth == 3))
    candidates = candidates[data[brackets.at[candidates]] == _OPEN]
    candidates = candidates[_follows(data, brackets.at[candidates], b'"coordinates":')]
    parents = np.flatnonzero(opening & (brackets.depth == 2))
    closings = np.flatnonzero(~opening & (brackets.depth == 2))
    nth = np.searchsorted(closings, candidates)
    complete = (nth < len(closings)) & (candidates > (parents[0] if len(parents) else len(opening)))
    candidates, nth = candidates[complete], nth[complete]
    above = parents[np.searchsorted(parents, candidates) - 1]
    is_geometry = _follows(data, brackets.at[above], b'"geometry":')
    candidates, nth = candidates[is_geometry], nth[is_geometry]
    feature = np.searchsorted(starts, brackets.at[candidates], side="right") - 1
    # Of a member that is there twice JSON takes the last one.
    found[0, feature] = brackets.at[candidates]
    found[1, feature] = brackets.at[closings[nth]] + 1
    return found[0], found[1]


def _follows(data: Bytes, at: Ints, key: bytes) -> Bools:
    """Whether `key`, and then at most one space, stands before each position."""
    before = np.maximum(at - 1, 0)
    before = np.where(data[before] == ord(" "), before - 1, before)
    first = before - len(key) + 1
    # A quote behind a backslash does not begin a key.
    result: Bools = (first > 0) & (data[np.maximum(first - 1, 0)] != ord("\\"))
    for offset, byte in enumerate(key):
        result &= data[np.maximum(first + offset, 0)] == byte
    return result


@dataclass(frozen=True, slots=True)
class Positions:
    """All positions of some `coordinates` arrays that follow each other in one text.

    values: (n, 2) or (n, 3). at, delta, depth: all brackets; leaf: whether a bracket opens a position;
    before: number of positions before each bracket.
    """

    values: Numbers
    delta: npt.NDArray[np.int8]
    depth: npt.NDArray[np.int32]
    leaf: Bools
    before: Ints


def read_positions(text: bytes, arrays: int) -> Positions | None:
    """The positions of `arrays` arrays, or None where they are not plain (mixed dimensions, empty arrays, no numbers).

    Proven is what makes the text JSON arrays of positions: nothing but numbers, commas, white space and brackets; the
    same two or three numbers between each innermost pair of brackets; as many commas as that takes.
    """
    data = np.frombuffer(text, np.uint8)
    number = data - ord("-") <= 12  # - . / and digits; smaller bytes wrap around
    for other in b"eE+":
        if other in text:
            number |= data == other
    is_bracket = (data == _OPEN) | (data == _CLOSE)
    commas = np.count_nonzero(data == _COMMA)
    plain = np.count_nonzero(number) + np.count_nonzero(is_bracket) + commas
    if b"/" in text:
        return None
    if plain != len(data) and plain + sum(map(text.count, (b" ", b"\n", b"\r", b"\t"))) != len(data):
        return None
    at = np.flatnonzero(is_bracket)
    delta = np.where(data[at] == _OPEN, np.int8(1), np.int8(-1))
    leaf = np.zeros(len(at), np.bool_)
    leaf[:-1] = (delta[:-1] == 1) & (delta[1:] == -1)
    leaves = np.flatnonzero(leaf)
    edge = np.flatnonzero(number[1:] != number[:-1]) + 1  # text begins and ends with a bracket: begin, end, begin, …
    begin, end = edge[::2], edge[1::2]
    size = len(begin) // max(len(leaves), 1)
    if size not in (2, 3) or size * len(leaves) != len(begin) or commas != len(begin) - arrays:
        return None
    if not ((begin[::size] > at[leaves]).all() and (end[size - 1 :: size] <= at[leaves + 1]).all()):
        return None
    values = _numbers(data[number], end - begin)
    if values is None:
        return None
    return Positions(values.reshape(-1, size), delta, np.cumsum(delta, dtype=np.int32), leaf, np.cumsum(leaf) - leaf)


def _numbers(digits: Bytes, lengths: Ints) -> Numbers | None:
    offsets = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=offsets[1:])
    array = pa.Array.from_buffers(pa.string(), len(lengths), [None, pa.py_buffer(offsets), pa.py_buffer(digits)])
    try:
        values: Numbers = array.cast(pa.float64()).to_numpy(zero_copy_only=True)
    except pa.ArrowInvalid:
        return None
    return values
