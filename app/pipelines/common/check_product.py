"""Makes the checks of a manifest over a finished product, and says in a plan which would be made."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyproj import CRS

from app.errors import RunRefused
from app.models.checks.kinds import (
    AreaKept,
    Check,
    CheckResult,
    NoOverlaps,
    Rows,
    Unique,
    ValidGeometry,
    Within,
    passing,
    unanswered,
)
from app.pipelines.common.check_area import BoxedFile, answer_area
from app.pipelines.common.check_database import CheckedFile, open_checked
from app.pipelines.common.check_geometry import GEOMETRY_CHECKS, answer_geometries
from app.pipelines.common.check_overlaps import answer_overlaps
from app.pipelines.common.check_table import (
    ROW_CHECKS,
    KeyQuestion,
    RowQuestion,
    answer_key,
    answer_rows,
    key_question,
    row_question,
)
from app.pipelines.common.compared_version import ComparedVersion, geometry_metadata, open_compared
from app.pipelines.common.crs import Box
from app.pipelines.contract.check_outcome import raise_failed, warnings_of
from app.pipelines.contract.context import Product, RunContext
from app.pipelines.contract.plan_context import PlanContext

Question = RowQuestion | KeyQuestion


def fetch_compared(ctx: RunContext) -> list[ComparedVersion]:
    """The versions that the checks compare the product with. They are inputs of the run.

    Raises:
        RunRefused: dataset_unknown, version_unknown, version_deleted, check_kind_wrong, check_crs_missing.
    """
    return [_fetched(ctx, index, check) for index, check in ctx.manifest.compared_versions]


def plan_compared(ctx: PlanContext) -> list[ComparedVersion]:
    """The same for a plan, whose draft gets them as parents.

    Raises:
        RunRefused: as `fetch_compared` does, after all versions were fetched; also what was refused before.
    """
    found = ctx.each(ctx.manifest.compared_versions, lambda numbered: _fetched(ctx, *numbered))
    ctx.draft.parents += [each.planned for each in found]
    return found


def _fetched(ctx: RunContext, index: int, check: Within) -> ComparedVersion:
    return open_compared(index, check, ctx.fetch_asset(str(check.dataset), check.version))


def checked(
    ctx: RunContext, product: Product, compared: Sequence[ComparedVersion] = (), *, is_valid: bool = False
) -> Product:
    """The product with the results of the manifest's checks; `publish` decides what follows from them.

    Args:
        ctx: has the manifest.
        product: the finished file.
        compared: those of `fetch_compared`.
        is_valid: see `Report`; `valid_geometry` need not look again then.

    Raises:
        RunRefused: check_column_unknown, check_type, check_pattern_invalid, check_sql_invalid, check_sql_failed,
            check_too_large, checks_memory: the checks cannot be made.
    """
    if not ctx.manifest.checks:
        return product
    box = box_of(product.column_schema)
    results = _answered(ctx, product.path, box, product.statistics, compared, is_valid=is_valid)
    return replace(product, checks=results)


def plan_checks(
    ctx: PlanContext,
    schema: pa.Schema,
    box: str | None = None,
    crs: CRS | None = None,
    compared: Sequence[ComparedVersion] = (),
) -> None:
    """Put the checks into the draft of a plan, unanswered.

    Args:
        ctx: takes what is wrong with them: all refusals of a run.
        schema: the columns of the product.
        box: the name of the column with the boxes of the geometries.
        crs: of the geometries.
        compared: those of `fetch_compared`.

    Raises:
        RunRefused: the first of them.
    """
    checks = ctx.manifest.checks
    if not checks:
        return
    ctx.draft.checks = [unanswered(check) for check in checks]
    path = ctx.scratch / "columns.parquet"
    pq.write_table(schema.empty_table(), path)
    with open_checked(path, 1, ctx.memory_bytes) as file:
        ctx.gather(enumerate(checks), lambda numbered: _question(*numbered, file, box))
    ctx.each(compared, lambda version: version.reprojector(crs) if crs is not None else None)


def answer_in_plan(ctx: PlanContext, path: Path) -> None:
    """Put the checks into the draft of a plan with their results, where the plan makes the product as a run does.

    Raises:
        RunRefused: as a run does, also checks_failed.
    """
    plan_checks(ctx, pq.read_schema(path))
    if ctx.manifest.checks:
        _conclude(ctx, _answered(ctx, path, None, {}))


def answer_rows_in_plan(ctx: PlanContext, total: int) -> None:
    """Put the results of `rows` into the draft of a plan that knows how many rows the product has.

    Raises:
        RunRefused: checks_failed.
    """
    _conclude(
        ctx,
        [
            _answer_row_count(check, total, ctx.newest_rows) if isinstance(check, Rows) else unanswered(check)
            for check in ctx.manifest.checks
        ],
    )


def _conclude(ctx: PlanContext, results: Sequence[CheckResult]) -> None:
    ctx.draft.checks = results
    for warning in warnings_of(results):
        ctx.watch.warn(warning)
    raise_failed(results)


def box_of(columns: Mapping[str, Any]) -> str | None:
    """The name of the column with the boxes of the geometries."""
    return next((name for name, column in columns.items() if column.logical_type == "bbox"), None)


def _question(index: int, check: Check, file: CheckedFile, box: str | None) -> Question | None:
    """The question that SQL answers; None for a check of another kind."""
    if isinstance(check, Unique):
        return key_question(index, check, file)
    is_of_rows = isinstance(check, ROW_CHECKS) and not (isinstance(check, Within) and check.dataset)
    return row_question(index, check, file, box) if is_of_rows else None  # type: ignore[arg-type] # one of ROW_CHECKS


def _questions(checks: Sequence[Check], file: CheckedFile, box: str | None) -> list[Question]:
    """Raises RunRefused, which names all checks that cannot be made."""
    found: list[Question | None] = []
    refusals: list[RunRefused] = []
    for index, check in enumerate(checks):
        try:
            found.append(_question(index, check, file, box))
        except RunRefused as err:
            refusals.append(err)
    if refusals:
        raise refusals[0].beside(refusals[1:])
    return [each for each in found if each is not None]


def _answered(
    ctx: RunContext,
    path: Path,
    box: str | None,
    statistics: Mapping[str, Any],
    compared: Sequence[ComparedVersion] = (),
    *,
    is_valid: bool = False,
) -> tuple[CheckResult, ...]:
    """The results of all checks, in the order of the manifest."""
    numbered = list(enumerate(ctx.manifest.checks))
    with open_checked(path, ctx.threads, ctx.memory_bytes) as file:
        questions = _questions(ctx.manifest.checks, file, box)
        total, results = answer_rows([each for each in questions if isinstance(each, RowQuestion)], file)
        for question in questions:
            if isinstance(question, KeyQuestion):
                results[question.index] = answer_key(question, file)
        for index, check in numbered:
            if isinstance(check, NoOverlaps):
                results[index] = answer_overlaps(index, check, file, box or "", ctx.threads, is_valid=is_valid)
        results |= _answer_areas(ctx, file, box or "", compared)
    if is_valid:
        results |= {index: passing(check) for index, check in numbered if isinstance(check, ValidGeometry)}
    of_geometries = [
        (index, check) for index, check in numbered if isinstance(check, GEOMETRY_CHECKS) and index not in results
    ]
    if of_geometries:
        results |= answer_geometries(of_geometries, path, ctx.threads)
    for index, check in numbered:
        if isinstance(check, Rows):
            results[index] = _answer_row_count(check, total, ctx.newest_rows)
        elif isinstance(check, AreaKept):
            results[index] = _answer_area(check, statistics.get("geometry", {}))
    return tuple(results[index] for index, _ in numbered)


def _answer_areas(
    ctx: RunContext, file: CheckedFile, box: str, compared: Sequence[ComparedVersion]
) -> dict[int, CheckResult]:
    """The results of the checks that compare the product with a version. Raises RunRefused: check_too_large."""
    results: dict[int, CheckResult] = {}
    for index, check in enumerate(ctx.manifest.checks):
        if not isinstance(check, Within) or check.dataset is None:
            continue
        (version,) = (each for each in compared if each.asked == check.version_asked)
        column = geometry_metadata(file.path)
        if "bbox" not in column:  # there are no coordinates
            results[index] = passing(check)
            continue
        size = len(column["bbox"]) // 2
        around: Box = (*column["bbox"][:2], *column["bbox"][size : size + 2])
        crs, into = CRS.from_json_dict(column["crs"]), ctx.scratch / f"within{index}.parquet"
        path, area_box = version.moved(crs, around, into)
        with open_checked(path, ctx.threads, ctx.memory_bytes // 2, ctx.scratch / "checks-area") as area:
            sides = BoxedFile(file, box), BoxedFile(area, area_box)
            results[index] = answer_area(index, check, *sides, around, ctx.threads)
    return results


def _answer_row_count(check: Rows, total: int, newest_rows: Callable[[], int | None]) -> CheckResult:
    """The result of `rows` for a product of `total` rows. newest_rows: gives those of the newest version."""
    passed = (check.min is None or total >= check.min) and (check.max is None or total <= check.max)
    samples: Sequence[Mapping[str, Any]] = ()
    if check.change is not None and (before := newest_rows()) is not None:
        passed = passed and abs(total - before) <= check.change * before
        samples = ({"rows": total, "rows_before": before},)
    return unanswered(check).model_copy(
        update={"passed": passed, "found": total, "samples": () if passed else tuple(samples)}
    )


def _answer_area(check: AreaKept, sizes: Mapping[str, Any]) -> CheckResult:
    before, after = float(sizes.get("area_before", 0.0)), float(sizes.get("area_after", 0.0))
    share = after / before if before > 0 else None
    passed = share is None or share >= check.min
    sample = {"area_before": before, "area_after": after, "unit": sizes.get("unit")}
    return unanswered(check).model_copy(
        update={"passed": passed, "found": share, "samples": () if passed else (sample,)}
    )
