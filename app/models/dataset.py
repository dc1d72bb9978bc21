"""What a manifest says of its dataset besides the metadata."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from app.models.base import Frozen
from app.models.bounded import DATASET_ID_PATTERN, AtMost
from app.models.checks.kinds import MAX_CHECKS, Check


class DatasetChoice(Frozen):
    """The dataset that the result is a version of, and what has to hold before it is published."""

    id: Annotated[str, Field(pattern=DATASET_ID_PATTERN)] | None = Field(
        None, description="Names the dataset, as `metadata.tags.dataset_id` does.", examples=["parcels"]
    )
    checks: Annotated[tuple[Check, ...], AtMost(MAX_CHECKS)] = Field(
        (), description="Made before the version is published."
    )
