"""Messages about the checks of a product: what is wrong with `dataset`, and what a run found."""

from __future__ import annotations

from app.messages.message import FaultMessage, Notice, Refusal

# The manifest

DATASET_ID_DIFFERS = FaultMessage(
    "dataset_id_differs",
    "dataset.id and metadata.tags.dataset_id name different datasets",
    "dataset.id is {value}, and metadata.tags.dataset_id is {tag}.",
    "Remove one of them, or give both the same value.",
)
CHECK_UNKNOWN = FaultMessage(
    "check_unknown", "an unknown check", "Unknown check {name}.", "{hint}Known checks: {known}."
)
CHECK_INCOMPLETE = FaultMessage(
    "check_incomplete",
    "a check lacks the fields that it needs",
    "The check {check} has {found}.",
    "Give {needed}.",
)
CHECK_CONTRADICTS = FaultMessage(
    "check_contradicts", "no value can pass a check", "The check {check} has {found}.", "{fix}"
)
CHECK_VALUE = FaultMessage(
    "check_value",
    "a value of a check cannot be compared with the values of a column",
    "A value of a check is {value}.",
    "Give {allowed}.",
)
CHECKS_NOT_ALLOWED = FaultMessage(
    "checks_not_allowed",
    "checks are given for rasters",
    "Rasters take no checks: they have no rows.",
    "Remove dataset.checks.",
)
CHECK_NOT_OF_KIND = FaultMessage(
    "check_not_of_kind",
    "a check that data of this kind cannot answer",
    "The check {check} does not apply to {subject}: {reason}.",
    "Remove it. Checks of {subject}: {known}.",
)
CHECK_OWN_DATASET = FaultMessage(
    "check_own_dataset",
    "a check compares a dataset with itself",
    "The check within names {dataset}, which is the dataset of the manifest.",
    "Name another dataset, or give bbox.",
)

# The run

_COLUMN_UNKNOWN = "a check names a column that the product does not have"
CHECK_COLUMN_UNKNOWN = Refusal(
    "check_column_unknown",
    _COLUMN_UNKNOWN,
    "dataset.checks[{index}] ({check}): the product has no column {column!r}.",
    "{hint}Its columns: {columns}.",
)
CHECK_COLUMN_AMBIGUOUS = Refusal(
    "check_column_unknown",
    _COLUMN_UNKNOWN,
    "dataset.checks[{index}] ({check}): no column is called {column!r} exactly, and several are ignoring case.",
    'Write one of {columns} exactly, in double quotes: "{first}".',
)
CHECK_TYPE = Refusal(
    "check_type",
    "a check does not fit the type of its column",
    "dataset.checks[{index}] ({check}): the column {column!r} has the type {type}, which cannot be compared with "
    "{value}.",
    "Give {allowed}, or name another column.",
)
CHECK_PATTERN_INVALID = Refusal(
    "check_pattern_invalid",
    "the pattern of a check is not a regular expression of RE2",
    "dataset.checks[{index}] (matches): {pattern!r} is not a regular expression of RE2: {problem}.",
    "Correct it. RE2 has no look-around and no back references: https://github.com/google/re2/wiki/Syntax.",
)
CHECK_SQL_INVALID = Refusal(
    "check_sql_invalid",
    "the SQL of a check is not one expression that is true or false, or uses what is not allowed",
    "dataset.checks[{index}] (custom): {problem}.",
    "{fix}",
)
CHECK_SQL_FAILED = Refusal(
    "check_sql_failed",
    "the SQL of a check cannot be computed for a row",
    "dataset.checks[{index}] (custom): the expression cannot be computed: {problem}.",
    "Guard the values that it cannot take, for example with TRY_CAST, NULLIF or CASE.",
)
CHECKS_MEMORY = Refusal(
    "checks_memory",
    "a check needs too much memory",
    "The checks need more than {limit} MiB of memory.",
    "Name fewer columns in `unique`, shorten `custom`, or raise SPATIAL_ETL_WORKER__MEMORY_BYTES.",
)
CHECK_KIND_WRONG = Refusal(
    "check_kind_wrong",
    "a check names a dataset that has no vector data",
    "dataset.checks[{index}] (within): {dataset} version {version} is {kind}, and has no geometries.",
    "Name a dataset of vector data or a join.",
)
CHECK_CRS_MISSING = Refusal(
    "check_crs_missing",
    "a check names a dataset whose geometries have no CRS",
    "dataset.checks[{index}] (within): {dataset} version {version} does not declare a CRS.",
    "Ingest {dataset} again with files[].crs, or name another dataset.",
)
_TOO_LARGE = "too many vertices lie side by side for a check"
CHECK_TOO_LARGE = Refusal(
    "check_too_large",
    _TOO_LARGE,
    "dataset.checks[{index}] (no_overlaps): the polygons that share a range of x have more than {limit:,} vertices.",
    "Remove the check, or split the data into several datasets.",
)
CHECK_AREA_TOO_LARGE = Refusal(
    "check_too_large",
    _TOO_LARGE,
    "dataset.checks[{index}] (within): the geometries of {dataset} that share a range of x have more than {limit:,} "
    "vertices.",
    "Name a dataset with fewer vertices, for example with simplified geometries.",
)
CHECKS_FAILED = Refusal(
    "checks_failed",
    "a product fails checks with severity error, and is not published",
    "{failed:# check|# checks} of {total} failed. {texts}",
    "Correct the source and submit it as a new batch, or give the check the severity warn. {look}",
)
CHECK_WARNED = Notice(
    "check_warned",
    "a product fails a check with severity warn",
    "Published although a check failed: {text}",
)
