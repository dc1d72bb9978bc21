"""The columns of a manifest in a listing. The database cuts and counts, so that no document leaves it."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, func, literal_column

from app.storage.shared.ledger_rules import FAULTS_SHOWN, LONGEST_SHOWN
from app.storage.sql.tables import MANIFESTS

# Of a rejected document, `files` may be anything.
_FILE_COUNT = {
    "sqlite": "json_array_length(manifests.manifest, '$.files')",
    "postgresql": "CASE WHEN json_typeof(manifests.manifest -> 'files') = 'array' "
    "THEN json_array_length(manifests.manifest -> 'files') END",
}
_FAULT = {
    "sqlite": "json_extract(manifests.faults, '$[{number}]')",
    "postgresql": "CAST(manifests.faults -> {number} AS text)",
}
_WHOLE = ("batch_id", "content_hash", "source", "status", "testing", "ingested_at", "completed_at")
_CUT = ("intent", "uploader", "project", "error_message", "object_key", "object_etag")


def summary_columns(dialect: str) -> list[ColumnElement[Any]]:
    """Return the columns for `conversion.summary_from`."""
    c = MANIFESTS.c
    columns: list[ColumnElement[Any]] = [c[name] for name in _WHOLE]
    # One character more than is shown, so that it is seen where something was cut.
    columns += [func.substr(c[name], 1, LONGEST_SHOWN + 1).label(name) for name in _CUT]
    columns.append(literal_column(_FILE_COUNT[dialect]).label("file_count"))
    columns.append(literal_column("json_array_length(manifests.faults)").label("fault_count"))
    faults = (_FAULT[dialect].format(number=number) for number in range(FAULTS_SHOWN))
    return [*columns, *(literal_column(text).label(f"fault_{number}") for number, text in enumerate(faults))]
