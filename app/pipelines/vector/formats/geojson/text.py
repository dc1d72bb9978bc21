"""Features parsed from JSON text, their coordinates left as text."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic_core import from_json

from app.messages.vector_formats import (
    JSON_COORDINATES,
    JSON_INVALID,
    JSON_ROW_ENCODING,
    JSON_ROW_INVALID,
    NOT_A_FEATURE,
)
from app.pipelines.vector.formats.files import shown
from app.pipelines.vector.formats.geojson.foreign import check_origin
from app.pipelines.vector.formats.geojson.scan import Brackets, count_colons, find_brackets, find_coordinates

Ints = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class JsonLayout:
    """Where the features of a text are. The text begins and ends with a feature.

    Attributes:
        starts, ends: positions of each feature.
        coordinates: (starts, ends) of the arrays of plain coordinates, -1 for a feature without one.
        depth: the largest number of brackets around anything.
        commas: whether a comma stands between every two features.
    """

    data: bytes
    starts: Ints
    ends: Ints
    coordinates: tuple[Ints, Ints]
    depth: int
    commas: bool

    def rest(self) -> bytes:
        """A JSON array of the features with empty arrays in place of the plain coordinates."""
        if not self.commas:
            return b"[" + b",".join(self.pieces()) + b"]"
        first, last = self.coordinates
        cut = first >= 0
        begins, stops = [0, *(last[cut] - 1).tolist()], [*(first[cut] + 1).tolist(), len(self.data)]
        kept = [self.data[begin:stop] for begin, stop in zip(begins, stops, strict=True)]
        return b"[" + b"".join(kept) + b"]"

    def pieces(self) -> list[bytes]:
        """The text of each feature with an empty array in place of plain coordinates."""
        spans = zip(*(each.tolist() for each in (self.starts, self.ends, *self.coordinates)), strict=True)
        return [
            self.data[start:end] if skip < 0 else self.data[start : skip + 1] + self.data[resume - 1 : end]
            for start, end, skip, resume in spans
        ]

    def coordinate_texts(self, rows: Ints) -> list[bytes]:
        """The arrays that were left out of these features."""
        spans = zip(self.coordinates[0][rows].tolist(), self.coordinates[1][rows].tolist(), strict=True)
        return [self.data[start:end] for start, end in spans]

    def geometry(self, row: int, file: str, first_row: int) -> dict[str, Any] | None:
        """The geometry of a feature with its coordinates. Raises RunRefused json_invalid."""
        try:
            found: dict[str, Any] | None = from_json(self.data[self.starts[row] : self.ends[row]]).get("geometry")
        except ValueError as err:
            raise JSON_COORDINATES(file=file, row=first_row + row, error=err) from None
        return found


@dataclass(frozen=True, slots=True)
class Features:
    """Some whole features as parsed from JSON, without their plain coordinates."""

    features: list[dict[str, Any]]
    properties: list[dict[str, Any]]
    geometries: list[dict[str, Any] | None]

    def ids(self) -> list[Any] | None:
        """The `id` of each feature; None where no feature has one."""
        found = [feature.get("id") for feature in self.features]
        return found if any(value is not None for value in found) else None

    def kinds(self) -> pa.Array:
        """The type of each geometry, null where there is none."""
        return pa.array([geometry["type"] if geometry else None for geometry in self.geometries], pa.string())


def lay_out(data: bytes, brackets: Brackets | None = None, *, commas: bool) -> JsonLayout:
    """Find the features of a text and their coordinates. brackets: those of the text, where they are known."""
    array = np.frombuffer(data, np.uint8)
    brackets = brackets or find_brackets(array)
    starts, ends, _ = brackets.features()
    depth = int(brackets.depth.max()) if len(brackets.depth) else 0
    return JsonLayout(data, starts, ends, find_coordinates(array, brackets, starts), depth, commas)


def repeated_members(layout: JsonLayout, text: Features) -> int:
    """How many members of objects are there once more, so that JSON takes the last one only."""
    return count_colons(np.frombuffer(layout.rest(), np.uint8)) - _count_members(text.features)


def _count_members(value: Any) -> int:
    """The members of all objects in a value."""
    if type(value) is dict:
        return len(value) + sum(_count_members(each) for each in value.values() if type(each) in (dict, list))
    return sum(_count_members(each) for each in value if type(each) in (dict, list))


def parse(layout: JsonLayout, file: str, first_row: int) -> Features:
    """Parse the features of a text. Raises RunRefused json_invalid, encoding_wrong, naming the row."""
    try:
        features = from_json(layout.rest(), allow_inf_nan=False)
        properties, geometries = _members(features)
    except (ValueError, KeyError, TypeError, AttributeError):
        _refuse_wrong_feature(layout.pieces(), file, first_row)
    return Features(features, properties, geometries)


def _members(features: list[Any]) -> tuple[list[dict[str, Any]], list[dict[str, Any] | None]]:
    """(properties, geometries) of features; raises where something is no feature."""
    if set(map(itemgetter("type"), features)) != {"Feature"}:
        raise ValueError
    properties = [feature.get("properties") for feature in features]
    geometries = [feature.get("geometry") for feature in features]
    if not set(map(type, properties)) <= {dict, type(None)} or not set(map(type, geometries)) <= {dict, type(None)}:
        raise TypeError
    if not all(type(geometry["type"]) is str for geometry in geometries if geometry is not None):
        raise TypeError
    return [{} if record is None else record for record in properties], geometries


def _refuse_wrong_feature(pieces: list[bytes], file: str, first_row: int) -> NoReturn:
    """Refuse the text with the first wrong feature: what it is instead, or whether bytes, JSON or members are wrong."""
    for row, text in enumerate(pieces, first_row):
        try:
            text.decode()
        except UnicodeDecodeError as wrong:
            near = text[max(0, wrong.start - 20) : wrong.start + 20]
            raise JSON_ROW_ENCODING(file=file, row=row, found=shown(near)) from None
        try:
            feature = from_json(text, allow_inf_nan=False)
        except ValueError as wrong:
            raise JSON_ROW_INVALID(file=file, row=row, error=wrong) from None
        if isinstance(feature, dict):
            check_origin(feature, file)
        try:
            _members([feature])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise NOT_A_FEATURE(file=file, row=row) from None
    raise JSON_INVALID(file=file, place=f"after row {first_row}", error="its features cannot be separated")
