"""Rules across the fields of a manifest. They run on the raw document, so they assume nothing about its types."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import InitErrorDetails

from app.messages.manifest import (
    AREA_WITHOUT_GEOMETRY,
    DATASET_ID_INVALID,
    ESCAPE_CONTRADICTED,
    FILES_MISSING,
    FILES_MIXED,
    FILES_NOT_ALLOWED,
    FILES_TOO_MANY,
    FORMAT_TYPE_MISMATCH,
    GEOMETRY_COLUMNS_UNCLEAR,
    GEOMETRY_CRS_TWICE,
    GEOMETRY_NOT_OF_INTENT,
    HEADER_CONTRADICTED,
    INTENT_UNKNOWN,
    JOIN_CONFIG_MISSING,
    JOIN_CONFIG_NOT_ALLOWED,
    LAYERS_BESIDE_LAYER,
    LAYERS_NOT_OF_TYPE,
    MARKS_CONTRADICTED,
    MEMBER_NOT_OF_FORMAT,
    OPTION_NOT_OF_FORMAT,
    PATH_DUPLICATE,
    RECIPE_NOT_ALLOWED,
    TABLE_WITHOUT_GEOMETRY,
    TESTING_INVALID,
    TEXT_INVALID,
    TYPE_NOT_OF_INTENT,
    UNION_DIFFERS,
)
from app.messages.message import FaultMessage
from app.models.bounded import DATASET_ID_PATTERN
from app.models.checks.rules import dataset_faults
from app.models.formats import FORMATS, OPTION_NAMES, Format, find_format, format_names
from app.models.intents import Intent, find_intent, intent_names
from app.models.json_values import shown
from app.models.manifests.nearest import nearest
from app.models.manifests.sources_listed import SourcesListed
from app.models.problem_text import wrong

_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")
# Characters of a dataset id that come from a title, and letters that Unicode does not take apart.
_READABLE = 60
_LETTERS = str.maketrans(
    {"ß": "ss", "ä": "ae", "ö": "oe", "ü": "ue", "ø": "o", "ł": "l", "đ": "d", "æ": "ae", "œ": "oe"}
)


_TYPE_NAMES = {
    "text": "text", "string": "text", "integer": "int64", "int64": "int64", "bigint": "int64", "float64": "float64",
    "double": "float64", "boolean": "bool", "bool": "bool", "date": "date", "timestamp": "timestamp",
    "timestamp_utc": "timestamp_utc", "time": "time",
}  # fmt: skip
_DECIMAL = re.compile(r"decimal\(([0-9]{1,2}),([0-9]{1,2})\)")


def column_type(name: str) -> tuple[str, int, int] | None:
    """(type, precision, scale) that a name in files[].options.types stands for; None for an unknown name."""
    name = name.replace(" ", "").lower()
    if (match := _DECIMAL.fullmatch(name)) is not None:
        precision, scale = int(match[1]), int(match[2])
        return ("decimal", precision, scale) if 1 <= precision <= 38 and scale <= precision else None
    return (_TYPE_NAMES[name], 0, 0) if name in _TYPE_NAMES else None


def _fault(loc: tuple[str | int, ...], raw: object, message: FaultMessage, **values: Any) -> InitErrorDetails:
    return InitErrorDetails(type=wrong(message, **values), loc=loc, input=raw)


def cross_field_faults(raw: Mapping[str, Any]) -> list[InitErrorDetails]:
    """The faults of a raw manifest that concern several fields."""
    name = raw.get("intent")
    intent = find_intent(name) if isinstance(name, str) else None
    faults: list[InitErrorDetails] = []
    if isinstance(name, str) and intent is None:
        near = nearest(name, intent_names())
        hint = f"Did you mean {near!r}? " if near else ""
        values = {"name": shown(name), "hint": hint, "known": ", ".join(intent_names())}
        faults.append(_fault(("intent",), name, INTENT_UNKNOWN, **values))
    files = raw.get("files", ())
    if isinstance(files, list | tuple):
        faults += _file_faults(files, intent)
    if intent is not None and raw.get("recipe") is not None and not _has_vector_files(intent, files):
        subject = f"{intent.name} takes" if "vector" not in intent.file_types else "Rasters take"
        faults.append(_fault(("recipe",), None, RECIPE_NOT_ALLOWED, subject=subject))
    metadata = raw.get("metadata")
    if isinstance(metadata, Mapping):
        faults += _metadata_faults(metadata, intent)
    return [*faults, *dataset_faults(raw, intent)]


def _has_vector_files(intent: Intent, files: object) -> bool:
    """Whether the intent takes vector files, and no file is declared to be without geometries."""
    declared = files if isinstance(files, list | tuple) else ()
    others = any(
        isinstance(entry, Mapping)
        and (entry.get("type") == "raster" or (entry.get("type") == "tabular" and _geometry(entry) is None))
        for entry in declared
    )
    return "vector" in intent.file_types and not others


def _geometry(entry: Mapping[Any, Any]) -> object:
    """files[].options.geometry as it was given."""
    options = entry.get("options")
    return options.get("geometry") if isinstance(options, Mapping) else None


def text_faults(value: object, loc: tuple[str | int, ...] = ()) -> Iterator[InitErrorDetails]:
    """Text that not every ledger can store: zero bytes and lone surrogates."""
    if isinstance(value, str) and _NOT_TEXT.search(value):
        yield InitErrorDetails(type=wrong(TEXT_INVALID), loc=loc, input=None)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from text_faults(name, (*loc, name))
            yield from text_faults(item, (*loc, name))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from text_faults(item, (*loc, index))


def _file_faults(files: list[Any] | tuple[Any, ...], intent: Intent | None) -> list[InitErrorDetails]:
    faults: list[InitErrorDetails] = []
    listed = SourcesListed()
    for index, entry in enumerate(files):
        if not isinstance(entry, Mapping):
            continue
        path, kind, name = entry.get("path"), entry.get("type"), entry.get("format")
        if isinstance(path, str):
            twin = listed.add(index, entry, path)
            if twin is not None:
                loc = ("files", index, "path")
                faults.append(_fault(loc, path, PATH_DUPLICATE, path=shown(path), other=twin))
        fmt = find_format(name) if isinstance(name, str) else None
        if fmt is not None and kind in ("vector", "raster", "tabular") and fmt.type != kind:
            values = {"format": fmt.name, "type": fmt.type, "declared": kind, "formats": ", ".join(format_names(kind))}
            faults.append(_fault(("files", index, "format"), name, FORMAT_TYPE_MISMATCH, **values))
        faults += _option_faults(index, entry.get("options"), fmt) + _layer_faults(index, entry)
        if fmt is not None and not fmt.zipped and entry.get("member") is not None:
            zipped = ", ".join(each.name for each in FORMATS if each.zipped)
            loc = ("files", index, "member")
            faults.append(_fault(loc, entry["member"], MEMBER_NOT_OF_FORMAT, format=fmt.name, zipped=zipped))
        faults += _geometry_faults(index, entry, intent)
        if intent and intent.file_types and kind in ("vector", "raster", "tabular") and kind not in intent.file_types:
            table = kind == "tabular" and "vector" in intent.file_types
            if table and _geometry(entry) is not None:
                continue
            message = TABLE_WITHOUT_GEOMETRY if table else TYPE_NOT_OF_INTENT
            values = {"intent": intent.name, "types": " or ".join(intent.file_types), "declared": kind}
            faults.append(_fault(("files", index, "type"), kind, message, **values))
    return faults + _union_faults(files) + (_count_faults(files, intent) if intent else [])


def _layer_faults(index: int, entry: Mapping[str, Any]) -> list[InitErrorDetails]:
    """`layers` where there is nothing that it could mean."""
    if entry.get("layers") is None:
        return []
    loc, kind = ("files", index, "layers"), entry.get("type")
    faults = []
    if entry.get("layer") is not None:
        faults.append(_fault(loc, None, LAYERS_BESIDE_LAYER))
    if kind in ("raster", "tabular"):
        faults.append(_fault(loc, None, LAYERS_NOT_OF_TYPE, declared=kind))
    return faults


def _union_faults(files: list[Any] | tuple[Any, ...]) -> list[InitErrorDetails]:
    """Files that state another way to become one than the first that states any."""
    options = ((index, entry.get("options")) for index, entry in enumerate(files) if isinstance(entry, Mapping))
    given = [(index, each["union"]) for index, each in options if isinstance(each, Mapping) and each.get("union")]
    return [
        _fault(
            ("files", index, "options", "union"),
            value,
            UNION_DIFFERS,
            value=shown(value),
            other=shown(given[0][1]),
            first=given[0][0],
        )
        for index, value in given
        if value != given[0][1]
    ]


def _option_faults(index: int, options: object, fmt: Format | None) -> list[InitErrorDetails]:
    """Options that the reader of the format would silently ignore."""
    if fmt is None or not isinstance(options, Mapping):
        return []
    understood = ", ".join(fmt.options) or "none"
    foreign = [
        _fault(
            ("files", index, "options", name),
            options[name],
            OPTION_NOT_OF_FORMAT,
            name=name,
            format=fmt.name,
            known=understood,
        )
        for name in OPTION_NAMES
        if options.get(name) is not None and name not in fmt.options
    ]
    return foreign + _contradicting_options(("files", index, "options"), options)


def _geometry_faults(index: int, entry: Mapping[Any, Any], intent: Intent | None) -> list[InitErrorDetails]:
    """What is wrong with files[].options.geometry as a whole, or with having it."""
    given, options = _geometry(entry), entry.get("options")
    if entry.get("type") != "tabular":
        return []
    if given is None:
        asked = options.get("area_of_use") if isinstance(options, Mapping) else None
        loc = ("files", index, "options", "area_of_use")
        return [] if asked is None else [_fault(loc, asked, AREA_WITHOUT_GEOMETRY)]
    loc = ("files", index, "options", "geometry")
    faults = []
    if intent is not None and "vector" not in intent.file_types:
        faults.append(_fault(loc, None, GEOMETRY_NOT_OF_INTENT, intent=intent.name))
    if entry.get("crs") is not None:
        faults.append(_fault(("files", index, "crs"), None, GEOMETRY_CRS_TWICE))
    if isinstance(given, Mapping):
        named = [name for name in ("x", "y", "wkt", "wkb") if given.get(name) is not None]
        if named not in (["x", "y"], ["wkt"], ["wkb"]):
            found = f"only {' and '.join(named)}" if len(named) == 1 else " and ".join(named) or "no column"
            faults.append(_fault(loc, None, GEOMETRY_COLUMNS_UNCLEAR, found=found))
        elif named == ["x", "y"] and given["x"] == given["y"]:
            found = f"the column {shown(given['x'])} as both x and y"
            faults.append(_fault(loc, None, GEOMETRY_COLUMNS_UNCLEAR, found=found))
    return faults


def _contradicting_options(loc: tuple[str | int, ...], options: Mapping[str, Any]) -> list[InitErrorDetails]:
    """Options that cannot both be followed."""
    faults = []
    if options.get("header") is False and options.get("header_row") is not None:
        faults.append(_fault((*loc, "header_row"), options["header_row"], HEADER_CONTRADICTED))
    thousands, decimal = options.get("thousands"), options.get("decimal") or "."
    if thousands is not None and thousands == decimal:
        faults.append(_fault((*loc, "thousands"), thousands, MARKS_CONTRADICTED, mark=shown(thousands)))
    if options.get("escape") is not None and options["escape"] == options.get("delimiter"):
        faults.append(_fault((*loc, "escape"), options["escape"], ESCAPE_CONTRADICTED))
    return faults


def _count_faults(files: list[Any] | tuple[Any, ...], intent: Intent) -> list[InitErrorDetails]:
    if not intent.file_types:
        if not files:
            return []
        return [_fault(("files",), None, FILES_NOT_ALLOWED, intent=intent.name, found=len(files))]
    if not files:
        types = " or ".join(intent.file_types)
        return [_fault(("files",), None, FILES_MISSING, intent=intent.name, types=types)]
    if intent.max_files is not None and len(files) > intent.max_files:
        values = {"intent": intent.name, "limit": intent.max_files, "found": len(files)}
        return [_fault(("files",), None, FILES_TOO_MANY, **values)]
    declared = {str(entry.get("type")) for entry in files if isinstance(entry, Mapping)}
    kinds = declared & {"vector", "raster", "tabular"}
    if len(kinds) > 1:
        return [_fault(("files",), None, FILES_MIXED, types=", ".join(sorted(kinds)))]
    return []


def _metadata_faults(metadata: Mapping[str, Any], intent: Intent | None) -> list[InitErrorDetails]:
    faults: list[InitErrorDetails] = []
    tags = metadata.get("tags")
    if isinstance(tags, Mapping):
        faults += _tag_faults(tags)
    given = metadata.get("join_config") is not None
    loc = ("metadata", "join_config")
    if intent and intent.needs_join_config and not given:
        faults.append(_fault(loc, None, JOIN_CONFIG_MISSING, intent=intent.name))
    if intent and given and not intent.needs_join_config:
        faults.append(_fault(loc, None, JOIN_CONFIG_NOT_ALLOWED, intent=intent.name))
    return faults


def _tag_faults(tags: Mapping[str, Any]) -> list[InitErrorDetails]:
    faults = []
    dataset_id = tags.get("dataset_id")
    if "dataset_id" in tags and not (
        isinstance(dataset_id, str) and re.fullmatch(DATASET_ID_PATTERN[1:-1], dataset_id)
    ):
        loc = ("metadata", "tags", "dataset_id")
        faults.append(_fault(loc, dataset_id, DATASET_ID_INVALID, value=shown(dataset_id)))
    if "testing" in tags and not isinstance(tags["testing"], bool):
        loc = ("metadata", "tags", "testing")
        faults.append(_fault(loc, None, TESTING_INVALID, value=shown(tags["testing"])))
    return faults


def readable_id(title: str) -> str:
    """The title in small ASCII letters, digits and hyphens, cut at a word; `dataset` where nothing of it is left."""
    plain = unicodedata.normalize("NFKD", title.lower().translate(_LETTERS)).encode("ascii", "ignore").decode()
    words = re.findall(r"[a-z0-9]+", plain)
    found = ""
    for word in words:
        longer = f"{found}-{word}" if found else word
        if len(longer) > _READABLE:
            break
        found = longer
    return found or "".join(words)[:_READABLE] or "dataset"
