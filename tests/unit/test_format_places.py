"""A format is known in two places: its row in app/models/formats.py, and the module that the row names as its reader.

Code that compares the name of a format, or looks it up in a container, would be one more place to change for a new
format. What such code needs to know belongs into a field of the row or a function of the module.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from app.models.formats import FORMATS, Format

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "app/models/formats.py"
NAMES = frozenset(fmt.name for fmt in FORMATS)

# (file, name): why it may stand there.
ALLOWED = {
    ("app/http/examples.py", "CSV"): "an example in the OpenAPI document",
    ("app/http/examples.py", "GTiff"): "an example in the OpenAPI document",
    ("app/http/examples.py", "GeoJSON"): "an example in the OpenAPI document",
    ("app/models/manifests/manifest.py", "GeoJSON"): "an example in the OpenAPI document",
    ("app/pipelines/common/content.py", "FlatGeobuf"): "words for a message about what a file looks like",
    ("app/pipelines/common/content.py", "Parquet"): "words for a message about what a file looks like",
    ("app/pipelines/common/content.py", "netCDF"): "words for a message about what a file looks like",
    ("app/pipelines/raster/gdal.py", "COG"): "a GDAL driver that writes products",
    ("app/pipelines/raster/gdal.py", "GTiff"): "a GDAL driver that writes products",
    ("app/pipelines/raster/gdal.py", "PNG"): "a GDAL driver that writes previews",
}


def _asked_for(node: ast.AST) -> list[ast.expr | None]:
    """What a comparison, match case, key of a dictionary or item of a container is compared with."""
    match node:
        case ast.Compare():
            return [node.left, *node.comparators]
        case (
            ast.Dict(keys=found)
            | ast.Tuple(elts=found)
            | ast.List(elts=found)
            | ast.Set(elts=found)
            | ast.Call(func=ast.Attribute(attr="startswith" | "endswith" | "get"), args=found)
        ):
            return list(found)
        case ast.MatchValue(value=one) | ast.Subscript(slice=one):
            return [one]
    return []


def _named_in(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """(name of a format, line) of each place where code asks for it."""
    for node in ast.walk(tree):
        for part in _asked_for(node):
            if isinstance(part, ast.Constant) and part.value in NAMES:
                yield str(part.value), part.lineno


def _place(fmt: Format) -> Path | None:
    """The file of a format's reader, or its folder where the module is called `reader`."""
    if not fmt.reader:
        return None
    path = ROOT.joinpath(*fmt.reader.split(".")).with_suffix(".py")
    return path.parent if path.stem == "reader" else path


def _found() -> Iterator[tuple[str, str, int]]:
    places = {name: {place for fmt in FORMATS if fmt.name == name and (place := _place(fmt))} for name in NAMES}
    for path in sorted((ROOT / "app").rglob("*.py")):
        if path == TABLE:
            continue
        for name, line in _named_in(ast.parse(path.read_text(encoding="utf-8"))):
            if not any(path.is_relative_to(place) for place in places[name]):
                yield path.relative_to(ROOT).as_posix(), name, line


@pytest.mark.parametrize(
    "code",
    [
        "fmt.name == 'GPKG'",
        "name in ('GML', 'x')",
        "{'KML': 1}",
        "{'x': 1}.get('SHP')",
        "readers['GTiff']",
        "match name:\n case 'CSV': pass",
    ],
)
def test_finds_the_ways_to_ask_for_a_format(code: str) -> None:
    assert list(_named_in(ast.parse(code)))


def test_no_other_code_names_a_format() -> None:
    found = [f"{file}:{line}: {name}" for file, name, line in _found() if (file, name) not in ALLOWED]
    assert found == []


def test_what_is_allowed_is_there() -> None:
    assert {(file, name) for file, name, _ in _found()} >= set(ALLOWED)


@pytest.mark.parametrize("fmt", [fmt for fmt in FORMATS if fmt.type == "vector"], ids=lambda fmt: fmt.name)
def test_a_vector_format_has_a_reader_with_the_functions_of_its_protocol(fmt: Format) -> None:
    from app.pipelines.vector.formats.reader import VectorFormat, reader_of

    assert find_spec(fmt.reader) is not None
    reader = reader_of(fmt)
    assert [name for name in vars(VectorFormat) if name[0] != "_" and not callable(getattr(reader, name, None))] == []
