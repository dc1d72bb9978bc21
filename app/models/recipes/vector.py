"""What a recipe for vector files says: the fields that a manifest and the operator's file can give.

The defaults are the shipped recipe: EPSG:4326, repaired, every vertex kept.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field

from app.messages.manifest import CRS_INVALID, WHERE_NOT_SUPPORTED
from app.models.base import Frozen
from app.models.bounded import AtMost
from app.models.crs_text import MOST_CHARACTERS as MOST_CRS_CHARACTERS
from app.models.crs_text import has_form_of_crs
from app.models.json_values import shown
from app.models.problem_text import wrong
from app.models.recipes.columns import ColumnsChoice
from app.models.recipes.steps import (
    CountInvalid,
    DropZ,
    HilbertOrder,
    MakeValid,
    Promote,
    Recipe,
    Reproject,
    Simplify,
    SimplifyCoverage,
    Step,
    Where,
)
from app.models.recipes.where import MOST_CHARACTERS, listed, parse
from app.models.recipes.where_types import type_problems

SOURCE = "source"


def _crs_form(value: str) -> str:
    value = value.strip()
    if value.lower() == SOURCE:
        return SOURCE
    if has_form_of_crs(value):
        return value
    raise wrong(CRS_INVALID, value=shown(value), limit=MOST_CRS_CHARACTERS)


def _condition(value: str) -> str:
    """What can be known without the columns."""
    if problems := type_problems(parse(value), lambda _: None):
        raise wrong(WHERE_NOT_SUPPORTED, problems=listed(problems))
    return value


class SimplifyChoice(Frozen):
    """Topology-preserving simplification of each geometry, or of all together."""

    tolerance: Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False, strict=True)] = Field(
        description="The largest distance that a line may move.", examples=[0.5]
    )
    unit: Literal["m", "crs"] = Field(
        "m", description="Of the tolerance: metres, or the unit of the CRS of the result (degrees for EPSG:4326)."
    )
    coverage: bool = Field(
        False,
        strict=True,
        description="Simplify all polygons together, so that neighbours keep the borders that they share. The "
        "tolerance is then the root of the largest area of a triangle that a corner may lose.",
    )


class VectorRecipe(Frozen):
    """What happens to vector files. Fields that a manifest leaves out are those of its intent."""

    crs: Annotated[str, AfterValidator(_crs_form), Field(max_length=MOST_CRS_CHARACTERS)] = Field(
        "EPSG:4326",
        description="CRS of the result: a code such as `EPSG:25832`, WKT, or `source` to keep that of the files.",
        examples=["EPSG:4326"],
    )
    repair: Literal["linework", "structure", "off"] = Field(
        "linework",
        description="How invalid geometries are repaired: GEOS' method `linework` keeps every line, `structure` the "
        "areas; `off` keeps and counts invalid geometries.",
    )
    simplify: SimplifyChoice | None = Field(None, description="Without it every vertex is kept.")
    dimensions: Literal["source", "2d"] = Field("source", description="`2d` drops the heights.")
    multi: Literal["source", "promote"] = Field(
        "source", description="`promote` makes points, lines and polygons multi geometries of one part."
    )

    order: Literal["source", "hilbert"] = Field(
        "source",
        description="Of the rows: as they come, or along a Hilbert curve by the centres of their boxes, so that what "
        "is near in space is near in the file. Rows without coordinates are last then.",
    )
    where: Annotated[str, AfterValidator(_condition), AtMost(MOST_CHARACTERS)] | None = Field(
        None,
        description="CQL2 text over the columns of the source, by their names there, and `geom`, its geometry: the "
        "rows for which it is true are kept. Coordinates are in the CRS of the source, x before y. Without it all "
        "are kept.",
        examples=["area > 100 AND s_intersects(geom, BBOX(8, 49, 9, 50))"],
    )
    columns: ColumnsChoice | None = Field(None, description="Without it every column is kept.")

    def with_changes(self, given: Self | None) -> Self:
        """This recipe with the fields that `given` sets."""
        values: dict[str, Any] = {name: getattr(self, name) for name in type(self).model_fields}
        if given is not None:
            values |= {name: getattr(given, name) for name in given.model_fields_set}
        return self.model_copy(update=values)

    def steps(self, name: str, coverage_vertices: int = 10_000_000) -> Recipe:
        """The steps that carry it out, in order.

        Args:
            name: of the intent, for messages.
            coverage_vertices: more are not simplified together.
        """
        steps: list[Step] = [] if self.where is None else [Where(self.where)]
        if self.columns is not None:
            steps.append(self.columns.step())
        if self.dimensions == "2d":
            steps.append(DropZ())
        steps.append(Reproject(None if self.crs == SOURCE else self.crs))
        if self.repair != "off":
            steps.append(MakeValid(self.repair))
        if self.simplify is not None:
            tolerance, unit = self.simplify.tolerance, self.simplify.unit
            together = SimplifyCoverage(tolerance, unit, coverage_vertices)
            steps.append(together if self.simplify.coverage else Simplify(tolerance, unit))
        if self.repair == "off":
            steps.append(CountInvalid())
        if self.multi == "promote":
            steps.append(Promote())
        if self.order == "hilbert":
            steps.append(HilbertOrder())
        return Recipe(name, tuple(steps))
