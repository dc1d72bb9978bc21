"""How a manifest describes its dataset, and what it joins."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import core_schema

from app.messages.manifest import TAG_TOO_LONG, TAG_TYPE
from app.models.base import Frozen
from app.models.bounded import DATASET_ID_PATTERN, FROM_LEDGER, MAX_COLUMNS, MAX_TERMS, AtMost
from app.models.json_values import shown
from app.models.problem_text import wrong
from app.models.texts import Line, Prose, Text

_MAX_TAG_CHARACTERS = 2_000

TagValue = str | int | float | bool


def _tag_value(value: object, info: core_schema.ValidationInfo) -> object:
    if isinstance(value, str) and len(value) > _MAX_TAG_CHARACTERS and info.context != FROM_LEDGER:
        raise wrong(TAG_TOO_LONG, length=len(value), limit=_MAX_TAG_CHARACTERS)
    if isinstance(value, float) and math.isfinite(value):
        return value
    if isinstance(value, str | bool | int) and (isinstance(value, str) or -(2**63) <= value < 2**63):
        return value
    raise wrong(TAG_TYPE, value=shown(value))


def _keywords(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for value in values if (word := value.strip())))


class JoinConfig(Frozen):
    """Which two datasets `join_datasets` joins, and by which keys."""

    spatial_dataset_id: Annotated[str, Field(pattern=DATASET_ID_PATTERN)]
    spatial_version: Annotated[int, Field(ge=1, strict=True)] | None = None
    tabular_dataset_id: Annotated[str, Field(pattern=DATASET_ID_PATTERN)]
    tabular_version: Annotated[int, Field(ge=1, strict=True)] | None = None
    left_key: Text = Field(description="Column of the tabular asset.")
    right_key: Text | None = Field(None, description="Column of the spatial asset; default: left_key.")
    how: Literal["left", "inner", "right", "outer"] = "left"
    spatial_columns: Annotated[tuple[Text, ...], AtMost(MAX_COLUMNS)] = Field(
        (),
        description="Attributes of the spatial asset to keep besides `geom`; `*` for all.",
        examples=[["name"]],
    )


class Metadata(Frozen):
    """How the catalogue describes the dataset."""

    title: Text = Field(examples=["Countries of the world"])
    description: Prose = Field(examples=["Admin-0 countries, 1:110m"])
    source: Line = Field(examples=["Natural Earth"])
    license: Prose = Field(examples=["Public domain"])
    attribution: Line = Field(examples=["Made with Natural Earth"])
    keywords: Annotated[
        tuple[Annotated[str, AtMost(200)], ...],
        AtMost(MAX_TERMS),
        AfterValidator(_keywords),
    ] = ()
    project: Annotated[str, AtMost(200)] | None = None
    tags: Annotated[
        Mapping[Annotated[str, AtMost(200)], Annotated[Any, BeforeValidator(_tag_value)]],
        AtMost(MAX_TERMS),
    ] = Field(
        default_factory=dict,
        description="`dataset_id` names the dataset (default: words of the title and a hash of the batch_id), "
        "`testing: true` marks a test run; all other tags are free.",
        json_schema_extra={
            "additionalProperties": {
                "anyOf": [
                    {"type": "string", "maxLength": _MAX_TAG_CHARACTERS},
                    {"type": "integer"},
                    {"type": "number"},
                    {"type": "boolean"},
                ]
            }
        },
    )
    join_config: JoinConfig | None = Field(None, description="Required by, and only for, `join_datasets`.")
