"""The manifest: what a user asks for. Names and rules are the platform's contract.

Validation reports every fault at once, cross-field rules included: those run on the raw document even when other
fields are wrong, so that a reader never has to post twice to hear the second half.
"""

from __future__ import annotations

import codecs
import hashlib
import json
import math
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ModelWrapValidatorHandler, ValidationError, model_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from app.models.base import Frozen
from app.models.formats import FileType, find_format, format_names
from app.models.intents import Intent, find_intent, intent_names
from app.models.manifest_rules import DATASET_ID_PATTERN, column_type, cross_field_faults, wrong
from app.models.nearest import nearest

LANDING_BUCKET = "landing-zone"
LAKE_BUCKET = "data-lake"
MAX_KEY_BYTES = 1024
NAME_PATTERN = r"^[A-Za-z0-9._-]{1,128}$"

TagValue = str | int | float | bool


def _trimmed_text(value: str) -> str:
    if not value.strip():
        raise wrong("empty", "The text is empty.", "Give at least one character that is not white space.")
    return value.strip()


def _landing_path(value: str) -> str:
    """`s3://landing-zone/KEY`, whichever of the two spellings came in."""
    bucket, _, key = value.removeprefix("s3://").partition("/")
    example = f"Write s3://{LANDING_BUCKET}/KEY, for example s3://{LANDING_BUCKET}/parcels/2026.gpkg."
    if "://" in value.removeprefix("s3://"):
        raise wrong("path_scheme", f"{value!r} does not name an object of the landing zone.", example)
    if bucket != LANDING_BUCKET:
        raise wrong("path_bucket", f"{value!r} is outside the bucket {LANDING_BUCKET!r}.", example)
    if len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        raise wrong("path_key", f"The key has more than {MAX_KEY_BYTES} bytes.", example)
    if not key or key.endswith("/"):
        raise wrong("path_key", f"{value!r} names no object.", example)
    if any(part in ("", ".", "..") for part in key.split("/")) or "\\" in key or any(ord(c) < 32 for c in key):
        raise wrong(
            "path_traversal", f"{value!r} has an empty, '.' or '..' part, a backslash or a control character.", example
        )
    return f"s3://{LANDING_BUCKET}/{key}"


def _format_name(value: str) -> str:
    fmt = find_format(value)
    if fmt is None:
        near = nearest(value, format_names())
        hint = f"Did you mean {near!r}? " if near else ""
        raise wrong(
            "format_unknown", f"Unknown format {value!r}.", f"{hint}Known formats: {', '.join(format_names())}."
        )
    return fmt.name


def _encoding_name(value: str) -> str:
    try:
        return codecs.lookup(value).name
    except LookupError:
        raise wrong(
            "encoding_unknown", f"Unknown encoding {value!r}.", "Use a name such as UTF-8, ISO-8859-1 or CP1252."
        ) from None


def _column_type_name(value: str) -> str:
    if column_type(value) is None:
        raise wrong(
            "type_unknown",
            f"Unknown column type {value!r}.",
            "Use text, int64, float64, decimal(p,s) with p up to 38, bool, date, timestamp, timestamp_utc or time.",
        )
    return value


def _delimiter_character(value: str) -> str:
    if not value.isascii() or value.isalnum() or value in "\r\n\x00\"'":
        raise wrong(
            "delimiter_invalid",
            f"{value!r} cannot stand between columns.",
            "Use one ASCII character that is no letter, digit, quotation mark or line end.",
        )
    return value


def _tag_value(value: object) -> object:
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, str | bool | int) and (isinstance(value, str) or -(2**63) <= value < 2**63):
        return value
    raise wrong(
        "tag_type",
        f"A tag is {json.dumps(value, default=str)[:80]}.",
        "Tags are strings, 64-bit integers, floats or booleans.",
    )


def _keywords(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for value in values if (word := value.strip())))


