"""Parts of a plan's entry for a source: columns, CRS, and the answers that a manifest could give."""

from __future__ import annotations

from collections.abc import Mapping

from pyproj import CRS

from app.errors import RunRefused
from app.models.asset import ColumnSchema
from app.models.formats import find_format
from app.models.manifests.manifest import ManifestFile
from app.models.plan import PlannedColumn, PlannedCrs
from app.pipelines.common.crs import crs_name, parse_crs, same_crs

# The reason of a column's type, where the format declares types.
AS_THERE = "as in the source"
AS_DECLARED = "declared in files[].options.types"


def schema_columns(schema: Mapping[str, ColumnSchema]) -> tuple[PlannedColumn, ...]:
    """The columns of a result, as the catalogue describes them."""
    return tuple(
        PlannedColumn(name=name, title=each.title, type_name=each.type_name, logical_type=each.logical_type)
        for name, each in schema.items()
    )


def declared_options(declared: ManifestFile) -> tuple[str, ...]:
    """The files[].options that the declared format understands."""
    fmt = find_format(declared.format)
    return fmt.options if fmt is not None else ()


def layer_answer(name: str | None) -> str | None:
    """The name of a layer for a manifest; None for one with blanks around it, which a manifest would trim."""
    return name if name and name == name.strip() else None


def planned_crs(declared: ManifestFile, used: CRS, *, carried: bool) -> PlannedCrs:
    """The CRS of a source in a plan. carried: whether the source itself has one."""
    name = crs_name(used)
    return PlannedCrs(found=name if carried else None, declared=declared.crs, used=name)


def crs_answer(declared: ManifestFile, used: CRS) -> str | None:
    """A text for files[].crs; None for a CRS without a code, which only the source can declare."""
    if declared.crs is not None:
        return declared.crs
    name = crs_name(used)
    try:
        return name if same_crs(parse_crs(name, declared.key, "of the plan"), used) else None
    except RunRefused:
        return None
