"""Reads the parts of a workbook other than cells: sheets, shared texts, number formats. Never opens other files."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree as ET  # _no_doctype checks each part first
from xml.parsers import expat

from app.errors import RunRefused
from app.messages.tabular import NOT_A_WORKBOOK, WORKBOOK_DAMAGED, WORKBOOK_DOCTYPE
from app.models.formats import Format
from app.models.numbers import whole_number

# As in Excel. The width of a code such as 00000 is the width of each of its texts.
_LONGEST_FORMAT = 255
_ESCAPED = re.compile(r"_x([0-9A-Fa-f]{4})_")
_BUILTIN = {
    **dict.fromkeys((*range(14, 18), *range(27, 32), 36, *range(50, 55), 57, 58), "date"),
    **dict.fromkeys((18, 19, 20, 21, 32, 33, 34, 35, 55, 56, 45, 47), "time"),
    22: "datetime",
}


@dataclass(frozen=True, slots=True)
class Sheet:
    name: str
    path: Path


@dataclass(frozen=True, slots=True)
class Workbook:
    """An unpacked workbook.

    Attributes:
        texts: the shared texts.
        formats: what each cell style shows: date, time, datetime, 00000 (a code of that width), or None.
        since_1904: dates count from 1904 instead of 1900.
    """

    file: str
    sheets: tuple[Sheet, ...]
    texts: tuple[str, ...]
    formats: tuple[str | None, ...]
    since_1904: bool


def open_workbook(root: Path, members: list[Path], fmt: Format, file: str) -> Workbook:
    """Read everything of a workbook except the cells.

    Args:
        root: the directory where the workbook is unpacked.
        members: the unpacked files.

    Raises:
        RunRefused: content_mismatch, file_damaged, xml_doctype.
    """
    parts = {_part_name(str(member.relative_to(root))): member for member in members}
    start = _related_parts(parts, "", file, "/officeDocument")
    main = next(iter(start.values()), "xl/workbook.xml")
    if main not in parts or "[content_types].xml" not in parts or not main.endswith(".xml"):
        names = [str(member.relative_to(root)) for member in members[:5]]
        found = f"a zip archive with {', '.join(map(repr, names))}"
        raise NOT_A_WORKBOOK(file=file, format=fmt.name, found=found)
    related = _related_parts(parts, main, file, "/worksheet")
    sheets, since_1904 = [], False
    for element in _elements(parts[main], file, ("sheet", "workbookPr")):
        if _tag(element) == "workbookPr":
            since_1904 = element.get("date1904") in ("1", "true")
            continue
        key = next((value for name, value in element.items() if name.endswith("}id")), "")
        if related.get(key) in parts:
            sheets.append(Sheet(element.get("name", ""), parts[related[key]]))
    texts = next(iter(_related_parts(parts, main, file, "/sharedStrings").values()), None)
    styles = next(iter(_related_parts(parts, main, file, "/styles").values()), None)
    return Workbook(
        file,
        tuple(sheets),
        tuple(rich_text(each) for each in _elements(parts[texts], file, ("si",))) if texts in parts else (),
        _style_formats(parts[styles], file) if styles in parts else (),
        since_1904,
    )


def stream_xml(path: Path, file: str) -> Iterator[tuple[str, Any]]:
    """(event, element) of a part. Raises RunRefused: xml_doctype, file_damaged."""
    _no_doctype(path, file)
    try:
        yield from ET.iterparse(path, events=("start", "end"))  # noqa: S314 # see above
    except (ET.ParseError, LookupError, ValueError):
        raise _not_well_formed(path, file) from None


def rich_text(element: Any) -> str:
    """The text of a shared or inline string, without phonetic runs."""
    pieces = []
    for child in element:
        if _tag(child) == "t":
            pieces.append(child.text or "")
        elif _tag(child) == "r":
            pieces += [part.text or "" for part in child if _tag(part) == "t"]
    return unescaped("".join(pieces))


def unescaped(text: str) -> str:
    """Replaces escapes such as _x000D_, except those of characters that no text may contain."""
    if "_x" not in text:
        return text
    return _ESCAPED.sub(lambda m: m[0] if int(m[1], 16) in (0, *range(0xD800, 0xE000)) else chr(int(m[1], 16)), text)


def _tag(element: Any) -> str:
    return str(element.tag).rpartition("}")[2]


def _elements(path: Path, file: str, tags: tuple[str, ...]) -> Iterator[Any]:
    for event, element in stream_xml(path, file):
        if event == "end" and _tag(element) in tags:
            yield element
            element.clear()


def _related_parts(parts: dict[str, Path], part: str, file: str, kind: str) -> dict[str, str]:
    """{relationship id: name of the part} for targets of that kind inside the file."""
    folder, _, name = part.rpartition("/")
    listed = parts.get(_part_name(posixpath.join(folder, "_rels", f"{name}.rels")))
    found: dict[str, str] = {}
    for element in _elements(listed, file, ("Relationship",)) if listed else ():
        target = element.get("Target", "").replace("\\", "/")
        if element.get("Type", "").endswith(kind) and element.get("TargetMode") != "External":
            path = posixpath.normpath(posixpath.join("/", folder, target)).lstrip("/")
            found[element.get("Id", "")] = _part_name(path)
    return found


def _part_name(name: str) -> str:
    """The name by which parts are compared: without regard to the case of ASCII letters, and to what is escaped."""
    return "".join(c.lower() if c.isascii() else c for c in unquote(name))


def _style_formats(path: Path, file: str) -> tuple[str | None, ...]:
    codes: dict[int, str] = {}
    found: list[str | None] = []
    inside = False
    for event, element in stream_xml(path, file):
        tag = _tag(element)
        if tag == "cellXfs":
            inside = event == "start"
        elif event == "start" and tag == "numFmt":
            codes[_format_number(element, file)] = element.get("formatCode", "")
        elif event == "start" and tag == "xf" and inside:
            number = _format_number(element, file)
            found.append(format_meaning(codes[number]) if number in codes else _BUILTIN.get(number))
    return tuple(found)


def _format_number(element: Any, file: str) -> int:
    text = element.get("numFmtId", "0")
    number = whole_number(text)
    if number is None:
        raise WORKBOOK_DAMAGED(file=file, found=f"a number format has the number {text[:20]!r}")
    return number


def format_meaning(code: str) -> str | None:
    """What a number format shows; see Workbook.formats."""
    if len(code) > _LONGEST_FORMAT:
        return None
    plain = re.sub(r'"[^"]*"|\\.|_.|\*.', "", code).partition(";")[0]
    if re.search(r"\[[hmsHMS]+\]", plain):
        return None  # elapsed time: a number of days
    plain = re.sub(r"\[[^\]]*\]", "", plain).lower().replace("am/pm", "").replace("a/p", "").replace("general", "")
    if re.fullmatch(r"0{2,}", plain):
        return plain
    has_time = bool(re.search(r"[hs]", plain))
    has_date = bool(re.search(r"[yd]", plain)) or ("m" in plain and not has_time)
    if has_date:
        return "datetime" if has_time else "date"
    return "time" if has_time else None


def _no_doctype(path: Path, file: str) -> None:
    """Refuse a DOCTYPE, which can refer to entities and other files, before the XML is parsed."""
    parser = expat.ParserCreate()
    at_root: list[str] = []

    def doctype(*_: object) -> None:
        raise WORKBOOK_DOCTYPE(file=file, part=path.name)

    parser.StartDoctypeDeclHandler = doctype
    parser.StartElementHandler = lambda name, _: at_root.append(name)
    try:
        with path.open("rb") as stream:
            while not at_root and (block := stream.read(4096)):
                parser.Parse(block, False)
    except (expat.ExpatError, LookupError, ValueError):  # the latter two: an unknown or unsupported encoding
        raise _not_well_formed(path, file) from None


def _not_well_formed(path: Path, file: str) -> RunRefused:
    return WORKBOOK_DAMAGED(file=file, found=f"its part {path.name!r} is not well-formed XML")
