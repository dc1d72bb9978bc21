"""What GDAL's GML and KML drivers would lose or mix up in silence, found by reading the XML as a stream.

All run after `check_content`: the document is well-formed and has no DOCTYPE.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn
from xml.parsers import expat

from pyproj import CRS
from pyproj.exceptions import CRSError

from app.errors import RunRefused
from app.pipelines.formats.crs import check_text, same_crs

_BLOCK = 1 << 20
_GML = "http://www.opengis.net/gml"
_GEOMETRIES = frozenset(
    f"{multi}{kind}"
    for multi in ("", "Multi", "Composite", "Orientable")
    for kind in ("Point", "LineString", "Polygon", "Curve", "Surface", "Solid", "Geometry")
) | {"LinearRing", "Ring", "PolyhedralSurface", "TriangulatedSurface", "Tin", "GeometricComplex"}
# The fields that LIBKML gives every layer, or layers with such elements.
_KML_FIELDS = frozenset(
    (
        *("id", "name", "description", "timestamp", "begin", "end", "altitudemode", "tessellate", "extrude"),
        *("visibility", "draworder", "icon", "snippet"),
    )
)
_INTEGERS = {
    "int": (-(2**31), 2**31 - 1),
    "short": (-(2**31), 2**31 - 1),
    "ushort": (-(2**31), 2**31 - 1),
    "uint": (-(2**63), 2**63 - 1),
}

Start = Callable[[str, dict[str, str]], None]


def scan_gml(path: Path, file: str) -> GmlScan:
    """Read the document before GDAL does. Raises RunRefused crs_unknown for a CRS that leads to a file."""
    scan = GmlScan()
    _parse(path, scan.start, scan.end)
    for name in scan.spelled:
        check_text(name, file, "in a srsName")
    return scan


def is_complete_schema(path: Path) -> bool:
    """Whether an XML schema says all by itself: GDAL would fetch the others that it includes."""
    names: set[str] = set()
    try:
        _parse(path, lambda name, _attributes: names.add(name.rpartition(" ")[2].lower()), None)
    except (expat.ExpatError, LookupError, ValueError):
        return False
    return names.isdisjoint(("include", "redefine", "override"))


def check_gml(scan: GmlScan, layer: str, found_crs: str | None, file: str) -> None:
    """found_crs: what GDAL says of the layer. Raises RunRefused crs_mixed, geometry_columns."""
    if layer not in scan.names:  # GDAL named it otherwise than its element
        names: set[str | None] = set().union(*scan.names.values())
        properties = next(iter(scan.properties.values()), ())
    else:
        names, properties = scan.names[layer], scan.properties.get(layer, ())
    if properties:
        _refuse(
            file,
            "geometry_columns",
            f"has features of {layer!r} with {len(properties)} geometries each, in {_listed(properties)}",
            "Send features with exactly one geometry.",
        )
    spelled = sorted({name for name in names if name is not None} | scan.collection)
    bare = None in names and not scan.collection and bool(spelled)
    kinds = {name.startswith(("urn:", "http://www.opengis.net/def/")) for name in spelled}
    is_one = len(spelled) < 2 or (_is_one_crs(spelled) and found_crs is not None and len(kinds) == 1)
    if bare or not is_one:
        found = _listed(spelled) + (" and geometries without srsName" if bare else "")
        _refuse(
            file,
            "crs_mixed",
            f"does not use one srsName throughout layer {layer!r}; it has {found}",
            "Split the file by CRS, or write one and the same srsName on every geometry.",
        )


def check_kml(path: Path, layer: str, fields: Sequence[str], file: str) -> list[str]:
    """The names of the fields as the document has them: LIBKML makes `_` of what is not an ASCII letter or digit.

    Raises RunRefused columns_duplicate where that makes one column of two, value_invalid where LIBKML would change or
    drop a value of a typed field.
    """
    scan = _KmlScan(file)
    _parse(path, scan.start_field, None)  # a Schema may follow its data
    _parse(path, scan.start, scan.end, scan.text)
    names = scan.data.get(layer, scan.data[None])
    made: dict[str, str] = {name.lower(): f"SimpleField {name!r}" for name in scan.types}
    original: dict[str, str] = {}
    for name in names:
        laundered = re.sub(rb"[^A-Za-z0-9_]", b"_", name.encode()).decode()
        key = laundered.lower()
        doubled = f"{laundered}2" in fields and f"{laundered}2" not in names
        other = made.get(key) or made.get(name.lower())
        other = other or (f"the Placemark's own {laundered!r}" if key in _KML_FIELDS or doubled else None)
        if other:
            _refuse(
                file,
                "columns_duplicate",
                f"has Data named {name!r}, which would become the same column as {other}",
                "Rename one of them; names must differ in their ASCII letters and digits, case aside.",
            )
        made[key] = f"Data {name!r}"
        original[laundered] = name
    return [original.get(name, name) for name in fields]


@dataclass(slots=True)
class GmlScan:
    """names: by feature type the srsName of every geometry, None where it has none; collection: those of the
    collection's own envelope; spelled: every srsName there is; properties: by feature type the properties with geometry
    of a feature with several."""

    names: dict[str, set[str | None]] = field(default_factory=lambda: defaultdict(set))
    collection: set[str] = field(default_factory=set)
    spelled: set[str] = field(default_factory=set)
    properties: dict[str, list[str]] = field(default_factory=dict)
    _open: list[str] = field(default_factory=list)
    _feature: int = 0
    _geometry: int = 0
    _bounds: int = 0
    _layer: str = ""
    _seen: list[str] = field(default_factory=list)

    def start(self, name: str, attributes: dict[str, str]) -> None:
        uri, _, local = name.rpartition(" ")
        self._open.append(local)
        depth = len(self._open)
        srs = attributes.get("srsName")
        self.spelled.update(text for key, text in attributes.items() if key.rpartition(" ")[2].lower() == "srsname")
        if self._geometry:
            if srs is not None:
                self.names[self._layer].add(srs)
        elif self._bounds:
            if srs is not None and not self._feature:
                self.collection.add(srs)
        elif local == "boundedBy":
            self._bounds = depth
        elif uri.startswith(_GML) and local in _GEOMETRIES:
            self._geometry = depth
            self.names[self._layer].add(srs)
            if self._feature:
                self._seen.append(self._open[self._feature] if depth > self._feature else local)
        elif (
            not self._feature
            and depth > 1
            and local != "FeatureCollection"
            and self._open[-2].lower().endswith(("member", "members"))
        ):
            self._feature, self._layer = depth, local

    def end(self, _name: str) -> None:
        depth = len(self._open)
        if depth == self._geometry:
            self._geometry = 0
        elif depth == self._bounds:
            self._bounds = 0
        elif depth == self._feature:
            if len(self._seen) > 1:
                self.properties.setdefault(self._layer, self._seen)
            self._feature, self._layer, self._seen = 0, "", []
        self._open.pop()


@dataclass(slots=True)
class _KmlScan:
    """data: the names of Data by the names of the containers around them, under None all; types: of SimpleFields."""

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
                self._twice("SimpleField", found)
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
            self._twice(element, name)
        self._in_placemark.add(name)

    def _twice(self, element: str, name: str) -> NoReturn:
        _refuse(
            self.file,
            "columns_duplicate",
            f"has {element} {name!r} twice, or once more in other case",
            "Rename one of them.",
        )

    def _check(self, name: str, text: str) -> None:
        kind = self.types.get(name)
        if kind is None:
            found = f"has SimpleData {name!r}, which no Schema has a SimpleField for: its values would be lost"
            _refuse(self.file, "value_invalid", found, "Add the SimpleField to the Schema, or use Data.")
        least, most = _INTEGERS.get(kind, (0, 0))
        try:
            is_good = least <= int(text) <= most if kind in _INTEGERS else True
            if kind in ("float", "double"):
                float(text)
        except ValueError:
            is_good = False
        if not is_good or (kind in (*_INTEGERS, "float", "double") and "_" in text):
            found = f"has the value {text[:40]!r} in SimpleData {name!r}, which its Schema declares as {kind}"
            _refuse(self.file, "value_invalid", found, "Correct or remove the value, or declare the field as string.")


def _parse(
    path: Path, start: Start, end: Callable[[str], None] | None, text: Callable[[str], None] | None = None
) -> None:
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = start
    parser.EndElementHandler = end
    if text is not None:
        parser.CharacterDataHandler = text
        parser.buffer_text = True
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            parser.Parse(block, False)
    parser.Parse(b"", True)


def _is_one_crs(names: Sequence[str]) -> bool:
    """Whether all these names are one CRS, axis order and spelling aside; names that PROJ does not know are not."""
    first = _crs(names[0])
    return first is not None and all((other := _crs(n)) is not None and same_crs(first, other) for n in names[1:])


def _crs(name: str) -> CRS | None:
    code = re.search(r"EPSG\b[^,]*[:#/](\d+)$", name, re.IGNORECASE)
    try:
        return CRS.from_user_input(f"EPSG:{code[1]}" if code else name)
    except CRSError:
        return None


def _listed(names: Iterable[str]) -> str:
    shown = [repr(name[:80]) for name in names]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


def _refuse(file: str, reason: str, found: str, fix: str) -> NoReturn:
    raise RunRefused(f"{file} {found}.", fix, reason=reason, file=file)
