"""The positions and times of a KML document, row by row: what LIBKML makes others of, or leaves out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from app.messages.message import MOST_SAMPLES
from app.messages.vector_formats import KML_COORDINATES, KML_TRACK_POSITION

_SHOWN = 40
_CONTAINERS = ("Document", "Folder")
_ROWS = ("Placemark", "GroundOverlay")
_SPACE = r"[ \t\r\n]"
_NUMBER = r"[+-]?(?:[0-9]++(?:\.[0-9]*+)?|\.[0-9]++)(?:[eE][+-]?[0-9]++)?+"
_HEIGHT = rf"(?:{_NUMBER}|[nN]a[nN])"
_POSITION = rf"{_NUMBER},{_NUMBER}(?:,{_HEIGHT})?+"
_POSITIONS = re.compile(rf"{_SPACE}*+(?:{_POSITION}(?:{_SPACE}++|\Z))*+")
_COMMA = re.compile(rf"{_SPACE}*,{_SPACE}*")
_ONE_POSITION = re.compile(_POSITION)
_WITH_HEIGHT = re.compile(f"{_NUMBER},{_NUMBER},{_HEIGHT}")
_TRIPLES = re.compile(rf"{_WITH_HEIGHT.pattern}(?:,{_WITH_HEIGHT.pattern})*+")
_NUMBERS = re.compile(rf"(?:{_SPACE}*+{_NUMBER})*+{_SPACE}*+")
_TRACK_POSITION = re.compile(rf"{_SPACE}*+{_NUMBER}{_SPACE}++{_NUMBER}(?:{_SPACE}++{_HEIGHT})?+{_SPACE}*+")
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})(?:(T[0-9]{2}:[0-9]{2}(?::[0-9]{2}(?:\.[0-9]+)?)?)(Z|[+-][0-9]{2}:[0-9]{2})?)?"
)


@dataclass(slots=True)
class Container:
    """A Document or Folder, which becomes a layer.

    Attributes:
        rows: number of its Placemarks.
        times: {timestamp, begin or end: {row: text}}.
        tracks, lost: samples and names of what its gx:Tracks have for each position besides coordinates; counted.
    """

    name: str | None = None
    rows: int = 0
    times: dict[str, dict[int, str]] = field(default_factory=dict)
    tracks: list[dict[str, Any]] = field(default_factory=list)
    track_count: int = 0
    lost: dict[str, None] = field(default_factory=dict)


@dataclass(slots=True)
class KmlRows:
    """Reads a document; its methods are handlers of the XML parser. Refuses positions that LIBKML would misread."""

    file: str
    containers: list[Container] = field(default_factory=lambda: [Container()])
    _inside: list[Container] = field(default_factory=list)
    _open: list[str] = field(default_factory=list)
    _text: list[str] | None = None
    _is_row: bool = False
    _moments: list[str] = field(default_factory=list)
    _lost: dict[str, None] = field(default_factory=dict)

    def start(self, name: str, attributes: Mapping[str, str]) -> None:
        local = name.rpartition(" ")[2]
        parent = self._open[-1] if self._open else ""
        self._open.append(local)
        if local in _CONTAINERS:
            self.containers.append(Container())
            self._inside.append(self.containers[-1])
        elif local in _ROWS and parent in (*_CONTAINERS, "kml"):
            self._is_row, self._moments, self._lost = True, [], {}
        elif local in ("coordinates", "coord", "when", "begin", "end") or (local == "name" and parent in _CONTAINERS):
            self._text = []
        elif local == "SimpleArrayData" and self._is_row:
            self._lost[repr(attributes.get("name", ""))] = None

    def text(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def end(self, _name: str) -> None:
        local = self._open.pop()
        parent = self._open[-1] if self._open else ""
        if local in _CONTAINERS:
            self._inside.pop()
        elif local in _ROWS and parent in (*_CONTAINERS, "kml"):
            self._end_row()
        elif self._text is not None:
            text, self._text = "".join(self._text), None
            if local == "name":
                self._container.name = text.strip()
            elif self._is_row:
                self._see(local, parent, text)

    @property
    def _container(self) -> Container:
        return self._inside[-1] if self._inside else self.containers[0]

    def _see(self, local: str, parent: str, text: str) -> None:
        if local == "coordinates":
            if (wrong := _misread(text)) is not None:
                raise KML_COORDINATES(file=self.file, row=self._container.rows, value=wrong[:_SHOWN])
        elif local == "coord":
            if not _TRACK_POSITION.fullmatch(text):
                raise KML_TRACK_POSITION(file=self.file, row=self._container.rows, value=text.strip()[:_SHOWN])
        elif parent == "Track":
            self._moments.append(text)
        elif parent in ("TimeStamp", "TimeSpan") and self._open[-2] in _ROWS:
            self._keep("timestamp" if local == "when" else local, text)

    def _keep(self, column: str, text: str) -> None:
        self._container.times.setdefault(column, {}).setdefault(self._container.rows, text.strip())

    def _end_row(self) -> None:
        within = self._container
        if self._moments:
            self._keep("begin", self._moments[0])
            self._keep("end", self._moments[-1])
        if len(self._moments) > 2:
            self._lost = {"the moments (`when`)": None, **self._lost}
        if self._lost:
            within.track_count += 1
            within.lost |= self._lost
            if len(within.tracks) < MOST_SAMPLES:
                within.tracks.append({"row": within.rows, "values": ", ".join(self._lost)})
        within.rows += 1
        self._is_row = False


def find_container(containers: list[Container], layer: str, rows: int | None) -> Container | None:
    """The container of a layer: the only one of its name, or of the number of its rows among those without a name."""
    named = [each for each in containers if each.name == layer and each.rows]
    if named:
        return named[0] if len(named) == 1 else None
    others = [each for each in containers if each.rows and each.rows == rows]
    return others[0] if len(others) == 1 else None


def is_time(text: str) -> bool:
    """Whether a text is a day, or a moment of it: years and months alone are not."""
    found = _TIME.fullmatch(text)
    try:
        return found is not None and bool(datetime.fromisoformat(found[1] + (found[2] or "")))
    except ValueError:
        return False


def _misread(text: str) -> str | None:
    """The part of a list of coordinates that LIBKML reads as other positions than are meant, or that is damaged.

    It reads blanks around commas, and lists of three numbers for each position however they are separated. Text
    of numbers and blanks alone becomes an empty geometry.
    """
    found = _POSITIONS.match(text)
    at = found.end() if found else 0
    if at == len(text) or _NUMBERS.fullmatch(text):
        return None
    tokens = text.split()
    stripped = [token.strip(",") for token in tokens]
    joined = _COMMA.sub(",", text).split()
    if all(map(_WITH_HEIGHT.fullmatch, stripped)) and not any(token.startswith(",") for token in tokens):
        return None
    if not all(map(_ONE_POSITION.fullmatch, stripped)) and all(
        _ONE_POSITION.fullmatch(token) or (len(joined) == 1 and _TRIPLES.fullmatch(token)) for token in joined
    ):
        return None
    return text[at:].strip()


def lost_of(containers: list[Container]) -> tuple[int, list[dict[str, Any]], list[str]]:
    """(count, samples, names) of what the gx:Tracks of some layers have besides coordinates."""
    samples = [sample for each in containers for sample in each.tracks]
    names = Counter(name for each in containers for name in each.lost)
    return sum(each.track_count for each in containers), samples[:MOST_SAMPLES], list(names)
