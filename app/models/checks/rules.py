"""Rules across the fields of `dataset`. They run on the raw document, so they assume nothing about its types."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pydantic_core import InitErrorDetails

from app.messages.checks import (
    CHECK_CONTRADICTS,
    CHECK_INCOMPLETE,
    CHECK_NOT_OF_KIND,
    CHECK_OWN_DATASET,
    CHECK_UNKNOWN,
    CHECKS_NOT_ALLOWED,
    DATASET_ID_DIFFERS,
)
from app.messages.message import FaultMessage
from app.models.checks.kinds import BY_NAME, MAX_CHECKS
from app.models.intents import Intent
from app.models.json_values import shown
from app.models.manifests.nearest import nearest
from app.models.problem_text import wrong

Subject = Literal["vector files", "tables", "joins", "rasters"]
_GEOMETRY = ("valid_geometry", "geometry_types", "within", "no_overlaps", "area_kept")


def tag_fault(line: Mapping[str, Any]) -> InitErrorDetails | None:
    """A check that is missing or unknown in an entry of `dataset.checks`; None for all other faults.

    line: an error line of pydantic.
    """
    loc = (*line["loc"], "check")
    if line["type"] == "union_tag_not_found":
        return InitErrorDetails(type="missing", loc=loc, input=None)
    if line["type"] != "union_tag_invalid":
        return None
    name = str(line["ctx"]["tag"])
    near = nearest(name, BY_NAME)
    hint = f"Did you mean {near!r}? " if near else ""
    return _fault(loc, name, CHECK_UNKNOWN, name=shown(name), hint=hint, known=", ".join(BY_NAME))


def without_tag(loc: Sequence[str | int]) -> tuple[str | int, ...]:
    """The place in the document: pydantic puts the name of a check between its number and its field."""
    if len(loc) > 4 and tuple(loc[:2]) == ("dataset", "checks") and loc[3] in BY_NAME:
        return (*loc[:3], *loc[4:])
    return tuple(loc)


def dataset_faults(raw: Mapping[str, Any], intent: Intent | None) -> Iterator[InitErrorDetails]:
    """The faults of `dataset` that concern several fields. raw: the whole manifest."""
    dataset = raw.get("dataset")
    if not isinstance(dataset, Mapping):
        return
    metadata = raw.get("metadata")
    tags = metadata.get("tags") if isinstance(metadata, Mapping) else None
    tag, name = tags.get("dataset_id") if isinstance(tags, Mapping) else None, dataset.get("id")
    if isinstance(tag, str) and isinstance(name, str) and tag and name and tag != name:
        yield _fault(("dataset", "id"), name, DATASET_ID_DIFFERS, value=shown(name), tag=shown(tag))
    checks = dataset.get("checks")
    # Too many are refused as a whole.
    if not isinstance(checks, list | tuple) or not 0 < len(checks) <= MAX_CHECKS:
        return
    subject = None if intent is None else _subject(intent, raw.get("files"))
    if subject == "rasters":
        yield _fault(("dataset", "checks"), None, CHECKS_NOT_ALLOWED)
        return
    for index, check in enumerate(checks):
        name = check.get("check") if isinstance(check, Mapping) else None
        if isinstance(name, str) and name in BY_NAME:
            loc = ("dataset", "checks", index)
            if subject is not None and (reason := _why_not(name, subject)):
                known = ", ".join(each for each in BY_NAME if not _why_not(each, subject))
                values = {"check": name, "subject": subject, "reason": reason, "known": known}
                yield _fault((*loc, "check"), name, CHECK_NOT_OF_KIND, **values)
            yield from _field_faults(loc, name, check, tag or dataset.get("id"))


def _fault(loc: tuple[str | int, ...], raw: object, message: FaultMessage, **values: Any) -> InitErrorDetails:
    return InitErrorDetails(type=wrong(message, **values), loc=loc, input=raw)


def _subject(intent: Intent, files: object) -> Subject:
    if intent.needs_join_config:
        return "joins"
    if intent.file_types == ("tabular",):
        return "tables"
    entries = files if isinstance(files, list | tuple) else ()
    kinds = {str(each.get("type")) for each in entries if isinstance(each, Mapping)}
    return "rasters" if "vector" not in intent.file_types or "raster" in kinds else "vector files"


def _why_not(check: str, subject: Subject) -> str:
    """Why data of this kind cannot answer the check; empty where it can."""
    if subject == "tables" and check in _GEOMETRY:
        return "a table has no geometries"
    if subject == "joins" and check == "area_kept":
        return "a join changes no geometries"
    return ""


def _field_faults(
    loc: tuple[str | int, ...], name: str, check: Mapping[str, Any], own: object
) -> Iterator[InitErrorDetails]:
    """own: the dataset of the manifest."""
    if name == "unique":
        given = [each for each in ("column", "columns") if check.get(each) is not None]
        if len(given) != 1:
            found = "both column and columns" if given else "no column"
            yield _fault(loc, None, CHECK_INCOMPLETE, check=name, found=found, needed="either column or columns")
        columns = check.get("columns")
        texts = [each for each in columns if isinstance(each, str)] if isinstance(columns, list | tuple) else []
        if len(set(texts)) < len(texts):
            fix = "List each column once."
            yield _fault((*loc, "columns"), None, CHECK_CONTRADICTS, check=name, found="a column twice", fix=fix)
    elif name in ("between", "rows"):
        fields = ("min", "max") if name == "between" else ("min", "max", "change")
        if all(check.get(each) is None for each in fields):
            needed = f"at least one of {', '.join(fields)}"
            yield _fault(loc, None, CHECK_INCOMPLETE, check=name, found=f"none of {', '.join(fields)}", needed=needed)
        yield from _range_faults(loc, name, check.get("min"), check.get("max"))
    elif name == "within":
        yield from _area_faults(loc, check, own)
        box = check.get("bbox")
        if isinstance(box, list | tuple) and len(box) == 4 and all(map(_is_number, box)):
            for low, high, axis in ((box[0], box[2], "x"), (box[1], box[3], "y")):
                if low > high:
                    found, fix = f"min{axis} {low} above max{axis} {high}", "Give [minx, miny, maxx, maxy]."
                    yield _fault((*loc, "bbox"), None, CHECK_CONTRADICTS, check=name, found=found, fix=fix)


def _area_faults(loc: tuple[str | int, ...], check: Mapping[str, Any], own: object) -> Iterator[InitErrorDetails]:
    box, dataset, version = (check.get(each) for each in ("bbox", "dataset", "version"))
    if (box is None) is (dataset is None):
        found = "neither bbox nor dataset" if box is None else "both bbox and dataset"
        yield _fault(loc, None, CHECK_INCOMPLETE, check="within", found=found, needed="either bbox or dataset")
    if version is not None and dataset is None:
        found, needed = "a version without a dataset", "its dataset, or leave version out"
        yield _fault((*loc, "version"), version, CHECK_INCOMPLETE, check="within", found=found, needed=needed)
    if dataset is not None and dataset == own:
        yield _fault((*loc, "dataset"), dataset, CHECK_OWN_DATASET, dataset=shown(dataset))


def _range_faults(loc: tuple[str | int, ...], name: str, low: object, high: object) -> Iterator[InitErrorDetails]:
    if low is None or high is None:
        return
    if (isinstance(low, str) and _is_number(high)) or (_is_number(low) and isinstance(high, str)):
        found = f"min {shown(low)} and max {shown(high)}, a number and a text"
        yield _fault((*loc, "max"), high, CHECK_CONTRADICTS, check=name, found=found, fix="Give two of one type.")
    elif _is_number(low) and _is_number(high) and low > high:  # type: ignore[operator] # both are numbers
        found = f"min {shown(low)} above max {shown(high)}"
        yield _fault((*loc, "max"), high, CHECK_CONTRADICTS, check=name, found=found, fix="Exchange them.")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
