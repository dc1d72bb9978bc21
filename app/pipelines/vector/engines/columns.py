"""The columns of a product: which ones a recipe takes from a source, and by which names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace

import pyarrow as pa

from app.errors import RunRefused
from app.messages.vector import RECIPE_COLUMN_UNKNOWN, RENAMED_COLUMNS_COLLIDE
from app.models.manifests.nearest import nearest
from app.models.products import GEOMETRY
from app.models.recipes.steps import Columns
from app.models.runs.run import RunWarning
from app.pipelines.common.column_names import header_mapping, product_names
from app.pipelines.common.findings import Findings
from app.pipelines.common.shapes import Shapes
from app.pipelines.vector.columns import columns_renamed
from app.pipelines.vector.engines.schemas import common_schema
from app.pipelines.vector.source import Chunk, VectorSource

_LISTED = 30


@dataclass(frozen=True, slots=True)
class ProductColumns:
    """The columns of a product besides its geometry.

    Attributes:
        attributes: in order, with the names of the product.
        box: name of the column with the box of each geometry.
        titles: {name in the product: name in the source} where they differ.
        header_mapping: {name in the source: name in the product} where they differ.
        warnings: of columns whose names differ in case only, which the product tells apart.
    """

    attributes: pa.Schema
    box: str
    titles: Mapping[str, str]
    header_mapping: Mapping[str, str]
    warnings: Sequence[RunWarning]

    def beside(self, others: Sequence[list[RunWarning]]) -> list[list[RunWarning]]:
        """Warnings of each source, with those about columns among the first source's."""
        return [[*self.warnings, *others[0]], *others[1:]]


def product_columns(sources: Sequence[VectorSource]) -> ProductColumns:
    """The columns that all sources share. Raises RunRefused schema_mismatch."""
    schema = common_schema(sources)
    names, box = product_names(schema.names)
    # The name in the first file where files differ.
    known = {new: old for source in reversed(sources) for new, old in source.titles.items()}
    titles = [known.get(old, old) for old in schema.names]
    attributes = pa.schema([field.with_name(name) for field, name in zip(schema, names, strict=True)])
    changed = {new: old for new, old in zip(names, titles, strict=True) if new != old}
    repeated = {
        new: old for new, old in zip(names, schema.names, strict=True) if new != old and old.casefold() != GEOMETRY
    }
    warnings = [columns_renamed(repeated, sources[0].file)] if repeated else []
    return ProductColumns(attributes, box, changed, header_mapping(titles, names), warnings)


def choose_columns(source: VectorSource, columns: Columns) -> VectorSource:
    """The source with the columns of the recipe, by their new names. Rows and geometries stay.

    Raises:
        RunRefused: column_unknown, with all columns that the source does not have; columns_collide.
    """
    if columns == Columns():
        return source
    names, renamed = source.schema.names, dict(columns.renamed)
    asked = (*(columns.kept or ()), *columns.dropped, *renamed)
    check_known(asked, names, source.file, "recipe.columns")
    wanted = columns.kept if columns.kept is not None else [name for name in names if name not in columns.dropped]
    places = [names.index(name) for name in wanted]
    new = [renamed.get(name, name) for name in wanted]
    times = Counter(name.casefold() for name in new)
    taken = [name for name in new if times[name.casefold()] > 1]
    if any(times[name.casefold()] > 1 for name in renamed.values()):
        raise RENAMED_COLUMNS_COLLIDE(file=source.file, names=", ".join(map(repr, dict.fromkeys(taken))))
    return replace(
        source,
        schema=pa.schema([source.schema.field(at).with_name(name) for at, name in zip(places, new, strict=True)]),
        titles={after: source.titles.get(before, before) for after, before in zip(new, wanted, strict=True)},
        open_chunks=lambda: _chosen(source, places),
    )


def check_known(asked: Iterable[str], names: Sequence[str], file: str, field: str) -> None:
    """Raise RunRefused column_unknown for all names that are not among those of the source."""
    if (missing := [name for name in dict.fromkeys(asked) if name not in names]) == []:
        return
    raise unknown_columns(missing, names, file, field)


def unknown_columns(missing: Sequence[str], names: Sequence[str], file: str, field: str) -> RunRefused:
    """The refusal of columns that the source does not have. field: of the recipe, which names them."""
    near = [f"{name!r} instead of {wrong!r}" for wrong in missing if (name := nearest(wrong, names))]
    hint = f"Did you mean {', '.join(near)}? " if near else ""
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    listed = (", ".join(map(repr, names[:_LISTED])) or "none") + more
    return RECIPE_COLUMN_UNKNOWN(
        file=file, number=len(missing), names=", ".join(map(repr, missing)), field=field, hint=hint, columns=listed
    )


@dataclass(slots=True)
class _ChosenChunk:
    """Rows of a chunk with some of its attributes. places: of these in the chunk."""

    chunk: Chunk
    places: Sequence[int]

    @property
    def first_row(self) -> int:
        return self.chunk.first_row

    def decode(self, findings: Findings) -> tuple[tuple[pa.Array, ...], Shapes]:
        attributes, shapes = self.chunk.decode(findings)
        return tuple(attributes[at] for at in self.places), shapes


def _chosen(source: VectorSource, places: Sequence[int]) -> Generator[Chunk, None, None]:
    with closing(source.open_chunks()) as chunks:
        for chunk in chunks:
            yield _ChosenChunk(chunk, places)
