"""Reads the columns of a table that say where its rows lie: x and y as numbers, or geometries as WKT or WKB.

A value that cannot be read is named with the reason; null and empty text are no geometry.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import shapely
from pyproj import CRS
from pyproj.exceptions import CRSError

from app.messages.vector import GEOMETRY_SRID
from app.pipelines.common.crs import crs_name, same_crs
from app.pipelines.common.surfaces import POLYHEDRAL, TIN, TRIANGLE, as_polygons
from app.pipelines.common.wkb_depth import MOST_LEVELS, is_too_deep
from app.pipelines.ingest.why_no_number import shortened, why_no_number
from app.pipelines.tabular.declared_types import convert_declared
from app.pipelines.tabular.notation import PLAIN, Notation

Reasons = dict[int, str]
_SRID = re.compile(r"\s*SRID\s*=\s*(\d{1,10})\s*;", re.IGNORECASE)
_CURVES = re.compile(r"CIRCULARSTRING|COMPOUNDCURVE|CURVEPOLYGON|MULTICURVE|MULTISURFACE", re.IGNORECASE)
_SURFACES = re.compile(r"\s*(TIN|TRIANGLE|POLYHEDRALSURFACE)\b", re.IGNORECASE)
_CURVE_TYPES = range(8, 15)
# {word of WKT: (its type in WKB, the word with the same text behind it)}
_SURFACE_TYPES = {
    "TIN": (TIN, "MULTIPOLYGON"),
    "POLYHEDRALSURFACE": (POLYHEDRAL, "MULTIPOLYGON"),
    "TRIANGLE": (TRIANGLE, "POLYGON"),
}
_HEX = re.compile(r"(?:\\x|0x)?((?:[0-9a-f]{2})+)", re.IGNORECASE)
_CURVED = "is curved, which tables cannot have; convert it to lines, for example with ST_CurveToLine"
_TOO_DEEP = f"has more than {MOST_LEVELS} nested collections"
_NOT_FINITE = "has coordinates that are not finite numbers"


def is_number_type(kind: pa.DataType) -> bool:
    """Whether a column of this type can have coordinates: numbers, text, or nulls only."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    asked = (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_null)
    return _is_text(kind) or any(ask(kind) for ask in asked)


def is_text_type(kind: pa.DataType) -> bool:
    """Whether a column of this type can have WKT: text, or nulls only."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return _is_text(kind) or bool(pa.types.is_null(kind))


def is_geometry_type(kind: pa.DataType) -> bool:
    """Whether a column of this type can have WKB: bytes, text, or nulls only."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    asked = (pa.types.is_binary, pa.types.is_large_binary, pa.types.is_binary_view)
    return is_text_type(kind) or any(ask(kind) for ask in asked)


def numbers(array: pa.Array, notation: Notation) -> tuple[pa.Array, npt.NDArray[np.bool_]]:
    """(coordinates as float64, mask of the values that are no finite numbers and null among them).

    Args:
        array: of a type for which `is_number_type` is true.
        notation: how text writes numbers.
    """
    array = _plain(array)
    if pa.types.is_decimal(array.type):
        array = array.cast(pa.string())  # nearest double, which the cast of a decimal is not always
        notation = PLAIN
    if _is_text(array.type):
        made, misfits = convert_declared(_texts(array), pa.float64(), notation)
        wrong = np.zeros(len(array), np.bool_) if misfits is None else misfits
    else:
        made, wrong = pc.cast(array, pa.float64(), safe=False), np.zeros(len(array), np.bool_)
    wrong |= ~pc.fill_null(pc.is_finite(made), True).to_numpy(zero_copy_only=False)
    return (pc.if_else(pa.array(~wrong), made, None) if wrong.any() else made), wrong


@dataclass(frozen=True, slots=True)
class NumberColumn:
    """Checks the values of x or y, which stay as they are. See ColumnReader.

    Attributes:
        name: of the column, for messages.
        has_notation: whether files[].options of the format have `decimal` and `thousands`.
    """

    name: str
    has_notation: bool
    type: None = None

    def read(self, array: pa.Array, notation: Notation) -> tuple[pa.Array, Mapping[int, str]]:
        _, wrong = numbers(array, notation)
        reasons = {}
        for row in map(int, np.flatnonzero(wrong)):
            why = why_no_number(str(array[row].as_py()).strip(), notation, has_notation=self.has_notation)
            reasons[row] = f"column {self.name!r}: {why}"
        return array, reasons


