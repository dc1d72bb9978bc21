"""What follows from the results of checks: a refusal, warnings, or nothing."""

from __future__ import annotations

import json
from collections.abc import Sequence

from app.messages.checks import CHECK_WARNED, CHECKS_FAILED
from app.models.checks.kinds import CheckResult
from app.models.runs.run import RunWarning

# Failed checks, and samples of each, that a message names.
_MOST_NAMED = 10
_MOST_SAMPLES = 3
_MOST_TEXT = 300


def failed(results: Sequence[CheckResult]) -> list[CheckResult]:
    """Those for which the product is not published."""
    return [each for each in results if each.passed is False and each.severity == "error"]


def raise_failed(results: Sequence[CheckResult], look: str = "") -> None:
    """Refuse the product if a check with severity error failed.

    Args:
        results: of all checks.
        look: where the product can be looked at.

    Raises:
        RunRefused: checks_failed.
    """
    if found := failed(results):
        texts = [_text(each) for each in found[:_MOST_NAMED]]
        texts += [f"{len(found) - _MOST_NAMED} more."] if len(found) > _MOST_NAMED else []
        raise CHECKS_FAILED(failed=len(found), total=len(results), texts=" ".join(texts), look=look)


def warnings_of(results: Sequence[CheckResult]) -> list[RunWarning]:
    """One for each check with severity warn that failed."""
    return [
        CHECK_WARNED(text=_text(each), count=max(1, int(each.found or 0)), samples=each.samples)
        for each in results
        if each.passed is False and each.severity == "warn"
    ]


def _text(result: CheckResult) -> str:
    """Such as: not_null of 'name': 2 rows (expected no nulls), such as {"row": 3}."""
    about = f" of {result.column!r}" if result.column is not None else ""
    found = _counted(result)
    samples = "; ".join(json.dumps(each, ensure_ascii=False, default=str) for each in result.samples[:_MOST_SAMPLES])
    shown = f", such as {samples}"[:_MOST_TEXT] if samples else ""
    return f"{result.check}{about}: {found} (expected {result.expected}){shown}."


def _counted(result: CheckResult) -> str:
    if result.check == "area_kept":
        return f"{result.found:.4g} of the area kept"
    noun = "pair of rows overlaps" if result.check == "no_overlaps" else "row"
    many = "pairs of rows overlap" if result.check == "no_overlaps" else "rows"
    return f"{result.found} {noun if result.found == 1 else many}"
