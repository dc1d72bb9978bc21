"""The manifest: what a user asks for. Names and rules are the platform's contract.

Validation reports every fault at once, cross-field rules included: those run on the raw document even when other
fields are wrong, so that one attempt shows everything.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    ModelWrapValidatorHandler,
    ValidationError,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import InitErrorDetails

from app.messages.manifest import (
    FORMAT_UNKNOWN,
    LAYERS_NONE,
    LAYERS_REPEATED,
    PATH_BUCKET,
    PATH_KEY_MISSING,
    PATH_KEY_TOO_LONG,
    PATH_SCHEME,
    PATH_TRAVERSAL,
)
from app.models.base import Frozen
from app.models.bounded import FROM_LEDGER, AtMost
from app.models.checks.kinds import Check, Within
from app.models.dataset import DatasetChoice
from app.models.formats import FileType, find_format, format_names
from app.models.intents import Intent, find_intent, intent_names
from app.models.json_values import shown
from app.models.manifests.file_options import FileOptions
from app.models.manifests.listed_faults import MAX_FAULTS, first_faults, raised_again
from app.models.manifests.metadata import Metadata
from app.models.manifests.rules import cross_field_faults, readable_id, text_faults
from app.models.problem_text import wrong
from app.models.recipes.vector import VectorRecipe
from app.models.texts import CrsText, Label, Text

LANDING_BUCKET = "landing-zone"
LAKE_BUCKET = "data-lake"
# In the lake: products that failed their checks, by run. No dataset id begins like this.
REJECTED_PREFIX = "_rejected/"
# Where manifests are dropped in the landing zone.
MANIFEST_PREFIX = "manifests/"
MAX_KEY_BYTES = 1024
_MAX_PATH = len(f"s3://{LANDING_BUCKET}/") + MAX_KEY_BYTES
NAME_PATTERN = r"^[A-Za-z0-9._-]{1,128}$"


def _landing_path(value: str) -> str:
    """Normalize to `s3://landing-zone/KEY`; `s3://` may be missing."""
    bucket, _, key = value.removeprefix("s3://").partition("/")
    if "://" in value.removeprefix("s3://"):
        raise wrong(PATH_SCHEME, path=shown(value), bucket=LANDING_BUCKET)
    if bucket != LANDING_BUCKET:
        raise wrong(PATH_BUCKET, path=shown(value), bucket=LANDING_BUCKET)
    if len(key.encode("utf-8", "surrogatepass")) > MAX_KEY_BYTES:
        raise wrong(PATH_KEY_TOO_LONG, limit=MAX_KEY_BYTES, bucket=LANDING_BUCKET)
    if not key or key.endswith("/"):
        raise wrong(PATH_KEY_MISSING, path=shown(value), bucket=LANDING_BUCKET)
    if any(part in ("", ".", "..") for part in key.split("/")) or "\\" in key or any(ord(c) < 32 for c in key):
        raise wrong(PATH_TRAVERSAL, path=shown(value), bucket=LANDING_BUCKET)
    return f"s3://{LANDING_BUCKET}/{key}"


def _format_name(value: str) -> str:
    fmt = find_format(value)
    if fmt is None:
        raise wrong(FORMAT_UNKNOWN, name=shown(value), known=", ".join(format_names()))
    return fmt.name


MAX_FILES = 5_000
ALL_LAYERS = "*"
_MAX_LAYERS = 1_000


def _layers_array(value: object) -> object:
    return (ALL_LAYERS,) if value == ALL_LAYERS else value


def _different_layers(value: tuple[str, ...]) -> tuple[str, ...]:
    if not value or (ALL_LAYERS in value and len(value) > 1):
        raise wrong(LAYERS_NONE, all=ALL_LAYERS)
    if len(set(value)) < len(value):
        twice, _ = Counter(value).most_common(1)[0]
        raise wrong(LAYERS_REPEATED, name=shown(twice))
    return value


Layers = Annotated[
    Annotated[tuple[Text, ...], AtMost(_MAX_LAYERS)],
    BeforeValidator(_layers_array),
    AfterValidator(_different_layers),
    WithJsonSchema(
        {
            "anyOf": [
                {"const": ALL_LAYERS},
                {
                    "type": "array",
                    "items": {"type": "string", "maxLength": 1_000, "pattern": r"\S"},
                    "minItems": 1,
                    "maxItems": _MAX_LAYERS,
                    "uniqueItems": True,
                },
            ]
        }
    ),
]


class ManifestFile(Frozen):
    """One source file in the landing zone."""

    path: Annotated[str, AfterValidator(_landing_path)] = Field(
        json_schema_extra={"maxLength": _MAX_PATH},
        description=f"`s3://{LANDING_BUCKET}/…`, or the same without `s3://`. `*` and `?` stand for characters of a "
        "name, `**` for any folders: the objects that match when the manifest is accepted are its files.",
        examples=[f"s3://{LANDING_BUCKET}/demo/countries.zip"],
    )
    type: FileType = Field(description="What kind of file it is.")
    format: Annotated[str, AtMost(100), AfterValidator(_format_name)] = Field(
        description=f"One of {', '.join(format_names())}.", examples=["GeoJSON"]
    )
    member: Annotated[str, Field(min_length=1), AtMost(1_024)] | None = Field(
        None,
        description="Name of the source in a zip archive that has several.",
        examples=["2026/parcels.csv"],
    )
    layer: Text | None = Field(None, description="Layer of a multi-layer source.")
    layers: Layers | None = Field(
        None,
        description="Several layers of a multi-layer vector source, which become one like several files; `*`: all that "
        "have geometries.",
        examples=[["roads", "paths"]],
    )
    crs: CrsText | None = Field(None, description="CRS of a source that does not define one, e.g. `EPSG:25832`.")
    options: FileOptions | None = Field(None, description="Reader options.")

    @property
    def key(self) -> str:
        """Key in the landing bucket."""
        return self.path.removeprefix(f"s3://{LANDING_BUCKET}/")

    @property
    def has_geometries(self) -> bool:
        """Whether it is read as vector data: a vector file, or a table whose columns have the coordinates."""
        return self.type == "vector" or (self.options is not None and self.options.geometry is not None)

    @property
    def all_layers(self) -> bool:
        """Whether all layers with geometries are asked for."""
        return self.layers == (ALL_LAYERS,)

    @property
    def named_layers(self) -> tuple[str, ...]:
        """The layers that are asked for by name."""
        if self.layers is not None:
            return () if self.all_layers else self.layers
        return () if self.layer is None else (self.layer,)

    def of_keys(self, found: Iterable[FilesFound]) -> list[ManifestFile]:
        """The files that the path stands for: one with the same fields for each object of a pattern."""
        keys = next((each.keys for each in found if each.path == self.path), (self.key,))
        return [self.model_copy(update={"path": f"s3://{LANDING_BUCKET}/{key}"}) for key in keys]


class FilesFound(Frozen):
    """The objects that a pattern in files[].path stood for when the manifest was accepted: their keys, in order."""

    path: str
    keys: tuple[str, ...]


class Manifest(Frozen):
    """A batch of files and what to do with them."""

    batch_id: Annotated[str, Field(pattern=NAME_PATTERN)] = Field(
        description="Unique, never reused.", examples=["countries-2026-11-22"]
    )
    uploader: Label = Field(examples=["ada"])
    intent: str = Field(
        max_length=128,
        description=f"One of {', '.join(intent_names())}, or any other `ingest_*`.",
        examples=["ingest_vector"],
    )
    files: Annotated[tuple[ManifestFile, ...], AtMost(MAX_FILES)] = ()
    recipe: VectorRecipe | None = Field(
        None,
        description="What happens to vector files, where it differs from the recipe of the intent. An accepted "
        "manifest has the whole recipe of its runs here.",
    )
    dataset: DatasetChoice | None = Field(
        None, description="The dataset that the result is a version of, and the checks that it has to pass."
    )
    metadata: Metadata
    new_version: Literal["if_changed", "always"] = Field(
        "if_changed",
        description="`if_changed`: if the newest version was made from the same files, in the same way, with the same "
        "metadata and the same software, the run ends with that version.",
    )

    supersedes: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")] | None = Field(
        None,
        description="Corrects a manifest of the same batch_id of which no run made a version: its `content_hash`, as "
        "GET /manifests/{batch_id} shows it. The earlier manifest and its runs stay readable there.",
    )

    @model_validator(mode="wrap")
    @classmethod
    def _all_faults(cls, raw: Any, handler: ModelWrapValidatorHandler[Manifest]) -> Manifest:
        faults: list[InitErrorDetails] = []
        manifest: Manifest | None = None
        texts = first_faults(text_faults(raw)) if isinstance(raw, Mapping) else []
        if len(texts) <= MAX_FAULTS:
            try:
                manifest = handler(raw)
            except ValidationError as err:
                # A lone surrogate is text_invalid, once.
                lines = [line for line in err.errors(include_url=False) if line["type"] != "string_unicode"]
                faults += first_faults(raised_again(line) if at < MAX_FAULTS else None for at, line in enumerate(lines))
            if isinstance(raw, Mapping):
                faults += first_faults(cross_field_faults(raw))
        if faults or texts or manifest is None:
            raise ValidationError.from_exception_data(cls.__name__, faults + texts)
        return manifest

    @classmethod
    def from_ledger(cls, document: Mapping[str, Any]) -> Manifest:
        """The manifest of a document that was accepted before: limits of lengths may have been others then."""
        return cls.model_validate(document, context=FROM_LEDGER)

    @property
    def intent_row(self) -> Intent:
        intent = find_intent(self.intent)
        if intent is None:
            raise LookupError(self.intent)
        return intent

    @property
    def dataset_id(self) -> str:
        """The dataset that is named; else one of the title and the batch id, so that a re-post finds it again."""
        tag = (self.dataset and self.dataset.id) or self.metadata.tags.get("dataset_id")
        if tag:
            return str(tag)
        return f"{readable_id(self.metadata.title)}-{hashlib.sha256(self.batch_id.encode()).hexdigest()[:12]}"

    def with_files(self, found: Sequence[FilesFound]) -> Manifest:
        """The manifest with objects in place of patterns."""
        if not found:
            return self
        return self.model_copy(update={"files": tuple(each for file in self.files for each in file.of_keys(found))})

    @property
    def union(self) -> Literal["strict", "by_name"]:
        """How its files become one; those that state it agree."""
        stated = (file.options.union for file in self.files if file.options is not None)
        return next((union for union in stated if union is not None), "strict")

    @property
    def checks(self) -> tuple[Check, ...]:
        return self.dataset.checks if self.dataset is not None else ()

    @property
    def compared_versions(self) -> tuple[tuple[int, Within], ...]:
        """(index, check) of those that compare the product with a version, one for each version."""
        named = [(n, each) for n, each in enumerate(self.checks) if isinstance(each, Within) and each.dataset]
        # In reverse order, so that the first of several is kept.
        once = {each.version_asked: (n, each) for n, each in reversed(named)}
        return tuple(sorted(once.values(), key=lambda numbered: numbered[0]))

    @property
    def parents(self) -> tuple[tuple[str, int | None], ...]:
        """(dataset, version or None for the newest) that its runs read."""
        join = self.metadata.join_config
        joined = () if join is None else (
            (join.tabular_dataset_id, join.tabular_version), (join.spatial_dataset_id, join.spatial_version),
        )  # fmt: skip
        return (*joined, *(check.version_asked for _, check in self.compared_versions))

    @property
    def testing(self) -> bool:
        return self.metadata.tags.get("testing") is True

    @property
    def content_hash(self) -> str:
        """`sha256:…` of the canonical JSON, equal for two spellings of the same manifest."""
        # Without defaults, so that a field of a later release does not change the hash of what was accepted before.
        document = self.model_dump(mode="json", exclude_defaults=True, exclude={"supersedes"})
        if self.recipe is not None:
            # A field that is set counts, even to the shipped value: the intent may have another one.
            document["recipe"] = self.recipe.model_dump(mode="json", exclude_unset=True)
        text = json.dumps(document, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return "sha256:" + hashlib.sha256(text.encode()).hexdigest()


class ManifestStatus(StrEnum):
    """The status of a manifest: that of its newest run, or `rejected` if it has none.

    `removed`: only the batch id is left, so that it is never reused.
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


