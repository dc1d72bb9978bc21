"""Texts that a manifest may hold."""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

from app.messages.manifest import TEXT_EMPTY
from app.models.bounded import AtMost
from app.models.problem_text import wrong


def _trimmed_text(value: str) -> str:
    if not value.strip():
        raise wrong(TEXT_EMPTY)
    return value.strip()


_TRIMMED, _VISIBLE = AfterValidator(_trimmed_text), Field(json_schema_extra={"pattern": r"\S"})

Label = Annotated[str, AtMost(200), _TRIMMED, _VISIBLE]
Text = Annotated[str, AtMost(1_000), _TRIMMED, _VISIBLE]
# A CRS can be written as WKT.
CrsText = Annotated[str, AtMost(10_000), _TRIMMED, _VISIBLE]
Line = Annotated[str, AtMost(2_000)]
Prose = Annotated[str, AtMost(10_000)]
