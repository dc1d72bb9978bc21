"""The faults of a manifest while it is validated: of very many only the first are kept, and the others counted."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import Any

from pydantic_core import InitErrorDetails, PydanticCustomError

from app.messages.manifest import FAULTS_OMITTED, FORMAT_UNKNOWN
from app.models.checks.rules import tag_fault
from app.models.formats import format_names
from app.models.manifests.nearest import nearest

# Faults of a manifest that are listed. One more of the type OMITTED counts the others.
MAX_FAULTS = 100
OMITTED = FAULTS_OMITTED.code


def first_faults(faults: Iterable[InitErrorDetails | None]) -> list[InitErrorDetails]:
    """The first faults, and one that counts the others: a document can have very many. None: only to be counted."""
    rest = iter(faults)
    found = [fault for fault in islice(rest, MAX_FAULTS) if fault is not None]
    if omitted := sum(1 for _ in rest):
        counted = PydanticCustomError(OMITTED, "{count} further faults", {"count": omitted})
        found.append(InitErrorDetails(type=counted, loc=(), input=None))
    return found


def raised_again(line: Any) -> InitErrorDetails:
    """An error of the inner validation, to be raised again together with cross-field faults."""
    if (about_tag := tag_fault(line)) is not None:
        return about_tag
    ctx = dict(line.get("ctx") or {})
    ctx.setdefault("detail", line["msg"])
    if line["type"] == FORMAT_UNKNOWN.code and (near := nearest(line["input"], format_names())):
        # Here and not where it is found, because only some of the faults are listed and the look-up is slow.
        ctx["fix"] = f"Did you mean {near!r}? {ctx['fix']}"
    ctx["error"] = str(ctx["error"]) if "error" in ctx else ""
    error = PydanticCustomError(line["type"], "{detail}", ctx)
    return InitErrorDetails(type=error, loc=line["loc"], input=line.get("input"))
