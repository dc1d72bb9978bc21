"""Which columns of vector files go into the result, as a manifest says it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from app.messages.manifest import COLUMN_REPEATED, RENAMED_NOT_KEPT, RENAMED_TO_GEOMETRY, RENAMED_TWICE, SELECT_AND_DROP
from app.models.base import Frozen
from app.models.bounded import MAX_COLUMNS, AtMost, Column
from app.models.json_values import shown
from app.models.problem_text import wrong
from app.models.products import GEOMETRY
from app.models.recipes.steps import Columns


def _once(names: tuple[str, ...] | None) -> tuple[str, ...] | None:
    repeated = [name for name, times in Counter(names or ()).items() if times > 1]
    if repeated:
        raise wrong(COLUMN_REPEATED, names=_listed(repeated))
    return names


def _new_names(names: Mapping[str, str]) -> Mapping[str, str]:
    if taken := [old for old, new in names.items() if new.casefold() == GEOMETRY]:
        raise wrong(RENAMED_TO_GEOMETRY, names=_listed(taken), geometry=GEOMETRY)
    times = Counter(new.casefold() for new in names.values())
    if repeated := [new for new in names.values() if times[new.casefold()] > 1]:
        raise wrong(RENAMED_TWICE, names=_listed(list(dict.fromkeys(repeated))))
    return names


_Names = Annotated[tuple[Column, ...], AtMost(MAX_COLUMNS)]
_NewName = Annotated[str, Field(min_length=1), AtMost(1_000)]


class ColumnsChoice(Frozen):
    """Columns of the source by their names there. Only one of `select` and `drop`; the geometry always stays."""

    select: Annotated[_Names | None, AfterValidator(_once)] = Field(
        None,
        description="The columns to keep, in this order. Without it all, in the order of the source.",
        examples=[["id", "name"]],
    )
    drop: Annotated[_Names | None, AfterValidator(_once)] = Field(None, description="The columns to leave out.")
    rename: Annotated[Mapping[Column, _NewName], AtMost(MAX_COLUMNS), AfterValidator(_new_names)] = Field(
        default_factory=dict, description="New names by the names in the source.", examples=[{"FLSTKENNZ": "parcel_id"}]
    )

    @field_validator("drop", "rename")
    @classmethod
    def _fits(cls, value: object, info: ValidationInfo) -> object:
        """Every name that is given has to have an effect."""
        select, drop = info.data.get("select"), info.data.get("drop")
        if info.field_name == "drop" and value is not None and select is not None:
            raise wrong(SELECT_AND_DROP)
        if info.field_name == "rename" and isinstance(value, Mapping):
            lost = [name for name in value if name in (drop or ()) or (select is not None and name not in select)]
            if lost:
                raise wrong(RENAMED_NOT_KEPT, names=_listed(lost))
        return value

    def step(self) -> Columns:
        """The step of a recipe that carries it out."""
        return Columns(self.select, self.drop or (), tuple(self.rename.items()))


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(map(shown, names[:5])) + more
