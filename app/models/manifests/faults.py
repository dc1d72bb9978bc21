"""Validation errors as faults for a reader: where, which code, what was found, what is allowed.

Pydantic's and the JSON parser's own texts never reach a user. `app.messages.values` has the plain text of each error
type that the models of this service can raise; tests/api/test_problem_texts.py sends wrong values to find one that is
missing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import Any

from pydantic import BaseModel

from app.errors import Fault, InvalidManifest
from app.messages.manifest import (
    BODY_MISSING,
    FAULTS_OMITTED,
    FIELD_MISPLACED,
    FIELD_MISSING,
    FIELD_MISSPELT,
    FIELD_UNKNOWN,
    GEOMETRY_CRS_MISSING,
    JSON_INVALID,
    SEND_OBJECT,
)
from app.messages.request import BODY_MISSING as REQUEST_BODY_MISSING
from app.messages.request import FIELD_MISSING as PARAMETER_MISSING
from app.messages.request import FIELD_MISSPELT as BODY_FIELD_MISSPELT
from app.messages.request import FIELD_UNKNOWN as BODY_FIELD_UNKNOWN
from app.messages.values import NOT_VALID, VALUES
from app.models.checks.kinds import BY_NAME
from app.models.checks.rules import without_tag
from app.models.dataset import DatasetChoice
from app.models.json_values import shown
from app.models.manifests.file_options import FileOptions, GeometryColumns
from app.models.manifests.listed_faults import MAX_FAULTS, OMITTED
from app.models.manifests.manifest import Manifest, ManifestFile
from app.models.manifests.metadata import JoinConfig, Metadata
from app.models.manifests.nearest import nearest
from app.models.recipes.columns import ColumnsChoice
from app.models.recipes.vector import SimplifyChoice, VectorRecipe

# Characters of the parts of a fault. Names of fields come from the sender, and every part is kept and sent.
_MAX_POINTER, _MAX_TEXT = 256, 600

# The parser's messages, without the place.
_JSON_ERRORS = {
    "Expecting value": "a value is missing or not valid",
    "Expecting property name enclosed in double quotes": "a field name in double quotes is missing",
    "Expecting ':' delimiter": "a colon is missing after a field name",
    "Expecting ',' delimiter": "a comma is missing",
    "Extra data": "there is more text after the end of the document",
    "Unterminated string starting at": "a string has no closing quotation mark",
    "Invalid control character at": "a string contains a control character that is not escaped",
    "Invalid \\escape": "a string contains an unknown escape sequence",
    "Invalid \\uXXXX escape": "a string contains an incomplete \\u escape sequence",
    "Illegal trailing comma before end of object": "there is a comma after the last field of an object",
    "Illegal trailing comma before end of array": "there is a comma after the last item of an array",
    "Unexpected UTF-8 BOM (decode using utf-8-sig)": "it begins with a byte order mark",
}

# Where unknown fields are looked up: the place in the document, with list positions left out.
_MODELS: dict[tuple[str, ...], type[BaseModel]] = {
    (): Manifest,
    ("files",): ManifestFile,
    ("files", "options"): FileOptions,
    ("files", "options", "geometry"): GeometryColumns,
    ("recipe",): VectorRecipe,
    ("recipe", "simplify"): SimplifyChoice,
    ("dataset",): DatasetChoice,
    ("recipe", "columns"): ColumnsChoice,
    ("metadata",): Metadata,
    ("metadata", "join_config"): JoinConfig,
}
# The same for checks, with the name of the check in the place.
_CHECKS: dict[tuple[str, ...], type[BaseModel]] = {("dataset", "checks", name): each for name, each in BY_NAME.items()}


def json_pointer(loc: Iterable[str | int]) -> str:
    """RFC 6901: `/files/0/path`; the empty string is the whole document."""
    pointer = "".join("/" + str(part).replace("~", "~0").replace("/", "~1") for part in loc)
    return pointer.encode("utf-8", "backslashreplace").decode()


def manifest_fault(error: Mapping[str, Any]) -> Fault:
    """One pydantic error line of a manifest as a fault; `pointer` is a JSON pointer into the manifest."""
    loc = tuple(error["loc"])
    pointer = "" if error["type"] == JSON_INVALID.code else json_pointer(without_tag(loc))
    if error["type"] == "extra_forbidden":
        return _unknown_manifest_field(pointer, loc)
    if error["type"] == "missing" and loc[-2:] == ("geometry", "crs"):
        return GEOMETRY_CRS_MISSING(pointer)
    if error["type"] == "missing":
        return FIELD_MISSING(pointer, name=shown(str(loc[-1]))) if loc else BODY_MISSING(pointer)
    return Fault(pointer, str(error["type"]), *describe(error, without_tag(loc)))


def request_fault(error: Mapping[str, Any], fields: Iterable[str] = ()) -> Fault:
    """One pydantic error line of another request as a fault.

    Args:
        error: its `loc` begins with `body`, `query`, `path` or `header`, and so does the pointer of the fault.
        fields: those that the body has, for the fix of an unknown one.
    """
    pointer, loc = "/".join(map(str, error["loc"])), tuple(error["loc"])[1:]
    if error["type"] == "extra_forbidden":
        return bounded(_unknown_field(pointer, str(loc[-1]), tuple(fields)))
    if error["type"] == "missing":
        fault = PARAMETER_MISSING(pointer, name=shown(str(loc[-1]))) if loc else REQUEST_BODY_MISSING(pointer)
        return bounded(fault)
    return bounded(Fault(pointer, str(error["type"]), *describe(error, loc)))


def request_faults(errors: Sequence[Mapping[str, Any]], fields: Iterable[str] = ()) -> tuple[Fault, ...]:
    """The first faults of a request that is not a manifest; a last one counts those that are left out."""
    faults = tuple(request_fault(error, fields) for error in errors[:MAX_FAULTS])
    return faults + omitted_faults(len(errors) - len(faults), "body")


def describe(error: Mapping[str, Any], loc: Sequence[str | int]) -> tuple[str, str]:
    """The detail and fix of a pydantic error line. loc: its place within the document or the query."""
    kind, ctx = str(error["type"]), error.get("ctx") or {}
    if "fix" in ctx:
        return str(ctx["detail"]), str(ctx["fix"])
    if kind == "missing" and loc:
        return FIELD_MISSING.texts(name=shown(str(loc[-1])))
    if kind == JSON_INVALID.code:
        where = f" at character {loc[-1]}" if loc and isinstance(loc[-1], int) else ""
        return JSON_INVALID.texts(where=where, reason=json_reason(ctx.get("error")))
    name = _cut(".".join(map(str, loc)), _MAX_POINTER) or "The document"
    detail, fix = VALUES.get(kind, NOT_VALID).texts(name=name, found=shown(error.get("input")), **ctx)
    return detail, fix if loc or kind not in VALUES else SEND_OBJECT


def json_reason(error: object) -> str:
    """Why a text is not JSON. error: a JSONDecodeError, its message, or a text of ours."""
    reason = str(getattr(error, "msg", error) or "it cannot be read")
    return _JSON_ERRORS.get(reason, reason)


def invalid_manifest(errors: Sequence[Mapping[str, Any]]) -> InvalidManifest:
    """The refusal of a manifest with these pydantic error lines: see `refused`."""
    listed = [error for error in errors if error["type"] != OMITTED]
    omitted = sum(error["ctx"]["count"] for error in errors if error["type"] == OMITTED)
    return refused(map(manifest_fault, listed[:MAX_FAULTS]), omitted + max(0, len(listed) - MAX_FAULTS))


def refused(faults: Iterable[Fault], omitted: int = 0) -> InvalidManifest:
    """The refusal of a manifest with the first of these faults, without repeats; a last one counts the others.

    Args:
        faults: their texts are cut where a sender made them long.
        omitted: how many further ones were left out before.
    """
    rest = iter(faults)
    kept = tuple(dict.fromkeys(map(bounded, islice(rest, MAX_FAULTS))))
    omitted += sum(1 for _ in rest)
    count = f"{len(kept) + omitted:,} {'fault' if len(kept) + omitted == 1 else 'faults'}"
    return InvalidManifest(
        f"The manifest has {count}.", "Fix all of them and resubmit.", kept + omitted_faults(omitted)
    )


def omitted_faults(count: int, pointer: str = "") -> tuple[Fault, ...]:
    """The fault that counts those that are not listed; none when all are."""
    if count <= 0:
        return ()
    return (FAULTS_OMITTED(pointer, count=count),)


def bounded(fault: Fault) -> Fault:
    """The fault, with its texts cut where a sender made them long."""
    pointer, detail = _cut(fault.pointer, _MAX_POINTER), _cut(fault.detail, _MAX_TEXT)
    return Fault(pointer, fault.code, detail, _cut(fault.fix, _MAX_TEXT))


def _cut(text: str, most: int) -> str:
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= most else text[: most - 3] + "..."


def _unknown_field(pointer: str, name: str, known: Sequence[str]) -> Fault:
    if near := nearest(name, known):
        return BODY_FIELD_MISSPELT(pointer, name=shown(name), nearest=near)
    return BODY_FIELD_UNKNOWN(pointer, name=shown(name), known=", ".join(known))


def _unknown_manifest_field(pointer: str, loc: tuple[str | int, ...]) -> Fault:
    name = str(loc[-1])
    container = tuple(part for part in loc[:-1] if isinstance(part, str))
    model = _MODELS.get(container) or _CHECKS.get(container)
    known = tuple(model.model_fields) if model else ()
    elsewhere = [where for where, other in _MODELS.items() if other is not model and name in other.model_fields]
    if near := nearest(name, known):
        return FIELD_MISSPELT(pointer, name=shown(name), nearest=near)
    if name in ("dataset_id", "testing"):
        return FIELD_MISPLACED(pointer, name=shown(name), place=f"metadata.tags.{name}")
    if elsewhere:
        return FIELD_MISPLACED(pointer, name=shown(name), place=".".join(elsewhere[0]) or "the manifest itself")
    return FIELD_UNKNOWN(pointer, name=shown(name), known=", ".join(known))
