"""Validation errors as faults for a reader: JSON pointer, code, what was found, what to do."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel

from app.errors import Fault, InvalidManifest
from app.models.manifest import FileOptions, JoinConfig, Manifest, ManifestFile, Metadata
from app.models.nearest import nearest

# Codes that pydantic gives and a reader of a manifest meets; the others keep pydantic's own name.
_CODES = {"extra_forbidden": "field_unknown", "missing": "field_missing", "json_invalid": "json_invalid"}

_FIXES = {
    "missing": "Add the field.",
    "json_invalid": "Send a JSON document encoded as UTF-8.",
    "string_type": "Give a string.",
    "int_type": "Give an integer.",
    "int_parsing": "Give an integer.",
    "bool_parsing": "Give true or false.",
    "tuple_type": "Give an array.",
    "mapping_type": "Give an object.",
    "model_type": "Give an object.",
    "model_attributes_type": "Give a JSON object with Content-Type: application/json.",
    "datetime_from_date_parsing": "Give a time such as 2026-11-22T10:00:00Z.",
}

# Where unknown fields are looked up: the place in the document, with list positions left out.
_MODELS: dict[tuple[str, ...], type[BaseModel]] = {
    (): Manifest,
    ("files",): ManifestFile,
    ("files", "options"): FileOptions,
    ("metadata",): Metadata,
    ("metadata", "join_config"): JoinConfig,
}


def json_pointer(loc: Iterable[str | int]) -> str:
    """RFC 6901: `/files/0/path`; the empty string is the whole document."""
    pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in loc)
    return pointer.encode("utf-8", "backslashreplace").decode()


def faults_from(errors: Sequence[Mapping[str, Any]]) -> tuple[Fault, ...]:
    """One fault for each pydantic error line of a manifest, in document order, without repeats."""
    return tuple(dict.fromkeys(_fault(error) for error in errors))


def invalid_manifest(errors: Sequence[Mapping[str, Any]]) -> InvalidManifest:
    """What every door says about a manifest with these pydantic error lines."""
    return refused(faults_from(errors))


def refused(faults: tuple[Fault, ...]) -> InvalidManifest:
    count = f"{len(faults)} {'fault' if len(faults) == 1 else 'faults'}"
    return InvalidManifest(f"The manifest has {count}.", "Mend them all and send it again.", faults)


def _fault(error: Mapping[str, Any]) -> Fault:
    loc = tuple(error["loc"])
    code, ctx = str(error["type"]), error.get("ctx") or {}
    if code == "extra_forbidden":
        return _unknown_field(loc)
    detail = str(ctx.get("detail") or error["msg"])
    if code == "missing":
        detail = f"The field {str(loc[-1])!r} is missing." if loc else "The document is missing."
    elif code == "json_invalid":
        where = f" at character {loc[-1]}" if loc and isinstance(loc[-1], int) else ""
        return Fault("", code, f"Not JSON{where}: {ctx.get('error') or error['msg']}.", _FIXES[code])
    elif code == "string_pattern_mismatch":
        return Fault(
            json_pointer(loc), code, f"{_shown(error.get('input'))} is not allowed here.", f"Match {ctx['pattern']}."
        )
    elif "fix" not in ctx:
        detail = f"{detail.rstrip('.')}; found {_shown(error.get('input'))}."
    return Fault(
        json_pointer(loc), _CODES.get(code, code), detail, str(ctx.get("fix") or _FIXES.get(code, _allowed(ctx)))
    )


def _allowed(ctx: Mapping[str, Any]) -> str:
    if "expected" in ctx:
        return f"Use one of {ctx['expected']}."
    bounds = [
        f"{word} {ctx[name]}"
        for name, word in (("ge", "at least"), ("le", "at most"), ("gt", "more than"))
        if name in ctx
    ]
    return f"Give {' and '.join(bounds)}." if bounds else "See the schema of the manifest at /docs."


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _unknown_field(loc: tuple[str | int, ...]) -> Fault:
    name = str(loc[-1])
    container = tuple(part for part in loc[:-1] if isinstance(part, str))
    model = _MODELS.get(container)
    known = tuple(model.model_fields) if model else ()
    elsewhere = [where for where, other in _MODELS.items() if other is not model and name in other.model_fields]
    if near := nearest(name, known):
        fix = f"Did you mean {near!r}?"
    elif name in ("dataset_id", "testing"):
        fix = f"It belongs in metadata.tags.{name}."
    elif elsewhere:
        fix = f"It belongs in {'.'.join(elsewhere[0]) or 'the manifest itself'}."
    else:
        fix = f"Remove it, or put it in metadata.tags. Known here: {', '.join(known)}."
    return Fault(json_pointer(loc), "field_unknown", f"Unknown field {name!r}.", fix)
