"""Lineage of columns: which column of which input each column of a version was made from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.models.asset import COMPARED, Asset, AssetInput, ParentInput, SourceInput
from app.models.formats import find_format
from app.models.intents import find_intent
from app.models.recipes.vector import VectorRecipe
from app.services.lineage.graph import Provenance

_MADE = ("geometry", "bbox")


@dataclass(frozen=True, slots=True)
class ColumnOrigin:
    """One column of one input. changed: the values are not the input's own, but made from them as described."""

    source: AssetInput
    column: str
    changed: bool
    description: str = ""


def column_origins(provenance: Provenance, known: Mapping[tuple[str, int], Asset]) -> dict[str, list[ColumnOrigin]]:
    """{column of the version: the input columns that it was made from}.

    Columns without a recorded origin are left out: geometries read from vector files (they have no column name there),
    and columns of parents that are not in `known`.
    """
    asset = provenance.asset
    old_names = {new: old for old, new in asset.metadata.header_mapping.items()}
    files = data_files(provenance)
    parents = [item for item in asset.inputs if isinstance(item, ParentInput) and item.role != COMPARED]
    found: dict[str, list[ColumnOrigin]] = {}
    for name, column in asset.metadata.column_schema.items():
        old, made = old_names.get(name, name), column.logical_type in _MADE
        beside = old != name and old in asset.metadata.column_schema and _is_attribute(asset, old)
        origins = _from_parents(parents, old, column.logical_type if made else None, known, beside=beside)
        if name in old_names or not made:
            origins += [_from_file(item, old, column.type_name, provenance) for item in files]
        elif column.logical_type == "geometry":
            origins += _from_coordinates(files, provenance)
        if origins:
            found[name] = origins
    return found


def data_files(provenance: Provenance) -> list[SourceInput]:
    """The inputs that the manifest names, without their sidecar files."""
    sources = [item for item in provenance.asset.inputs if isinstance(item, SourceInput)]
    named = _declared(provenance)
    return [item for item in sources if item.s3_key in named] if named else sources


def _declared(provenance: Provenance) -> dict[str, Mapping[str, Any]]:
    """{bucket and key of a file that the manifest names: its entry there}."""
    files = provenance.manifest.manifest.get("files", ()) if provenance.manifest else ()
    return {str(file["path"]).removeprefix("s3://"): file for file in files}


def _from_coordinates(files: list[SourceInput], provenance: Provenance) -> list[ColumnOrigin]:
    """The columns of tables that geometries were made of: files[].options.geometry of the manifest."""
    declared = _declared(provenance)
    found: list[ColumnOrigin] = []
    for item in files:
        asked = (declared.get(item.s3_key, {}).get("options") or {}).get("geometry") or {}
        names = [str(asked[each]) for each in ("x", "y", "wkt", "wkb") if asked.get(each) is not None]
        found += [ColumnOrigin(item, name, True, "coordinates become geometries") for name in names]
    return found


def _from_file(item: SourceInput, column: str, type_name: str, provenance: Provenance) -> ColumnOrigin:
    """Text becomes typed values; text that stays text, and columns that have types, are kept as they are."""
    fmt = find_format(str(_declared(provenance).get(item.s3_key, {}).get("format")))
    # Formats without options.types have columns with types.
    text = provenance.asset.kind == "tabular" if fmt is None else "types" in fmt.options
    changed = text and type_name not in ("string", "large_string")
    return ColumnOrigin(item, column, changed, "text becomes typed values" if changed else "")


def _is_attribute(asset: Asset, column: str) -> bool:
    return asset.metadata.column_schema[column].logical_type not in _MADE


def _from_parents(
    parents: list[ParentInput], column: str, made: str | None, known: Mapping[tuple[str, int], Asset], *, beside: bool
) -> list[ColumnOrigin]:
    """Of a join: geometry from the parent that has one, everything else from the tabular side where that has it.

    beside: the column was renamed because the tabular side's own of that name stands beside it.
    """
    having = [
        (parent, asset)
        for parent in parents
        if (asset := known.get((parent.dataset_id, parent.version))) and column in asset.metadata.column_schema
    ]
    if made is not None:
        having = [pair for pair in having if pair[1].metadata.column_schema[column].logical_type == made]
    elif any(_is_tabular(parent, known) for parent in parents):
        tabular = [pair for pair in having if _is_tabular(pair[0], known)]
        others = [pair for pair in having if pair not in tabular and _is_attribute(pair[1], column)]
        having = others if beside or not tabular else tabular
    return [ColumnOrigin(parent, column, changed=False) for parent, _ in having]


def _is_tabular(parent: ParentInput, known: Mapping[tuple[str, int], Asset]) -> bool:
    asset = known.get((parent.dataset_id, parent.version))
    return asset is not None and asset.kind == "tabular"


def recipe_of(provenance: Provenance) -> str:
    """A description of what the intent does; empty when the manifest or intent is unknown."""
    if provenance.manifest is None:
        return ""
    intent = find_intent(str(provenance.manifest.manifest.get("intent", "")))
    if intent is None:
        return ""
    kept = provenance.manifest.manifest.get("recipe")
    # Manifests that an earlier release accepted have none.
    recipe = VectorRecipe.model_validate(kept).steps(intent.name) if kept else intent.recipe
    steps = "; ".join(recipe.describe()) if recipe else ""
    return f"{intent.name}: {intent.result}{f' ({steps})' if steps else ''}"
