"""Messages about joins."""

from __future__ import annotations

from app.messages.common import REPORT_DEFECT
from app.messages.message import Notice, Refusal

KIND_WRONG = Refusal(
    "kind_wrong",
    "a dataset of the wrong kind is one side of a join",
    "{table} is {kind}; the {role} side of a join must be {kinds}.",
    "Name another dataset in join_config.{role}_dataset_id.",
)
JOIN_COLUMN_UNKNOWN = Refusal(
    "column_unknown",
    "files[].options, join_config or the recipe names a column that is missing or there several times",
    "{table} has no column {column!r} (join_config.{field}).",
    "{hint}Its columns: {columns}.",
)
KEY_TYPE = Refusal(
    "key_type",
    "values of the key column cannot be compared as text",
    "The column {column!r} of {table} has the type {type}, which cannot be compared as text.",
    "Choose a key column of text, numbers, dates, times or booleans.",
)
JOIN_MEMORY = Refusal(
    "memory_limit",
    "matching the keys needs too much memory",
    "Matching the keys needs more than {limit} MiB of memory.",
    "Raise SPATIAL_ETL_WORKER__MEMORY_BYTES, and keep SPATIAL_ETL_RUN__MEMORY_LIMIT_BYTES well above it.",
)
JOIN_EMPTY = Refusal(
    "no_rows",
    "a table or a join has no rows",
    "The join of {left} and {right} has no rows: they have no key in common (tabular: {tabular_keys}; spatial: "
    "{spatial_keys}).",
    "{hint}Check left_key and right_key, or choose another kind of join.",
)
JOIN_ROWS_TOO_MANY = Refusal(
    "rows_too_many",
    "a source or a join has more rows than the limit",
    "The join of {left} and {right} has {total:# row|# rows}, the limit is {limit}: the key {key!r} alone has "
    "{left_rows:# row|# rows} on the tabular side and {right_rows} on the spatial side.",
    "Choose keys that are unique on one side, or raise SPATIAL_ETL_LIMITS__ROWS.",
)
JOIN_ROWS_LOST = Refusal(
    "rows_lost",
    "a defect of the service: rows were lost",
    "The join of {left} and {right} has {total:# row|# rows}, {written} were written.",
    REPORT_DEFECT,
)

_MISSING = "Matched {count:# row|# rows} of {table} with nothing: no key (null, blank or not a number)."
_UNMATCHED = "Found no match for the key of {count:# row|# rows} of {table}."
_DUPLICATED = "Found {count:# key|# keys} of {table} in several rows each."

TABULAR_KEYS_MISSING = Notice("tabular_keys_missing", "rows of the tabular side without a key", _MISSING)
SPATIAL_KEYS_MISSING = Notice("spatial_keys_missing", "rows of the spatial side without a key", _MISSING)
TABULAR_ROWS_UNMATCHED = Notice(
    "tabular_rows_unmatched", "rows of the tabular side whose key the spatial side does not have", _UNMATCHED
)
SPATIAL_ROWS_UNMATCHED = Notice(
    "spatial_rows_unmatched", "rows of the spatial side whose key the tabular side does not have", _UNMATCHED
)
TABULAR_KEYS_DUPLICATED = Notice(
    "tabular_keys_duplicated", "keys that several rows of the tabular side share", _DUPLICATED
)
SPATIAL_KEYS_DUPLICATED = Notice(
    "spatial_keys_duplicated", "keys that several rows of the spatial side share", _DUPLICATED
)
KEYS_UNICODE_FORM = Notice(
    "keys_unicode_form",
    "unmatched keys that differ from one of the other side in their Unicode form only",
    "Found no match for {count:# row|# rows} of {table} whose {count:key differs|keys differ} from one of the other "
    "side only in Unicode form: a letter and its accent are one character there and two here, or the other way round. "
    "Write the keys of both sides in one form, such as NFC.",
)
KEYS_NOT_KEPT = Notice(
    "keys_not_kept",
    "keys of unmatched spatial rows that are not of the tabular key's type",
    "Stored {count:# key|# keys} of unmatched spatial rows as {count:null|nulls}, because {count:it is|they are} not "
    "of the type of the tabular key. To keep the column, add it to join_config.spatial_columns.",
)
