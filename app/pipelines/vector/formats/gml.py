"""GML, and what GDAL's driver would mix up or fetch: found by reading the XML as a stream before GDAL does."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from xml.parsers import expat

from pyproj import CRS
from pyproj.exceptions import CRSError

from app.messages.vector import CRS_MIXED, GML_GEOMETRY_PROPERTIES, GML_SCHEMA_IGNORED
from app.pipelines.common.crs import check_text, same_crs
from app.pipelines.vector.formats.files import link, neutral_copy, sidecar
from app.pipelines.vector.formats.gml_values import prove_values
from app.pipelines.vector.formats.layer import OpenOptions
from app.pipelines.vector.formats.ogr import layer_source, list_layers, open_layers
from app.pipelines.vector.formats.reader import SourceFile
from app.pipelines.vector.formats.xml import check_xml, parse_xml
from app.pipelines.vector.source import VectorSource

__all__ = ["check_content", "list_layers", "open_sources"]

_GML = "http://www.opengis.net/gml"
_GEOMETRIES = frozenset(
    f"{multi}{kind}"
    for multi in ("", "Multi", "Composite", "Orientable")
    for kind in ("Point", "LineString", "Polygon", "Curve", "Surface", "Solid", "Geometry")
) | {"LinearRing", "Ring", "PolyhedralSurface", "TriangulatedSurface", "Tin", "GeometricComplex"}
_OPEN_OPTIONS = OpenOptions(options={"DOWNLOAD_SCHEMA": "NO", "WRITE_GFS": "NO"}, times_proven=True)


def check_content(source: SourceFile, head: bytes) -> None:
    """See VectorFormat: well-formed XML that declares a namespace of GML, without a DOCTYPE."""
    check_xml(source, head, lambda root, namespaces: any(uri.startswith(_GML) for uri in (root, *namespaces)))


def open_sources(source: SourceFile) -> list[VectorSource]:
    """See VectorFormat. The .xsd beside the file is used unless it includes others, which GDAL would fetch.

    Raises:
        RunRefused: crs_mixed, geometry_columns, crs_unknown for an srsName that leads to a file.
    """
    file = source.file
    path = neutral_copy(source.path, source.format.suffixes[0])
    scan = _GmlScan()
    parse_xml(path, scan.start, scan.end)
    for name in scan.spelled:
        check_text(name, file, "in a srsName")
    schema = sidecar(source.path, ".xsd")
    is_used = schema is not None and _is_complete_schema(schema)
    if schema is not None and is_used:
        link(schema, path.with_suffix(".xsd"))
    layers = open_layers(path, source, _OPEN_OPTIONS)
    for layer in layers:
        _check_layer(scan, layer.name, layer.crs, file)
    # GDAL has written what it found beside the first copy.
    plain = neutral_copy(source.path, source.format.suffixes[0])
    layers = [prove_values(layer, plain, is_used, source) for layer in layers]
    if schema is not None and not is_used:
        layers[0] = replace(layers[0], warnings=(*layers[0].warnings, GML_SCHEMA_IGNORED(file=file)))
    return [layer_source(source, layer) for layer in layers]


def _is_complete_schema(path: Path) -> bool:
    """Whether an XML schema is readable and includes no others."""
    names: set[str] = set()
    try:
        parse_xml(path, lambda name, _attributes: names.add(name.rpartition(" ")[2].lower()))
    except (expat.ExpatError, LookupError, ValueError):
        return False
    return names.isdisjoint(("include", "redefine", "override"))


def _check_layer(scan: _GmlScan, layer: str, found_crs: str | None, file: str) -> None:
    """Prove that the features of a layer have one geometry each, and all of these the same CRS.

    found_crs: the CRS that GDAL reports. Raises RunRefused crs_mixed, geometry_columns.
    """
    if layer not in scan.names:  # GDAL gave it another name than its element has
        names: set[str | None] = set().union(*scan.names.values())
        properties = next(iter(scan.properties.values()), ())
    else:
        names, properties = scan.names[layer], scan.properties.get(layer, ())
    if properties:
        raise GML_GEOMETRY_PROPERTIES(file=file, layer=layer, count=len(properties), properties=_listed(properties))
    spelled = sorted({name for name in names if name is not None} | scan.collection)
    bare = None in names and not scan.collection and bool(spelled)
    kinds = {name.startswith(("urn:", "http://www.opengis.net/def/")) for name in spelled}
    is_one = len(spelled) < 2 or (_is_one_crs(spelled) and found_crs is not None and len(kinds) == 1)
    if bare or not is_one:
        found = _listed(spelled) + (" and geometries without srsName" if bare else "")
        raise CRS_MIXED(file=file, layer=layer, found=found)


@dataclass(slots=True)
class _GmlScan:
    """What stands in a document; its methods are handlers of the XML parser.

    Attributes:
        names: by feature type, the srsName of every geometry, None where it has none.
        collection: those of the envelope of the whole collection.
        spelled: every srsName in the document.
        properties: by feature type, the properties with a geometry, of a feature that has several.
    """

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
