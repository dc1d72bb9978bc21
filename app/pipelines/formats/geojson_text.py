"""Features parsed from JSON text, their coordinates left as text."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic_core import from_json

from app.errors import RunRefused
from app.pipelines.formats.geojson_scan import Brackets, find_brackets, find_coordinates

Ints = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the features of a text are that begins and ends with one.

    starts, ends: of each feature; coordinates: (starts, ends) of the arrays that are plain coordinates, -1 where there
    are none; depth: the most brackets around anything; commas: whether one stands between every two features.
    """

    data: bytes
    starts: Ints
    ends: Ints
    coordinates: tuple[Ints, Ints]
    depth: int
    commas: bool

    def rest(self) -> bytes:
        """A JSON array of the features, those coordinates left out: their arrays are empty."""
        if not self.commas:
            return b"[" + b",".join(self.pieces()) + b"]"
        first, last = self.coordinates
        cut = first >= 0
        begins, stops = [0, *(last[cut] - 1).tolist()], [*(first[cut] + 1).tolist(), len(self.data)]
        kept = [self.data[begin:stop] for begin, stop in zip(begins, stops, strict=True)]
        return b"[" + b"".join(kept) + b"]"

    def pieces(self) -> list[bytes]:
        """The text of each feature, coordinates left out."""
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
        """The geometry of a feature, coordinates and all. Raises RunRefused json_invalid."""
        try:
            found: dict[str, Any] | None = from_json(self.data[self.starts[row] : self.ends[row]]).get("geometry")
        except ValueError as err:
            _refuse(
                file, "json_invalid", f"row {first_row + row} has coordinates that are no JSON ({err})", "Correct it."
            )
        return found


@dataclass(frozen=True, slots=True)
class Features:
    """Some whole features as JSON has them, but for the coordinates that were left out."""

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


def lay_out(data: bytes, brackets: Brackets | None = None, *, commas: bool) -> Layout:
    array = np.frombuffer(data, np.uint8)
    brackets = brackets or find_brackets(array)
    starts, ends, _ = brackets.features()
    depth = int(brackets.depth.max()) if len(brackets.depth) else 0
    return Layout(data, starts, ends, find_coordinates(array, brackets, starts), depth, commas)


def parse(layout: Layout, file: str, first_row: int) -> Features:
    """Raises RunRefused json_invalid, encoding_wrong with the row."""
    try:
        features = from_json(layout.rest(), allow_inf_nan=False)
        properties, geometries = _members(features)
    except (ValueError, KeyError, TypeError, AttributeError):
        _blame(layout.pieces(), file, first_row)
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


def _blame(pieces: list[bytes], file: str, first_row: int) -> NoReturn:
    """Find the feature that is wrong and say whether its bytes, its JSON or its members are."""
    for row, text in enumerate(pieces, first_row):
        try:
            text.decode()
        except UnicodeDecodeError as wrong:
            near = text[max(0, wrong.start - 20) : wrong.start + 20]
            fix = "Give the real encoding in options.encoding, for example CP1252, or save the file as UTF-8."
            _refuse(file, "encoding_wrong", f"row {row} is not UTF-8 at {near!r}", fix)
        try:
            feature = from_json(text, allow_inf_nan=False)
        except ValueError as wrong:
            _refuse(file, "json_invalid", f"row {row} is no valid JSON ({wrong})", "Correct it.")
        try:
            _members([feature])
        except (ValueError, KeyError, TypeError, AttributeError):
            _refuse(file, "json_invalid", f"row {row} is no GeoJSON feature", "Correct or remove it.")
    _refuse(file, "json_invalid", f"is no valid JSON after row {first_row}", "Correct it.")


def _refuse(file: str, reason: str, found: str, fix: str) -> NoReturn:
    raise RunRefused(f"{file}: {found}.", fix, reason=reason, file=file)