@dataclass(frozen=True, slots=True)
class GeometryColumn:
    """Converts a column of WKT or WKB to WKB. See ColumnReader.

    Attributes:
        name: of the column, for messages.
        file: the key of the source, for messages.
        crs: that files[].options.geometry declares; an SRID in a value has to be the same.
        decode: makes (WKB of each value, {row: why it cannot be read}, SRIDs) of values that are not empty.
    """

    name: str
    file: str
    crs: CRS
    decode: Callable[[npt.NDArray[np.object_]], tuple[npt.NDArray[np.object_], Reasons, npt.NDArray[np.int64]]]

    @property
    def type(self) -> pa.DataType:
        return pa.binary()

    def read(self, array: pa.Array, _notation: Notation) -> tuple[pa.Array, Mapping[int, str]]:
        """Raises RunRefused: crs_conflict."""
        array = _plain(array)
        if pa.types.is_null(array.type):
            return array.cast(pa.binary()), {}
        values = _texts(array) if _is_text(array.type) else pc.if_else(pc.equal(array, b""), None, array)
        given = np.flatnonzero(values.is_valid().to_numpy(zero_copy_only=False))
        found = values.to_numpy(zero_copy_only=False)[given]
        made: npt.NDArray[np.object_] = np.full(len(values), None, object)
        made[given], reasons, srids = self.decode(found)
        for srid in np.unique(srids[srids > 0]):
            if not _is_srid_of(int(srid), self.crs):
                value = _shown(found[int(np.flatnonzero(srids == srid)[0])])
                raise GEOMETRY_SRID(
                    file=self.file, column=self.name, srid=int(srid), value=value, crs=crs_name(self.crs)
                )
        named = {int(given[row]): f"column {self.name!r}: {why}" for row, why in reasons.items()}
        return pa.array(made, pa.binary()), named


def decode_wkt(values: npt.NDArray[np.object_]) -> tuple[npt.NDArray[np.object_], Reasons, npt.NDArray[np.int64]]:
    """ISO WKB of WKT and EWKT; Z and M are kept, surfaces stay surfaces."""
    texts: npt.NDArray[np.object_] = values.copy()
    reasons: Reasons = {}
    srids = np.zeros(len(texts), np.int64)
    kinds: dict[int, int] = {}
    for row, text in enumerate(texts):
        if (prefix := _SRID.match(text)) is not None:
            srids[row], texts[row] = int(prefix[1]), text[prefix.end() :]
        if (why := _why_unread(texts[row])) is not None:
            reasons[row], texts[row] = f"{shortened(text)} {why}", None
        elif (surface := _SURFACES.match(texts[row])) is not None:
            kinds[row], words = _SURFACE_TYPES[surface[1].upper()]
            texts[row] = words + texts[row][surface.end() :]
    geometries = _from_wkt(texts, "ignore")
    for row in map(int, np.flatnonzero(shapely.is_missing(geometries))):
        if row not in reasons:
            reasons[row] = f"{shortened(values[row])} {_why_no_wkt(texts[row])}"
    made = _written(geometries, reasons)
    for row, kind in kinds.items():
        made[row] = made[row] and _with_type(made[row], kind)
    return made, reasons, srids


def decode_wkb(values: npt.NDArray[np.object_]) -> tuple[npt.NDArray[np.object_], Reasons, npt.NDArray[np.int64]]:
    """The same WKB or EWKB as bytes, of bytes or of hexadecimal digits; Z and M are kept, open rings stay open."""
    raw: npt.NDArray[np.object_] = values.copy()
    reasons: Reasons = {}
    for row, value in enumerate(raw):
        found = value if isinstance(value, bytes) else _from_hex(value)
        why = "is not WKB in hexadecimal digits" if found is None else _why_no_wkb(found)
        raw[row] = None if why else found
        if why:
            reasons[row] = f"{_shown(value)} {why}"
    plain: npt.NDArray[np.object_] = np.array([each and (as_polygons(each) or each) for each in raw], object)
    geometries = shapely.from_wkb(plain, on_invalid="ignore")
    lost = shapely.is_missing(geometries)
    geometries[lost] = shapely.from_wkb(plain[lost], on_invalid="fix")
    for row in map(int, np.flatnonzero(shapely.is_missing(geometries))):
        reasons.setdefault(row, f"{_shown(values[row])} is not WKB")
    for row in map(int, np.flatnonzero(shapely.get_type_id(geometries) == shapely.GeometryType.GEOMETRYCOLLECTION)):
        if _CURVES.search(shapely.to_wkt(geometries[row])):
            reasons[row], geometries[row] = f"{_shown(values[row])} {_CURVED}", None
    srids = np.maximum(shapely.get_srid(geometries), 0).astype(np.int64)
    for row in _not_finite(geometries):
        reasons[row] = f"{_shown(values[row])} {_NOT_FINITE}"
    raw[list(reasons)] = None
    return raw, reasons, srids


