"""Rules between the fields of a manifest. They run on the raw document, which may be wrong in any other way."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import InitErrorDetails, PydanticCustomError

from app.models.formats import Format, find_format, format_names
from app.models.intents import Intent, find_intent, intent_names
from app.models.nearest import nearest

_NOT_TEXT = re.compile("[\x00\ud800-\udfff]")
DATASET_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"


_TYPE_NAMES = {
    "text": "text", "string": "text", "integer": "int64", "int64": "int64", "bigint": "int64", "float64": "float64",
    "double": "float64", "boolean": "bool", "bool": "bool", "date": "date", "timestamp": "timestamp",
    "timestamp_utc": "timestamp_utc", "time": "time",
}  # fmt: skip
_DECIMAL = re.compile(r"decimal\(([0-9]{1,2}),([0-9]{1,2})\)")


def column_type(name: str) -> tuple[str, int, int] | None:
    """(type, precision, scale) that a name in files[].options.types stands for; None when it is no such name."""
    name = name.replace(" ", "").lower()
    if (match := _DECIMAL.fullmatch(name)) is not None:
        precision, scale = int(match[1]), int(match[2])
        return ("decimal", precision, scale) if 1 <= precision <= 38 and scale <= precision else None
    return (_TYPE_NAMES[name], 0, 0) if name in _TYPE_NAMES else None


def wrong(code: str, detail: str, fix: str) -> PydanticCustomError:
    # The texts travel in the context: pydantic would read braces in the message as a template.
    return PydanticCustomError(code, "{detail}", {"detail": detail, "fix": fix})


def _fault(loc: tuple[str | int, ...], raw: object, code: str, detail: str, fix: str) -> InitErrorDetails:
    return InitErrorDetails(type=wrong(code, detail, fix), loc=loc, input=raw)


def cross_field_faults(raw: Mapping[str, Any]) -> list[InitErrorDetails]:
    """Rules between fields. The document may be wrong in any other way, so nothing about its types is assumed."""
    name = raw.get("intent")
    intent = find_intent(name) if isinstance(name, str) else None
    faults: list[InitErrorDetails] = []
    if isinstance(name, str) and intent is None:
        near = nearest(name, intent_names())
        hint = f"Did you mean {near!r}? " if near else ""
        table = ", ".join(intent_names())
        faults.append(
            _fault(
                ("intent",),
                name,
                "intent_unknown",
                f"Unknown intent {name!r}.",
                f"{hint}Known intents: {table}, ingest_*.",
            )
        )
    files = raw.get("files", ())
    if isinstance(files, list | tuple):
        faults += _file_faults(files, intent)
    metadata = raw.get("metadata")
    if isinstance(metadata, Mapping):
        faults += _metadata_faults(metadata, intent)
    return faults + list(_text_faults(raw, ()))


def _text_faults(value: object, loc: tuple[str | int, ...]) -> Iterator[InitErrorDetails]:
    """Text that not every ledger can keep: zero bytes, and halves of surrogate pairs."""
    if isinstance(value, str) and _NOT_TEXT.search(value):
        fix = "Send Unicode text without \\u0000 and without lone surrogates."
        yield _fault(loc, None, "text_invalid", "The text has a zero byte or half of a surrogate pair.", fix)
    elif isinstance(value, Mapping):
        for name, item in value.items():
            yield from _text_faults(name, (*loc, name))
            yield from _text_faults(item, (*loc, name))
    elif isinstance(value, list | tuple):
        for index, item in enumerate(value):
            yield from _text_faults(item, (*loc, index))


def _file_faults(files: list[Any] | tuple[Any, ...], intent: Intent | None) -> list[InitErrorDetails]:
    faults: list[InitErrorDetails] = []
    first_seen: dict[str, int] = {}
    for index, entry in enumerate(files):
        if not isinstance(entry, Mapping):
            continue
        path, kind, name = entry.get("path"), entry.get("type"), entry.get("format")
        if isinstance(path, str):
            twin = first_seen.setdefault(path.removeprefix("s3://"), index)
            if twin != index:
                faults.append(
                    _fault(
                        ("files", index, "path"), path, "path_duplicate",
                        f"{path!r} is listed twice (also as /files/{twin}).", "List every file once.",
                    )
                )  # fmt: skip
        fmt = find_format(name) if isinstance(name, str) else None
        if fmt is not None and kind in ("vector", "raster", "tabular") and fmt.type != kind:
            faults.append(
                _fault(
                    ("files", index, "format"), name, "format_type_mismatch",
                    f"{fmt.name} is a {fmt.type} format, the file is declared as {kind}.",
                    f"Declare type {fmt.type!r}, or one of {', '.join(format_names(kind))}.",
                )
            )  # fmt: skip
        faults += _option_faults(index, entry.get("options"), fmt)
        if intent and intent.file_types and kind in ("vector", "raster", "tabular") and kind not in intent.file_types:
            faults.append(
                _fault(
                    ("files", index, "type"), kind, "type_not_of_intent",
                    f"{intent.name} takes {' or '.join(intent.file_types)} files, not {kind}.",
                    f"Use an intent for {kind} files.",
                )
            )  # fmt: skip
    return faults + (_count_faults(files, intent) if intent else [])


def _option_faults(index: int, options: object, fmt: Format | None) -> list[InitErrorDetails]:
    """An option that the format's reader does not understand would be ignored silently."""
    if fmt is None or not isinstance(options, Mapping):
        return []
    understood = ", ".join(fmt.options) or "none"
    return [
        _fault(
            ("files", index, "options", name), options[name], "option_not_of_format",
            f"{fmt.name} has no use for the option {name!r}.", f"Remove it. Options of {fmt.name}: {understood}.",
        )
        for name in ("encoding", "delimiter", "quote", "header", "sheet", "nulls", "types", "warp", "resampling")
        if options.get(name) is not None and name not in fmt.options
    ]  # fmt: skip


