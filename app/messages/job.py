"""Messages about the run itself: they are the same for every kind of data."""

from __future__ import annotations

from app.messages.message import Notice, Refusal

DATASET_UNKNOWN = Refusal(
    "dataset_unknown",
    "the catalogue has no such dataset",
    "There is no dataset '{dataset}'.",
    "{hint}Ingest it first. Datasets: {names}.",
)
VERSION_UNKNOWN = Refusal(
    "version_unknown",
    "a dataset has no such version",
    "The dataset '{dataset}' has no version {version}.",
    "Its newest versions: {versions}. Leave the version out to use the newest.",
)
VERSION_DELETED = Refusal(
    "version_deleted",
    "a version was deleted",
    "Version {version} of '{dataset}' was deleted.",
    "Choose another version (GET /assets/{dataset} lists them), or leave the version out to use the newest.",
)
INTENT_NOT_AVAILABLE = Refusal(
    "intent_not_available",
    "this release has no pipeline for the intent",
    "The intent {intent} is not part of this release.",
    "Use another intent, or upgrade the service.",
)
INPUTS_CHANGED = Notice(
    "inputs_changed",
    "a rerun read other inputs than the run before it",
    "The inputs differ from those of run {run_id}: {changes}.",
)
CANCEL_TOO_LATE = Notice(
    "cancel_too_late",
    "a run was canceled after its version was registered",
    "The cancel came after {dataset} version {version} was registered: the run is a success.",
)
BATCH_KNOWN = Notice(
    "batch_known",
    "a plan for a batch that was accepted before",
    "The batch {batch_id!r} was accepted before with this content: posting it again returns the existing run. Choose "
    "another batch_id for a new one.",
)
