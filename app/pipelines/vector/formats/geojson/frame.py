"""The outer structure of a GeoJSON file: its members beside the features, and where the features are."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from pyproj import CRS

from app.messages.vector_formats import (
    GEOJSON_CRS,
    JSON_AFTER_END,
    JSON_AFTER_FEATURES,
    JSON_BETWEEN_FEATURES,
    JSON_HEAD_TOO_LARGE,
    JSON_INVALID,
    JSON_TRUNCATED,
    NOT_A_COLLECTION,
    NOT_GEOJSON,
)
from app.pipelines.common.crs import parse_crs
from app.pipelines.vector.formats.files import shown
from app.pipelines.vector.formats.geojson.foreign import check_origin
from app.pipelines.vector.formats.geojson.scan import Brackets, find_brackets
from app.settings import MiB

BLOCK_BYTES = 2 * MiB
_MOST_AROUND = 64 * MiB
_SPACE = " \t\r\n"
_BLANK = _SPACE.encode()
_GEOMETRIES = {"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection"}
_decoder = json.JSONDecoder()


class _Incomplete(Exception):
    """The text ends before the document does."""


@dataclass(frozen=True, slots=True)
class Run:
    """Consecutive whole features: offset of the first in the file, their text, and its brackets where known."""

    offset: int
    data: bytes
    brackets: Brackets | None


@dataclass(slots=True)
class Frame:
    """A file of features.

    Attributes:
        begin: offset of the first byte after the `[` of `features`.
        sequence: the file is features one after the other, without a FeatureCollection around them.
        members: members of the FeatureCollection besides the features; complete once `runs` has run to its end.
        single: the text of the only feature, where the file is one feature or geometry.
    """

    path: Path
    file: str
    begin: int
    sequence: bool
    members: dict[str, Any] = field(default_factory=dict)
    single: bytes | None = None

    @property
    def name(self) -> str:
        """The layer: the `name` member, as GDAL writes it; else the file's stem."""
        name = self.members.get("name")
        return name if isinstance(name, str) else Path(self.file).stem

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the file; safe in any thread."""
        if self.single is not None:
            return self.single
        handle = os.open(self.path, os.O_RDONLY)
        try:
            parts = []
            while size > 0 and (part := os.pread(handle, size, offset)):
                parts.append(part)
                offset += len(part)
                size -= len(part)
            return b"".join(parts)
        finally:
            os.close(handle)

    def runs(self) -> Iterator[Run]:
        """Runs of whole features of about 2 MiB, in order. Raises RunRefused file_truncated, json_invalid."""
        if self.single is not None:
            yield Run(0, self.single, None)
            return
        offset, want, rows = self.begin, BLOCK_BYTES, 0
        size = self.path.stat().st_size
        while True:
            data = self.read(offset, want)
            brackets = find_brackets(np.frombuffer(data, np.uint8))
            starts, ends, closing = brackets.features()
            used = closing if closing is not None else int(ends[-1]) if len(ends) else 0
            self._check_between(data[:used], starts, ends, offset, rows == 0)
            if len(ends):
                yield Run(offset + int(starts[0]), data[starts[0] : ends[-1]], brackets.between(starts[0], ends[-1]))
            rows += len(ends)
            if closing is not None:
                self._finish(offset + closing)
                return
            if offset + len(data) >= size:
                self._end_of_sequence(data[used:], offset + used, rows)
                return
            want = BLOCK_BYTES if used else want * 2
            offset += used

    def crs(self) -> CRS | None:
        """CRS84 by RFC 7946, or that of a `crs` member (None for null, which means unknown).

        Coordinates are x before y in any case.
        """
        if self.sequence or "crs" not in self.members:
            return CRS.from_user_input("OGC:CRS84")
        crs = self.members["crs"]
        if crs is None:
            return None
        try:
            if crs["type"].lower() == "name":
                return parse_crs(str(crs["properties"]["name"]), self.file, "in its `crs` member")
            if crs["type"].lower() == "epsg":
                return parse_crs(f"EPSG:{crs['properties']['code']}", self.file, "in its `crs` member")
        except (TypeError, KeyError, AttributeError):
            pass
        raise GEOJSON_CRS(file=self.file, found=json.dumps(crs)[:200])

    def _check_between(self, data: bytes, starts: Any, ends: Any, offset: int, first: bool) -> None:
        """Between features there must be one comma, in a sequence white space or a record separator."""
        gaps = {data[a:b] for a, b in zip(ends[:-1].tolist(), starts[1:].tolist(), strict=True)}
        head = data[: starts[0]] if len(starts) else data
        tail = data[ends[-1] :] if len(ends) else b""
        blank = _BLANK + b"\x1e" if self.sequence else _BLANK
        wanted = b"" if self.sequence else b","
        wrong = [gap for gap in gaps if gap.strip(blank) != wanted]
        if head.strip(blank) != (b"" if first or not len(starts) else wanted):
            wrong.append(head)
        if tail.strip(blank):
            wrong.append(tail)
        if wrong:
            raise JSON_BETWEEN_FEATURES(file=self.file, found=shown(wrong[0]), at=offset)

    def _end_of_sequence(self, rest: bytes, offset: int, rows: int) -> None:
        text = rest.strip(_BLANK + b"\x1e\x00" if self.sequence else _BLANK)
        if self.sequence and not text:
            return
        if not self.sequence or text.startswith(b"{"):
            raise JSON_TRUNCATED(file=self.file, found=f"it ends inside row {rows}")
        raise JSON_AFTER_FEATURES(file=self.file, found=shown(text), at=offset)

    def _finish(self, closing: int) -> None:
        """Read the members behind the features."""
        text = self.read(closing + 1, _MOST_AROUND).decode("latin-1")
        try:
            _, at = _members(text, 0, self.members, opened=True)
        except _Incomplete:
            raise JSON_TRUNCATED(file=self.file, found="its last bracket is missing") from None
        except ValueError as err:
            raise JSON_INVALID(file=self.file, place="after its features", error=err) from None
        if text[at:].strip(_SPACE + "\x00"):
            raise JSON_AFTER_END(file=self.file, found=repr(text[at : at + 40]))
        kind = self.members.get("type")
        if kind != "FeatureCollection":
            raise NOT_A_COLLECTION(file=self.file, found=json.dumps(kind)[:80])


def open_frame(path: Path, fmt: str, file: str) -> Frame:
    """Read up to the first feature.

    Args:
        path: the file, in UTF-8.
        fmt: name of the format that the manifest declares.
        file: the landing key, for messages.

    Raises:
        RunRefused: content_mismatch, file_truncated, json_invalid.
    """
    with path.open("rb") as stream:
        bom = 3 if stream.read(3) == b"\xef\xbb\xbf" else 0
    frame = Frame(path, file, bom, fmt == "GeoJSONSeq")
    if frame.sequence:
        return frame
    text, is_collection, at = _head(frame, path.stat().st_size)
    check_origin(frame.members, file)
    if is_collection:
        frame.begin = bom + at
        return frame
    if text[at:].strip(_SPACE + "\x00"):
        raise JSON_AFTER_END(file=file, found=repr(text[at : at + 40]))
    kind = frame.members.get("type")
    raw = text[:at].encode("latin-1")
    if kind == "Feature":
        frame.single = raw
    elif kind in _GEOMETRIES:
        frame.single = b'{"type":"Feature","properties":{},"geometry":' + raw + b"}"
    else:
        raise NOT_GEOJSON(file=file, found=json.dumps(kind)[:80])
    frame.members.pop("name", None)
    return frame


def _head(frame: Frame, size: int) -> tuple[str, bool, int]:
    """(the beginning of the file, whether features follow, where they begin).

    The members before the features are added to the frame.
    """
    want = 64 * 1024
    while True:
        # latin-1: one character for each byte, so positions in the text are positions in the file
        text = frame.read(frame.begin, want).decode("latin-1")
        frame.members.clear()
        try:
            return text, *_members(text, 0, frame.members)
        except _Incomplete:
            if frame.begin + len(text) >= size:
                raise JSON_TRUNCATED(file=frame.file, found=f"it ends after {size} bytes inside a value") from None
            if want >= _MOST_AROUND:
                raise JSON_HEAD_TOO_LARGE(file=frame.file, limit=_MOST_AROUND) from None
            want *= 4
        except ValueError as err:
            raise JSON_INVALID(file=frame.file, place="before its features", error=err) from None


def _members(text: str, at: int, members: dict[str, Any], opened: bool = False) -> tuple[bool, int]:
    """Read the members of the top-level object into `members`, up to `"features": [` or to its end.

    Returns (whether features follow, position after that). Raises _Incomplete at the end of the text, ValueError.
    """
    at = _skip(text, at)
    if not opened:
        if text[at] != "{":
            raise ValueError(f"found {text[at : at + 20]!r} where an object should begin")
        at = _skip(text, at + 1)
        if text[at] == "}":
            return False, at + 1
    while True:
        if opened:
            if text[at] == "}":
                return False, at + 1
            if text[at] != ",":
                raise ValueError(f"found {text[at : at + 20]!r} where a comma should be")
            at = _skip(text, at + 1)
        opened = True
        key, at = _value(text, at)
        at = _skip(text, at)
        if not isinstance(key, str) or text[at] != ":":
            raise ValueError(f"found {text[at : at + 20]!r} where a name and a colon should be")
        at = _skip(text, at + 1)
        if key == "features" and text[at] == "[":
            return True, at + 1
        value, at = _value(text, at)
        members[key] = _utf8(value)
        at = _skip(text, at)


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in _SPACE:
        at += 1
    if at == len(text):
        raise _Incomplete
    return at


def _value(text: str, at: int) -> tuple[Any, int]:
    try:
        value, end = _decoder.raw_decode(text, at)
    except json.JSONDecodeError as err:
        # A value cut short fails at the end of the text, a string where it begins.
        if err.pos >= len(text) - 8 or err.msg.startswith("Unterminated string"):
            raise _Incomplete from None
        raise ValueError(str(err)) from None
    except ValueError:
        raise ValueError("an integer has too many digits") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if end == len(text) and not isinstance(value, str | dict | list):
        raise _Incomplete
    return value, end


def _utf8(value: Any) -> Any:
    """The value with its strings decoded as what they are, UTF-8."""
    if isinstance(value, str):
        try:
            return value.encode("latin-1").decode()
        except UnicodeError:
            return value  # had \u escapes, or is not UTF-8: only names and CRS are read from here
    if isinstance(value, dict):
        return {_utf8(name): _utf8(item) for name, item in value.items()}
    return value
