"""A plan: what a manifest would do if it were posted now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from app.models.base import Frozen
from app.models.checks.kinds import CheckResult
from app.models.manifests.file_options import FileOptions
from app.models.runs.run import RunWarning


class PlannedColumn(Frozen):
    """One column. title: its name in the source; reason: why it has this type."""

    name: str
    title: str
    type_name: str
    logical_type: str | None = None
    reason: str | None = None


class PlannedBand(Frozen):
    name: str
    interpretation: str
    unit: str | None
    scale: float
    offset: float


class PlannedCrs(Frozen):
    """found: what the source says itself; declared: files[].crs; used: what the run would take."""

    found: str | None
    declared: str | None
    used: str


class Answers(Frozen):
    """What was detected, in the form of `files[]`. Put it into the manifest, and nothing is guessed by the run."""

    member: str | None = None
    layer: str | None = None
    layers: tuple[str, ...] | None = None
    crs: str | None = None
    options: FileOptions | None = None


class PlannedFile(Frozen):
    """What was found in one file. Fields that do not apply to its type are null.

    file: its key in the landing zone. layers: all that it has, where its format has layers. rows: of a vector file as
    its header or index says; of a table as counted. transform: pixel corner to CRS, as six numbers. editable: can be
    put into the entry of this file in the manifest.
    """

    file: str
    format: str
    driver: str
    size: int
    sha256: str
    layer: str | None = None
    layers: tuple[str, ...] = ()
    crs: PlannedCrs | None = None
    encoding: str | None = None
    encoding_assumed: bool | None = None
    geometry_type: str | None = None
    rows: int | None = None
    rows_quarantined: int | None = None
    columns: tuple[PlannedColumn, ...] = ()
    delimiter: str | None = None
    quote: str | None = None
    header: bool | None = None
    sheet: str | None = None
    width: int | None = None
    height: int | None = None
    dtype: str | None = None
    nodata: float | int | str | None = None
    transform: tuple[float, ...] | None = None
    bands: tuple[PlannedBand, ...] = ()
    editable: Answers = Answers()


class PlannedParent(Frozen):
    """A version that the result would be made from."""

    role: str
    dataset_id: str
    version: int
    kind: str
    rows: int
    columns: tuple[str, ...]


class Refusal(Frozen):
    """Why the run would be refused, with the texts of the run. A run ends at its first refusal."""

    reason: str
    detail: str
    fix: str
    file: str | None = None


Would = Literal["succeed", "be refused", "change nothing"]


class Plan(Frozen):
    """What would happen. `not_looked_at` names what only a run can check."""

    would: Would
    batch_id: str
    dataset_id: str
    intent: str
    job_name: str
    lane: str
    refusals: tuple[Refusal, ...] = ()
    warnings: tuple[RunWarning, ...] = ()
    files: tuple[PlannedFile, ...] = ()
    parents: tuple[PlannedParent, ...] = ()
    steps: tuple[str, ...] = Field((), description="The steps of the run, in order.")
    engine: Mapping[str, str] = {}
    sql: tuple[str, ...] = Field((), description="The SQL statements that PostGIS would run over each batch of rows.")
    columns: tuple[PlannedColumn, ...] = Field((), description="Columns of the result, as far as they are known.")
    checks: tuple[CheckResult, ...] = Field(
        (), description="The checks of the result; `passed` is null where only a run finds out."
    )
    counts: Mapping[str, int] = Field({}, description="Counts that are known already.")
    next_version: int = Field(description="The version that a run would make, unless another run makes it first.")
    unchanged_version: int | None = Field(None, description="The existing version that is equal to what would be made.")
    keys: tuple[str, ...] = Field(
        (), description="Objects that would be written into the lake; `{sha256}` stands for the start of their hash."
    )
    not_looked_at: tuple[str, ...] = ()


class PlanProblem(Frozen):
    """Why there is no plan: the code, detail and fix of a domain error."""

    code: str
    detail: str
    fix: str = ""


class PlanOutcome(Frozen):
    """What a worker returns: one of the two."""

    plan: Plan | None = None
    problem: PlanProblem | None = None


def options_of(fmt_options: tuple[str, ...], **found: Any) -> FileOptions | None:
    """The found options that apply to the format; None without any."""
    kept = {name: value for name, value in found.items() if name in fmt_options and value is not None}
    return FileOptions.model_validate(kept) if kept else None
