"""KML, and what GDAL's LIBKML driver would lose or mix up: found by reading the XML as a stream before GDAL does."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from app.messages.vector import TIMES_AS_TEXT
from app.messages.vector_formats import (
    KML_NAME_TWICE,
    KML_SAME_COLUMN,
    KML_TIME,
    KML_UNDECLARED,
    KML_VALUE,
    TRACK_VALUES_DROPPED,
)
from app.pipelines.vector.formats.files import neutral_copy
from app.pipelines.vector.formats.kml_rows import Container, KmlRows, find_container, is_time, lost_of
from app.pipelines.vector.formats.layer import Layer, OpenOptions
from app.pipelines.vector.formats.ogr import layer_source, list_layers, open_layers
from app.pipelines.vector.formats.reader import SourceFile
from app.pipelines.vector.formats.xml import check_xml, parse_xml
from app.pipelines.vector.source import VectorSource

__all__ = ["check_content", "list_layers", "open_sources"]

_NAMESPACES = ("http://www.opengis.net/kml/", "http://earth.google.com/kml/")
_SHOWN = 40
# The fields that LIBKML gives every layer, or layers with such elements.
_FIELDS = frozenset(
    (
        *("id", "name", "description", "timestamp", "begin", "end", "altitudemode", "tessellate", "extrude"),
        *("visibility", "draworder", "icon", "snippet"),
    )
)
_BOOLEANS = ("true", "false", "1", "0", "yes", "no")
_INTEGERS = {
    "int": (-(2**31), 2**31 - 1),
    "short": (-(2**31), 2**31 - 1),
    "ushort": (-(2**31), 2**31 - 1),
    "uint": (-(2**63), 2**63 - 1),
}


def check_content(source: SourceFile, head: bytes) -> None:
    """See VectorFormat: well-formed XML with the root element `kml`, without a DOCTYPE."""
    check_xml(source, head, lambda root, _namespaces: _is_root(root))


def _is_root(name: str) -> bool:
    return name.rpartition(" ")[2] == "kml" and (" " not in name or name.startswith(_NAMESPACES))


def open_sources(source: SourceFile) -> list[VectorSource]:
    """See VectorFormat.

    Raises:
        RunRefused: columns_duplicate, value_invalid, geometry_damaged.
    """
    path = neutral_copy(source.path, source.format.suffixes[0])
    layers = open_layers(path, source, OpenOptions(times_proven=True))
    scan, rows = _KmlScan(source.file), KmlRows(source.file)

    def start(name: str, attributes: dict[str, str]) -> None:
        scan.start_field(name, attributes)  # a Schema may follow its data
        rows.start(name, attributes)

    parse_xml(path, start, rows.end, rows.text)
    parse_xml(path, scan.start, scan.end, scan.text)
    found = [find_container(rows.containers, layer.name, layer.rows) for layer in layers]
    layers = [_with_times(layer, each, rows, source.file) for layer, each in zip(layers, found, strict=True)]
    count, samples, names = lost_of([each for each in found if each is not None] if all(found) else rows.containers)
    if count:
        warning = TRACK_VALUES_DROPPED(file=source.file, count=count, samples=samples, names=", ".join(names))
        layers[0] = replace(layers[0], warnings=(*layers[0].warnings, warning))
    return [layer_source(source, replace(layer, fields=_original_fields(scan, layer))) for layer in layers]


def _with_times(layer: Layer, found: Container | None, rows: KmlRows, file: str) -> Layer:
    """The layer with times as text, as in the document, where one of the column is not a day or a moment.

    LIBKML makes the first of a month of a month, and null of a year. Raises RunRefused value_invalid where such a time
    is in a document of which the rows cannot be found.
    """
    if found is None:
        for each in rows.containers:
            for sample in _no_times(each):
                raise KML_TIME(file=file, **sample)
        return layer
    places = {i: field.name for i, field in enumerate(layer.fields) if field.name in layer.times}
    odd = [sample for sample in _no_times(found) if sample["column"] in places.values()]
    columns = {sample["column"] for sample in odd}
    columns |= {name for name in places.values() if layer.times[name] == pa.string()}
    texts = {i: found.times[name] for i, name in places.items() if name in columns and name in found.times}
    if not texts:
        return layer

    def correct(attributes: tuple[pa.Array, ...], first_row: int) -> tuple[pa.Array, ...]:
        real = list(attributes)
        for i, values in texts.items():
            numbers = range(first_row, first_row + len(real[i]))
            real[i] = pa.array([values.get(row) or None for row in numbers], pa.string())
        return tuple(real)

    fields = [field.with_type(pa.string()) if i in texts else field for i, field in enumerate(layer.fields)]
    warnings = layer.warnings
    if odd:
        names = ", ".join(repr(name) for name in dict.fromkeys(sample["column"] for sample in odd))
        warnings += (TIMES_AS_TEXT(file=file, columns=names, count=len(odd), samples=odd),)
    times = {**layer.times, **{places[i]: pa.string() for i in texts}}
    return replace(layer, fields=pa.schema(fields), times=times, correct=correct, warnings=warnings)


def _no_times(container: Container) -> Iterator[dict[str, Any]]:
    """{column, row, value} of each time that is no day or moment."""
    for column, texts in container.times.items():
        for row, text in texts.items():
            if text and not is_time(text):
                yield {"column": column, "row": row, "value": text[:_SHOWN]}


def _original_fields(scan: _KmlScan, layer: Layer) -> pa.Schema:
    """The fields with the names of the document: LIBKML makes `_` of what is not an ASCII letter or digit.

    Raises RunRefused columns_duplicate where that makes one column of two.
    """
    file, fields = scan.file, layer.fields.names
    names = scan.data.get(layer.name, scan.data[None])
    made: dict[str, str] = {name.lower(): f"SimpleField {name!r}" for name in scan.types}
    original: dict[str, str] = {}
    for name in names:
        laundered = re.sub(rb"[^A-Za-z0-9_]", b"_", name.encode()).decode()
        key = laundered.lower()
        doubled = f"{laundered}2" in fields and f"{laundered}2" not in names
        other = made.get(key) or made.get(name.lower())
        other = other or (f"the field {laundered!r} of the Placemark" if key in _FIELDS or doubled else None)
        if other:
            raise KML_SAME_COLUMN(file=file, name=name, other=other)
        made[key] = f"Data {name!r}"
        original[laundered] = name
    return pa.schema([field.with_name(original.get(field.name, field.name)) for field in layer.fields])


@dataclass(slots=True)
class _KmlScan:
    """What stands in a document; its methods are handlers of the XML parser.

    Attributes:
        data: the names of Data, by the names of the containers around them; under None all of them.
        types: of each SimpleField.
    """

    file: str
    data: dict[str | None, dict[str, None]] = field(default_factory=lambda: defaultdict(dict))
    types: dict[str, str] = field(default_factory=dict)
    _lower: dict[str, str] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _containers: list[str | None] = field(default_factory=lambda: [None])
    _in_placemark: set[str] = field(default_factory=set)
    _value: str | None = None
    _text: list[str] | None = None

    def start_field(self, name: str, attributes: dict[str, str]) -> None:
        if name.rpartition(" ")[2] == "SimpleField" and "name" in attributes:
            found = attributes["name"]
            other = self._lower.setdefault(found.lower(), found)
            if other != found:
                raise KML_NAME_TWICE(file=self.file, element="SimpleField", name=found)
            self.types[found] = attributes.get("type", "string")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        local = name.rpartition(" ")[2]
        parent = self._open[-1] if self._open else ""
        self._open.append(local)
        if local in ("Folder", "Document"):
            self._containers.append(None)
        elif local == "Placemark":
            self._in_placemark = set()
        elif local == "name" and parent in ("Folder", "Document"):
            self._text = []
        elif local == "SimpleData" and "name" in attributes:
            self._value, self._text = attributes["name"], []
            self._once("SimpleData", self._value)
        elif local == "Data" and parent == "ExtendedData" and "name" in attributes:
            self._once("Data", attributes["name"])
            for container in self._containers:
                self.data[container][attributes["name"]] = None

    def text(self, data: str) -> None:
        if self._text is not None:
            self._text.append(data)

    def end(self, _name: str) -> None:
        local = self._open.pop()
        if local in ("Folder", "Document"):
            self._containers.pop()
        elif local == "SimpleData" and self._value is not None:
            self._check(self._value, "".join(self._text or ()))
            self._value = self._text = None
        elif local == "name" and self._text is not None:
            self._containers[-1] = "".join(self._text).strip()
            self._text = None

    def _once(self, element: str, name: str) -> None:
        if name in self._in_placemark:
            raise KML_NAME_TWICE(file=self.file, element=element, name=name)
        self._in_placemark.add(name)

    def _check(self, name: str, text: str) -> None:
        kind = self.types.get(name)
        if kind is None:
            raise KML_UNDECLARED(file=self.file, name=name)
        least, most = _INTEGERS.get(kind, (0, 0))
        try:
            is_good = least <= int(text) <= most if kind in _INTEGERS else True
            if kind in ("float", "double"):
                float(text)
        except ValueError:
            is_good = False
        if kind == "bool":  # LIBKML takes text without a meaning for false
            is_good = text.strip().lower() in _BOOLEANS
        if not is_good or (kind in (*_INTEGERS, "float", "double") and ("_" in text or not text.isascii())):
            raise KML_VALUE(file=self.file, value=text[:40], name=name, type=kind)
