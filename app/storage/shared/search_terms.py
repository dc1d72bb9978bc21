"""Search in the catalogue, the same in all ledgers: terms, and the bounding box of a version in degrees.

A term is a text that a version either has or does not have: a keyword, a word, a project, or a tag with its value. So
one index serves all of them. The terms of filters and of versions are made by the same functions.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from app.ledger import AssetFilter
from app.models.asset import Asset
from app.storage.shared.ledger_rules import plain_text

# The fields of a version from which its search fields are made; migrations read these only.
SEARCHED = ("dataset_id", "kind", "crs", "bounds", "metadata", "statistics")
# The fields of a box, as ledgers store them; all null when the box is unknown.
BOX = ("box_west", "box_east", "box_south", "box_north", "gap_west", "gap_east")
# An index entry of PostgreSQL has at most 2,700 bytes; longer terms are compared by their hash.
_LONGEST = 200
_HALF_TURN = 180.0
_DEGREES = ("EPSG:4326", "OGC:CRS84")
_ACCENTS = re.compile("[\u0300-\u036f]+")
# Letters that Unicode does not decompose into a plain letter and a mark.
_PLAIN = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ð": "d", "ħ": "h", "\u0131": "i", "æ": "ae", "œ": "oe", "þ": "th"}
)
# Chinese and Japanese have no spaces between words: each character is one word.
_CHARACTER = "\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(f"[{_CHARACTER}]|[^\\W_{_CHARACTER}]+")
_NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?([eE][+-]?[0-9]+)?")
# A tag is a 64-bit integer or a float, which have fewer digits than this.
_MOST_DIGITS = 400


@dataclass(frozen=True, slots=True)
class Box:
    """A bounding box in degrees, longitudes within ±180, without the longitudes between gap_west and gap_east.

    A box across the antimeridian is stored as the whole globe with a gap, so that west <= east always holds. Otherwise
    gap_west equals gap_east.
    """

    west: float
    south: float
    east: float
    north: float
    gap_west: float
    gap_east: float


@dataclass(frozen=True, slots=True)
class Searchable:
    """The search fields of a version. box: None when it is unknown in degrees; then no bbox finds the version."""

    terms: tuple[str, ...]
    testing: bool
    box: Box | None


def searchable(asset: Asset) -> Searchable:
    """Return the search fields of a version."""
    return searchable_fields(asset.model_dump(mode="json", include=set(SEARCHED)))


def searchable_fields(stored: Mapping[str, Any]) -> Searchable:
    """Return the search fields for the fields SEARCHED in JSON, also as an earlier release stored them."""
    metadata = _mapping(_mapping(stored["metadata"]).get("manifest"))
    tags = _mapping(metadata.get("tags"))
    named = metadata.get("keywords")
    keywords = [each for each in named if isinstance(each, str)] if isinstance(named, list | tuple) else []
    terms = {keyword_term(each) for each in keywords}
    if isinstance(project := metadata.get("project"), str):
        terms.add(project_term(project))
    terms |= {_tag_term(name, value) for name, value in tags.items() if isinstance(value, str | int | float)}
    texts = [metadata.get("title"), metadata.get("description"), stored["dataset_id"], *keywords]
    terms |= {_term("word", word) for text in texts if isinstance(text, str) for word in words_of(text)}
    return Searchable(tuple(sorted(terms)), tags.get("testing") is True, _box(stored))


def box_fields(box: Box | None) -> dict[str, float | None]:
    """Return the fields BOX of a stored version."""
    return {name: None if box is None else getattr(box, name.removeprefix("box_")) for name in BOX}


def wanted_terms(where: AssetFilter) -> list[tuple[str, ...]]:
    """Return tuples of terms; a version must have one of each. Probably rare ones are first, for the index scan."""
    wanted = [tag_terms(tag) for tag in where.tags]
    wanted += [(keyword_term(each),) for each in where.keywords]
    words = sorted(words_of(where.text or ""), key=len, reverse=True)
    wanted += [(_term("word", word),) for word in words]
    if where.project is not None:
        wanted.append((project_term(where.project),))
    return list(dict.fromkeys(wanted))


def asset_listing(where: AssetFilter) -> str:
    """Return the name of the listing in its cursors, so that a cursor is valid for the same filter only."""
    given = {name: value for name, value in asdict(where).items() if value != getattr(AssetFilter(), name)}
    if not given:
        return "assets"
    if where.bbox is not None:
        given["bbox"] = where.bbox.model_dump()
    text = json.dumps(given, sort_keys=True, default=str)
    return "assets:" + hashlib.sha256(text.encode()).hexdigest()[:16]


def keyword_term(keyword: str) -> str:
    """Return the term of a keyword: case is ignored, accents are not."""
    return _term("keyword", unicodedata.normalize("NFC", keyword.strip().casefold()))


def project_term(project: str) -> str:
    """Return the term of a project."""
    return _term("project", project)


def words_of(text: str) -> frozenset[str]:
    """Return the sequences of letters and digits in a text, without case and accents."""
    plain = _ACCENTS.sub("", unicodedata.normalize("NFKD", text.casefold())).casefold()
    return frozenset(_WORD.findall(unicodedata.normalize("NFC", plain).translate(_PLAIN)))


def tag_terms(tag: str) -> tuple[str, ...]:
    """Return the terms of all readings of `name:value`; none when there is no colon.

    `12` may be a number or a text, and a colon may be part of the name.
    """
    return tuple(dict.fromkeys(_readings(tag)))


def _readings(tag: str) -> Iterator[str]:
    for at in (at for at, character in enumerate(tag) if character == ":" and at > 0):
        name, value = tag[:at], tag[at + 1 :]
        yield _tag_term(name, value)
        if value in ("true", "false"):
            yield _tag_term(name, value == "true")
        elif (number := _number(value)) is not None:
            yield _tag_term(name, number)


def _number(text: str) -> int | float | None:
    """The number as JSON reads it, or None: `007` is a text."""
    if len(text) > _MOST_DIGITS or not (match := _NUMBER.fullmatch(text)):
        return None
    if match[2] is None and match[3] is None:
        return int(text)
    value = float(text)
    return value if math.isfinite(value) else None


def _tag_term(name: str, value: str | float) -> str:
    """Equal for equal values: 12 and 12.0 are the same number, and the text `12` is another value."""
    if isinstance(value, bool):
        shown = f"b:{str(value).lower()}"
    elif isinstance(value, str):
        shown = f"s:{value}"
    else:
        shown = f"n:{int(value) if isinstance(value, float) and value.is_integer() else value!r}"
    return _term("tag", name.replace("%", "%25").replace("=", "%3D") + "=" + shown)


def _term(kind: str, text: str) -> str:
    term = plain_text(f"{kind}:{text}")
    raw = term.encode()
    if len(raw) <= _LONGEST:
        return term
    return f"{raw[: _LONGEST // 2].decode(errors='ignore')}…sha256:{hashlib.sha256(raw).hexdigest()}"


def _box(stored: Mapping[str, Any]) -> Box | None:
    """The bounds in degrees that the run found, or the bounds of the version if its CRS is in degrees."""
    found = _mapping(_mapping(stored["statistics"]).get("bounds_4326"))
    unnamed = stored["crs"] is None and stored["kind"] != "raster"
    if not found and (unnamed or stored["crs"] in _DEGREES):
        found = _mapping(stored["bounds"])
    values = [found.get(side) for side in ("minx", "miny", "maxx", "maxy")]
    sides = [float(value) for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return box_of(sides) if len(sides) == len(values) and all(map(math.isfinite, sides)) else None


def box_of(sides: Sequence[float]) -> Box:
    """Return the box of (west, south, east, north). west > east across the antimeridian; longitudes may exceed ±180."""
    west, south, east, north = sides
    if west < -_HALF_TURN or east > _HALF_TURN:
        if east - west >= 2 * _HALF_TURN:
            west, east = -_HALF_TURN, _HALF_TURN
        else:
            west, east = ((x + _HALF_TURN) % (2 * _HALF_TURN) - _HALF_TURN for x in (west, east))
    if west > east:
        return Box(-_HALF_TURN, south, _HALF_TURN, north, gap_west=east, gap_east=west)
    return Box(west, south, east, north, gap_west=east, gap_east=east)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
