"""Features parsed from JSON text, their coordinates left as text."""

from __future__ import annotations

from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt
from pydantic_core import from_json

from app.errors import RunRefused
from app.pipelines.formats.geojson_scan import Brackets, find_brackets, find_coordinates

Ints = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Features:
    """Some whole features. features, properties, geometries: as JSON has them, but for the cut-out coordinates.

    starts, ends: of each feature in `data`; coordinates: (starts, ends) of the arrays cut out, -1 where there is none.
    """

    data: bytes
    starts: Ints
    ends: Ints
    coordinates: tuple[Ints, Ints]
    features: list[dict[str, Any]]
    properties: list[dict[str, Any]]
    geometries: list[dict[str, Any] | None]

    def ids(self) -> list[Any] | None:
        """The `id` of each feature; None where no feature has one."""
        found = [feature.get("id") for feature in self.features]
        return found if any(value is not None for value in found) else None

    def coordinate_texts(self, rows: Ints) -> list[bytes]:
        """The arrays that were cut out of these features."""
        spans = zip(self.coordinates[0][rows].tolist(), self.coordinates[1][rows].tolist(), strict=True)
        return [self.data[start:end] for start, end in spans]

    def geometry_of(self, row: int, file: str, first_row: int) -> dict[str, Any] | None:
        """The geometry with its coordinates, all parsed. Raises RunRefused json_invalid."""
        geometry = self.geometries[row]
        if geometry is None or self.coordinates[0][row] < 0:
            return geometry
        try:
            found = from_json(self.data[self.coordinates[0][row] : self.coordinates[1][row]])
        except ValueError as err:
            _refuse(
                file, "json_invalid", f"row {first_row + row} has coordinates that are no JSON ({err})", "Correct it."
            )
        return {**geometry, "coordinates": found}


def parse(data: bytes, file: str, first_row: int, brackets: Brackets | None = None) -> Features:
    """Parse text that begins and ends with a feature. Raises RunRefused json_invalid, encoding_wrong with the row."""
    array = np.frombuffer(data, np.uint8)
    brackets = brackets or find_brackets(array)
    starts, ends, _ = brackets.features()
    first, last = find_coordinates(array, brackets, starts)
    pieces = []
    for start, end, skip, resume in zip(starts.tolist(), ends.tolist(), first.tolist(), last.tolist(), strict=True):
        if skip < 0:
            pieces.append(data[start:end])
        else:
            pieces += (data[start : skip + 1] + data[resume - 1 : end],)
    try:
        features = from_json(b"[" + b",".join(pieces) + b"]", allow_inf_nan=False)
        properties, geometries = _members(features)
    except (ValueError, KeyError, TypeError, AttributeError):
        _blame(pieces, file, first_row)
    return Features(data, starts, ends, (first, last), features, properties, geometries)


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