def _written(geometries: npt.NDArray[np.object_], reasons: Reasons) -> npt.NDArray[np.object_]:
    """ISO WKB; adds to `reasons` what has coordinates that are not finite."""
    for row in _not_finite(geometries):
        reasons[row] = f"{shortened(shapely.to_wkt(geometries[row]))} {_NOT_FINITE}"
        geometries[row] = None
    made: npt.NDArray[np.object_] = shapely.to_wkb(geometries, flavor="iso")
    return made


def _not_finite(geometries: npt.NDArray[np.object_]) -> list[int]:
    coordinates, rows = shapely.get_coordinates(geometries, return_index=True)
    return [int(row) for row in np.unique(rows[~np.isfinite(coordinates).all(axis=1)])]


def _from_wkt(texts: npt.NDArray[np.object_], on_invalid: Any) -> npt.NDArray[np.object_]:
    with np.errstate(over="ignore"):  # 1e400 is refused as not finite
        made: npt.NDArray[np.object_] = shapely.from_wkt(texts, on_invalid=on_invalid)
    return made


def _why_unread(text: str) -> str | None:
    """Why a text must not reach GEOS: it ends the process at deep nesting, and fails for all rows at curves."""
    if text.count("(") > MOST_LEVELS and _depth(text) > MOST_LEVELS:
        return _TOO_DEEP
    if _CURVES.search(text):
        return _CURVED
    return None


def _with_type(wkb: bytes, kind: int) -> bytes:
    """ISO WKB in little-endian order with another type of the same dimensions."""
    (code,) = struct.unpack_from("<I", wkb, 1)
    return wkb[:1] + struct.pack("<I", code - code % 1000 + kind) + wkb[5:]


def _depth(text: str) -> int:
    raw = np.frombuffer(text.encode("utf-8", "replace"), np.uint8)
    return int((np.cumsum(raw == ord("("), dtype=np.int64) - np.cumsum(raw == ord(")"), dtype=np.int64)).max())


def _why_no_wkt(text: str) -> str:
    if not shapely.is_missing(_from_wkt(np.array([text], object), "fix"))[0]:
        return "has a ring that does not end where it begins, or a line of one point"
    if _HEX.fullmatch(text.strip()):
        return 'looks like WKB; name the column as "wkb" in files[].options.geometry'
    if text.lstrip().startswith("{"):
        return "looks like GeoJSON, which is not read from columns; convert it to WKT"
    return "is not WKT"


def _why_no_wkb(wkb: bytes) -> str | None:
    if is_too_deep(wkb):
        return _TOO_DEEP
    kind = (int.from_bytes(wkb[1:5], "little" if wkb[:1] == b"\x01" else "big") & 0x0FFFFFFF) % 1000
    return _CURVED if kind in _CURVE_TYPES else None


def _from_hex(text: str) -> bytes | None:
    found = _HEX.fullmatch(text)
    return bytes.fromhex(found[1]) if found else None


def _shown(value: bytes | str) -> str:
    return shortened(value.hex() if isinstance(value, bytes) else value)


def _is_srid_of(srid: int, crs: CRS) -> bool:
    code = crs.to_authority(min_confidence=70)
    if code is not None and code[1] == str(srid):
        return True
    try:
        return same_crs(CRS.from_epsg(srid), crs)
    except CRSError:
        return False


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind))


def _plain(array: pa.Array) -> pa.Array:
    """Dictionaries as their values, large and view types as the usual ones."""
    if pa.types.is_dictionary(array.type):
        array = array.cast(array.type.value_type)
    if _is_text(array.type):
        return array.cast(pa.string())
    if pa.types.is_large_binary(array.type) or pa.types.is_binary_view(array.type):
        return array.cast(pa.binary())
    return array


def _texts(array: pa.Array) -> pa.Array:
    """Text without blanks around it; null for empty text."""
    trimmed = pc.utf8_trim_whitespace(array)
    return pc.if_else(pc.equal(trimmed, ""), None, trimmed)
