"""The manifest: what a user asks for. Names and rules are the platform's contract.

Validation reports every fault at once, cross-field rules included: those run on the raw document even when other
fields are wrong, so that a reader never has to post twice to hear the second half.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import math
import re
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.models.base import Frozen
from app.models.formats import FileType, find_format, format_names
from app.models.intents import Intent, find_intent, intent_names
from app.models.nearest import nearest

LANDING_BUCKET = "landing-zone"
LAKE_BUCKET = "data-lake"
NAME_PATTERN = r"^[A-Za-z0-9._-]{1,128}$"
DATASET_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"

TagValue = str | int | float | bool


def _wrong(code: str, detail: str, fix: str) -> PydanticCustomError:
    # The texts travel in the context: pydantic would read braces in the message as a template.
    return PydanticCustomError(code, "{detail}", {"detail": detail, "fix": fix})


def _trimmed_text(value: str) -> str:
    if not value.strip():
        raise _wrong("empty", "The text is empty.", "Give at least one character that is not white space.")
    return value.strip()


def _landing_path(value: str) -> str:
    """`s3://landing-zone/KEY`, whichever of the two spellings came in."""
    bucket, _, key = value.removeprefix("s3://").partition("/")
    example = f"Write s3://{LANDING_BUCKET}/KEY, for example s3://{LANDING_BUCKET}/parcels/2026.gpkg."
    if "://" in value.removeprefix("s3://"):
        raise _wrong("path_scheme", f"{value!r} does not name an object of the landing zone.", example)
    if bucket != LANDING_BUCKET:
        raise _wrong("path_bucket", f"{value!r} is outside the bucket {LANDING_BUCKET!r}.", example)
    if not key or key.endswith("/"):
        raise _wrong("path_key", f"{value!r} names no object.", example)
    if any(part in ("", ".", "..") for part in key.split("/")) or "\\" in key or any(ord(c) < 32 for c in key):
        raise _wrong(
            "path_traversal", f"{value!r} has an empty, '.' or '..' part, a backslash or a control character.", example
        )
    return f"s3://{LANDING_BUCKET}/{key}"


def _format_name(value: str) -> str:
    fmt = find_format(value)
    if fmt is None:
        near = nearest(value, format_names())
        hint = f"Did you mean {near!r}? " if near else ""
        raise _wrong(
            "format_unknown", f"Unknown format {value!r}.", f"{hint}Known formats: {', '.join(format_names())}."
        )
    return fmt.name


def _encoding_name(value: str) -> str:
    try:
        return codecs.lookup(value).name
    except LookupError:
        raise _wrong(
            "encoding_unknown", f"Unknown encoding {value!r}.", "Use a name such as UTF-8, ISO-8859-1 or CP1252."
        ) from None


def _tag_value(value: object) -> object:
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, str | bool | int) and (isinstance(value, str) or -(2**63) <= value < 2**63):
        return value
    raise _wrong(
        "tag_type",
        f"A tag is {json.dumps(value, default=str)[:80]}.",
        "Tags are strings, 64-bit integers, floats or booleans.",
    )


def _keywords(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for value in values if (word := value.strip())))


Text = Annotated[str, AfterValidator(_trimmed_text)]
Encoding = Annotated[str, AfterValidator(_encoding_name)]


class FileOptions(Frozen):
    """How to read one file, where the file itself does not say."""

    encoding: Encoding | None = Field(
        None, description="Character encoding of the attributes, e.g. CP1252.", examples=["CP1252"]
    )
    delimiter: Annotated[str, Field(min_length=1, max_length=1)] | None = Field(
        None, description="Column delimiter (tabular)."
    )
    sheet: str | None = Field(None, description="Sheet of a workbook (tabular).")
    types: Mapping[str, str] | None = Field(None, description="Column types by column name (tabular).")


class ManifestFile(Frozen):
    """One source file in the landing zone."""

    path: Annotated[str, AfterValidator(_landing_path)] = Field(
        description=f"`s3://{LANDING_BUCKET}/…`, or the same without `s3://`.",
        examples=[f"s3://{LANDING_BUCKET}/demo/countries.zip"],
    )
    type: FileType = Field(description="What kind of file it is.")
    format: Annotated[str, AfterValidator(_format_name)] = Field(
        description=f"One of {', '.join(format_names())}.", examples=["GeoJSON"]
    )
    layer: Text | None = Field(None, description="Layer of a multi-layer source.")
    crs: Text | None = Field(None, description="CRS of a source that carries none, e.g. `EPSG:25832`.")
    options: FileOptions | None = Field(None, description="Reader options.")

    @property
    def key(self) -> str:
        """Key in the landing bucket."""
        return self.path.removeprefix(f"s3://{LANDING_BUCKET}/")


class JoinConfig(Frozen):
    """Which two datasets `join_datasets` joins, and on what."""

    spatial_dataset_id: Annotated[str, Field(pattern=DATASET_ID_PATTERN)]
    spatial_version: Annotated[int, Field(ge=1, strict=True)] | None = None
    tabular_dataset_id: Annotated[str, Field(pattern=DATASET_ID_PATTERN)]
    tabular_version: Annotated[int, Field(ge=1, strict=True)] | None = None
    left_key: Text = Field(description="Column of the tabular asset.")
    right_key: Text | None = Field(None, description="Column of the spatial asset; default: left_key.")
    how: Literal["left", "inner", "right", "outer"] = "left"


class Metadata(Frozen):
    """What the catalogue says about the dataset."""

    title: Text = Field(examples=["Countries of the world"])
    description: str = Field(examples=["Admin-0 countries, 1:110m"])
    source: str = Field(examples=["Natural Earth"])
    license: str = Field(examples=["Public domain"])
    attribution: str = Field(examples=["Made with Natural Earth"])
    keywords: Annotated[tuple[str, ...], AfterValidator(_keywords)] = ()
    project: str | None = None
    tags: Mapping[str, Annotated[Any, BeforeValidator(_tag_value)]] = Field(
        default_factory=dict,
        description="`dataset_id` names the dataset, `testing: true` marks a test run; any others are yours.",
        json_schema_extra={
            "additionalProperties": {"anyOf": [{"type": t} for t in ("string", "integer", "number", "boolean")]}
        },
    )
    join_config: JoinConfig | None = Field(None, description="Required by, and only for, `join_datasets`.")


class Manifest(Frozen):
    """A batch of files and what to make of them."""

    batch_id: Annotated[str, Field(pattern=NAME_PATTERN)] = Field(
        description="Unique for ever.", examples=["countries-2026-11-22"]
    )
    uploader: Text = Field(examples=["ada"])
    intent: str = Field(
        description=f"One of {', '.join(intent_names())}, or any other `ingest_*`.", examples=["ingest_vector"]
    )
    files: tuple[ManifestFile, ...] = ()
    metadata: Metadata

    @model_validator(mode="wrap")
    @classmethod
    def _all_faults(cls, raw: Any, handler: ModelWrapValidatorHandler[Manifest]) -> Manifest:
        faults: list[InitErrorDetails] = []
        manifest: Manifest | None = None
        try:
            manifest = handler(raw)
        except ValidationError as err:
            faults += [_carried(line) for line in err.errors(include_url=False)]
        if isinstance(raw, Mapping):
            faults += _cross_field_faults(raw)
        if faults or manifest is None:
            raise ValidationError.from_exception_data(cls.__name__, faults)
        return manifest

    @property
    def intent_row(self) -> Intent:
        intent = find_intent(self.intent)
        if intent is None:
            raise LookupError(self.intent)
        return intent

    @property
    def dataset_id(self) -> str:
        """The dataset that the tags name; else one derived from the batch id, so that a re-post finds it again."""
        tag = self.metadata.tags.get("dataset_id")
        return str(tag) if tag else "dataset_" + hashlib.sha256(self.batch_id.encode()).hexdigest()[:12]

    @property
    def testing(self) -> bool:
        return self.metadata.tags.get("testing") is True

    @property
    def content_hash(self) -> str:
        """`sha256:…` of the canonical JSON, equal for two spellings of the same manifest."""
        text = json.dumps(self.model_dump(mode="json"), sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _carried(line: Any) -> InitErrorDetails:
    """An error of the inner validation, to be raised again beside ours with its place, code and texts."""
    ctx = dict(line.get("ctx") or {})
    ctx.setdefault("detail", line["msg"])
    ctx["error"] = str(ctx["error"]) if "error" in ctx else ""
    error = PydanticCustomError(line["type"], "{detail}", ctx)
    return InitErrorDetails(type=error, loc=line["loc"], input=line.get("input"))


def _fault(loc: tuple[str | int, ...], raw: object, code: str, detail: str, fix: str) -> InitErrorDetails:
    return InitErrorDetails(type=_wrong(code, detail, fix), loc=loc, input=raw)


def _cross_field_faults(raw: Mapping[str, Any]) -> list[InitErrorDetails]:
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
    return faults


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
        if intent and intent.file_types and kind in ("vector", "raster", "tabular") and kind not in intent.file_types:
            faults.append(
                _fault(
                    ("files", index, "type"), kind, "type_not_of_intent",
                    f"{intent.name} takes {' or '.join(intent.file_types)} files, not {kind}.",
                    f"Use an intent for {kind} files.",
                )
            )  # fmt: skip
    return faults + (_count_faults(files, intent) if intent else [])


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


class ManifestStatus(StrEnum):
    """Where a manifest stands: the status of its newest run, or `rejected` when it never became one."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELED = "canceled"
    REJECTED = "rejected"


class ManifestRecord(Frozen):
    """A manifest as the ledger keeps it. `manifest` is the document as it was accepted (or came in, when rejected)."""

    batch_id: str
    manifest: Mapping[str, Any]
    content_hash: str
    source: Literal["api", "webhook", "sweep"] = "api"
    status: ManifestStatus = ManifestStatus.QUEUED
    error_message: str | None = None
    ingested_at: datetime
    completed_at: datetime | None = None

    def parsed(self) -> Manifest:
        return Manifest.model_validate(self.manifest)