class EarlierManifest(Frozen):
    """A manifest that a corrected one of the same batch superseded, because no run of it made a version.

    Its runs are those of the batch that were created before `superseded_at`.
    """

    manifest: Mapping[str, Any]
    content_hash: str
    files_found: tuple[FilesFound, ...] = ()
    source: Literal["api", "webhook", "sweep"] = "api"
    object_key: str | None = None
    object_etag: str | None = None
    error_message: str | None = None
    ingested_at: datetime
    superseded_at: datetime


class ManifestRecord(Frozen):
    """A manifest as the ledger stores it. `manifest` is the document as accepted (when rejected: as received).

    files_found: what its patterns stood for when it was accepted; every run of the batch reads these objects.
    earlier: those that it supersedes, the oldest first.
    object_key, object_etag: the landing-zone object that it was dropped as, for webhook and sweep. A rejected one has
    faults and a generated batch id (`rejected.` + 16 hex digits), so that the corrected manifest can use the real one.
    """

    batch_id: str
    manifest: Mapping[str, Any]
    content_hash: str
    files_found: tuple[FilesFound, ...] = ()
    earlier: tuple[EarlierManifest, ...] = ()
    source: Literal["api", "webhook", "sweep"] = "api"
    status: ManifestStatus = ManifestStatus.QUEUED
    error_message: str | None = None
    faults: tuple[ManifestFault, ...] = ()
    object_key: str | None = None
    object_etag: str | None = None
    ingested_at: datetime
    completed_at: datetime | None = None

    def parsed(self) -> Manifest:
        """The manifest, with objects in place of patterns."""
        return Manifest.from_ledger(self.manifest).with_files(self.files_found)


class ManifestSummary(Frozen):
    """A manifest in a listing: without its document, and of bounded size.

    Texts of more than a thousand characters are cut. file_count, fault_count: of all files and faults; faults: the
    first few.
    """

    batch_id: str
    intent: str | None = None
    uploader: str | None = None
    project: str | None = None
    testing: bool = False
    content_hash: str
    source: Literal["api", "webhook", "sweep"] = "api"
    status: ManifestStatus = ManifestStatus.QUEUED
    error_message: str | None = None
    file_count: int = 0
    fault_count: int = 0
    faults: tuple[ManifestFault, ...] = ()
    object_key: str | None = None
    object_etag: str | None = None
    ingested_at: datetime
    completed_at: datetime | None = None