def _count_faults(files: list[Any] | tuple[Any, ...], intent: Intent) -> list[InitErrorDetails]:
    if not intent.file_types:
        if not files:
            return []
        fix = "Remove files[]; name the datasets in metadata.join_config."
        return [
            _fault(("files",), None, "files_not_allowed", f"{intent.name} takes no files, found {len(files)}.", fix)
        ]
    if not files:
        fix = f"List at least one {' or '.join(intent.file_types)} file."
        return [_fault(("files",), None, "files_missing", f"{intent.name} needs files, found none.", fix)]
    if intent.max_files is not None and len(files) > intent.max_files:
        detail = f"{intent.name} takes exactly {intent.max_files} file, found {len(files)}."
        return [_fault(("files",), None, "files_too_many", detail, "Send one manifest for each file.")]
    declared = {str(entry.get("type")) for entry in files if isinstance(entry, Mapping)}
    kinds = declared & {"vector", "raster", "tabular"}
    if len(kinds) > 1:
        detail = f"The files are of different types: {', '.join(sorted(kinds))}."
        return [_fault(("files",), None, "files_mixed", detail, "Send one manifest for each type.")]
    return []


def _metadata_faults(metadata: Mapping[str, Any], intent: Intent | None) -> list[InitErrorDetails]:
    faults: list[InitErrorDetails] = []
    tags = metadata.get("tags")
    if isinstance(tags, Mapping):
        faults += _tag_faults(tags)
    given = metadata.get("join_config") is not None
    loc = ("metadata", "join_config")
    if intent and intent.needs_join_config and not given:
        fix = "Give metadata.join_config with spatial_dataset_id, tabular_dataset_id and left_key."
        faults.append(_fault(loc, None, "join_config_missing", f"{intent.name} needs a join_config.", fix))
    if intent and given and not intent.needs_join_config:
        fix = "Remove it, or use the intent join_datasets."
        faults.append(_fault(loc, None, "join_config_not_allowed", f"{intent.name} takes no join_config.", fix))
    return faults


def _tag_faults(tags: Mapping[str, Any]) -> list[InitErrorDetails]:
    faults = []
    dataset_id = tags.get("dataset_id")
    if "dataset_id" in tags and not (
        isinstance(dataset_id, str) and re.fullmatch(DATASET_ID_PATTERN[1:-1], dataset_id)
    ):
        fix = "Use 1 to 128 of A-Z a-z 0-9 . _ -, the first a letter or digit; or leave the tag out."
        faults.append(
            _fault(
                ("metadata", "tags", "dataset_id"),
                dataset_id,
                "dataset_id_invalid",
                f"Not a dataset id: {dataset_id!r}.",
                fix,
            )
        )
    if "testing" in tags and not isinstance(tags["testing"], bool):
        detail = f"testing is {tags['testing']!r}."
        faults.append(_fault(("metadata", "tags", "testing"), None, "testing_invalid", detail, "Use true or false."))
    return faults