Text = Annotated[str, AfterValidator(_trimmed_text), Field(json_schema_extra={"pattern": r"\S"})]
Encoding = Annotated[str, AfterValidator(_encoding_name)]


class FileOptions(Frozen):
    """How to read one file, where the file itself does not say."""

    encoding: Encoding | None = Field(
        None, description="Character encoding of the attributes, e.g. CP1252.", examples=["CP1252"]
    )
    delimiter: Annotated[str, Field(min_length=1, max_length=1), AfterValidator(_delimiter_character)] | None = Field(
        None, description="Column delimiter (tabular)."
    )
    quote: Literal['"', "'", "none"] | None = Field(None, description='Quotation mark, default `"` (tabular).')
    header: bool | None = Field(None, description="Whether the first row is the header; default true (tabular).")
    sheet: str | None = Field(None, description="Sheet of a workbook (tabular).")
    nulls: tuple[str, ...] | None = Field(None, description="Texts that mean no value, e.g. `NA` (tabular).")
    types: Mapping[str, Annotated[str, AfterValidator(_column_type_name)]] | None = Field(
        None, description="Column types by column name, e.g. `text`, `decimal(12,2)` (tabular)."
    )
    warp: Literal["EPSG:4326"] | None = Field(
        None, description="Warp to this CRS (raster); without it pixels stay on their own grid."
    )
    resampling: Literal["nearest", "average", "bilinear", "cubic", "mode"] | None = Field(
        None, description="Of overviews and warp (raster); default: nearest for classes, else average and bilinear."
    )


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
    spatial_columns: tuple[Text, ...] = Field(
        (), description="Attributes of the spatial asset to keep besides `geom`; `*` for all.", examples=[["name"]]
    )


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
    new_version: Literal["if_changed", "always"] = Field(
        "if_changed",
        description="`if_changed`: where the newest version was made of the same files, in the same way, with the same "
        "metadata and the same software, the run ends with that version.",
    )

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
            faults += cross_field_faults(raw)
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
        # Without defaults, so that a field of a later release does not change the hash of what was accepted before.
        document = self.model_dump(mode="json", exclude_defaults=True)
        text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


def _carried(line: Any) -> InitErrorDetails:
    """An error of the inner validation, to be raised again beside ours with its place, code and texts."""
    ctx = dict(line.get("ctx") or {})
    ctx.setdefault("detail", line["msg"])
    ctx["error"] = str(ctx["error"]) if "error" in ctx else ""
    error = PydanticCustomError(line["type"], "{detail}", ctx)
    return InitErrorDetails(type=error, loc=line["loc"], input=line.get("input"))


class ManifestStatus(StrEnum):
    """Where a manifest stands: the status of its newest run, or `rejected` when it never became one.

    `removed`: only the batch id is left, so that nobody takes it again.
    """

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCESS = "success"
    FAILURE = "failure"
    CANCELED = "canceled"
    REJECTED = "rejected"
    REMOVED = "removed"


class ManifestFault(Frozen):
    """One thing that is wrong with a rejected manifest. pointer: JSON pointer into the document."""

    pointer: str
    code: str
    detail: str
    fix: str = ""


class ManifestRecord(Frozen):
    """A manifest as the ledger keeps it. `manifest` is the document as it was accepted (or came in, when rejected).

    object_key, object_etag: the landing-zone object that it came in, for the webhook and the sweep. A rejected one has
    faults and a batch id of its own (`rejected.` + 16 hex digits), so that the corrected manifest may use its own.
    """

    batch_id: str
    manifest: Mapping[str, Any]
    content_hash: str
    source: Literal["api", "webhook", "sweep"] = "api"
    status: ManifestStatus = ManifestStatus.QUEUED
    error_message: str | None = None
    faults: tuple[ManifestFault, ...] = ()
    object_key: str | None = None
    object_etag: str | None = None
    ingested_at: datetime
    completed_at: datetime | None = None

    def parsed(self) -> Manifest:
        return Manifest.model_validate(self.manifest)
