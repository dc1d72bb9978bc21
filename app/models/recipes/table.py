"""What each vector intent means: the shipped recipe, or what a TOML file of the operator says.

The file has a table for each intent, with the fields of `VectorRecipe`. An intent that is not shipped joins the known
ones; `"ingest_*"` is the recipe of all others. README.md has an example, samples/recipes a whole file.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ValidationError

from app.models.intents import INTENTS, find_intent, intent_names
from app.models.json_values import shown
from app.models.manifests.faults import describe, json_pointer
from app.models.manifests.manifest import Manifest
from app.models.manifests.nearest import nearest
from app.models.recipes.columns import ColumnsChoice
from app.models.recipes.vector import SimplifyChoice, VectorRecipe

OTHERS = "ingest_*"
_MOST_BYTES = 1024 * 1024
_MODELS: Mapping[str, type[BaseModel]] = {"simplify": SimplifyChoice, "columns": ColumnsChoice}
_NAME = re.compile(r"ingest_[a-z0-9_]{1,121}")
_VECTOR = tuple(intent.name for intent in INTENTS if intent.file_types == ("vector",))
_TAKEN = tuple(name for name in intent_names() if name not in _VECTOR)


@dataclass(frozen=True, slots=True)
class RecipeTable:
    """The recipes by intent; an intent that is not in it has the shipped recipe."""

    by_intent: Mapping[str, VectorRecipe] = field(default_factory=dict)

    @property
    def names(self) -> tuple[str, ...]:
        """The known intents: the shipped ones, then those that the operator added."""
        return (*intent_names(), *(name for name in self.by_intent if name not in (*intent_names(), OTHERS)))

    def of(self, intent: str) -> VectorRecipe:
        """The recipe of a vector intent."""
        shipped = VectorRecipe()
        return self.by_intent.get(intent) or (shipped if intent in _VECTOR else self.by_intent.get(OTHERS, shipped))

    def resolve(self, manifest: Manifest) -> Manifest:
        """The manifest with the whole recipe of its run; unchanged where its intent or files have none."""
        intent = find_intent(manifest.intent)
        if intent is None or "vector" not in intent.file_types or not all(f.has_geometries for f in manifest.files):
            return manifest
        recipe = self.of(manifest.intent).with_changes(manifest.recipe)
        # Complete: what is stored means the same under another file, and in a later release.
        whole = VectorRecipe.model_validate(recipe.model_dump())
        return manifest.model_copy(update={"recipe": whole})

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the operator's file.

        Raises:
            ValueError: one line for each thing that is wrong, with its place as a JSON pointer, and the fix.
        """
        try:
            with path.open("rb") as file:
                raw = file.read(_MOST_BYTES + 1)
            document = tomllib.loads(raw.decode())
        except OSError as err:
            raise ValueError(f"{path} cannot be read: {err.strerror}. Name a TOML file.") from None
        except (UnicodeDecodeError, tomllib.TOMLDecodeError) as err:
            raise ValueError(f"{path} is not TOML: {err}. Correct the file.") from None
        if len(raw) > _MOST_BYTES:
            raise ValueError(f"{path} has more than {_MOST_BYTES:,} bytes. Name a file with recipes.")
        found, faults = _recipes(document)
        if faults:
            raise ValueError("\n".join([f"{path} has {len(faults)} fault(s):", *faults]))
        return cls(found)


SHIPPED = RecipeTable()


def _recipes(document: Mapping[str, Any]) -> tuple[dict[str, VectorRecipe], list[str]]:
    """The recipes, and all faults."""
    faults = [
        f"/{name}: unknown table. Write [intents.NAME] for the recipe of an intent."
        for name in document
        if name != "intents"
    ]
    intents = document.get("intents", {})
    if not isinstance(intents, Mapping):
        return {}, [*faults, "/intents: must be a table. Write [intents.NAME] for the recipe of an intent."]
    found = {}
    for name, values in intents.items():
        if (fault := _name_fault(name)) is not None:
            faults.append(fault)
        try:
            found[name] = VectorRecipe.model_validate(values)
        except ValidationError as err:
            faults += [_fault(name, line) for line in err.errors(include_url=False)]
    return found, faults


def _name_fault(name: str) -> str | None:
    pointer = json_pointer(("intents", name))
    if name in _TAKEN:
        return f"{pointer}: {name} takes no vector files, so it has no recipe of this kind. Remove the table."
    if name in (OTHERS, *_VECTOR) or _NAME.fullmatch(name):
        return None
    near = nearest(name, _VECTOR)
    hint = f"Did you mean {near!r}? " if near else ""
    return f"{pointer}: {shown(name)} is no name of an intent. {hint}Write ingest_ and then a-z, 0-9 or _."


def _fault(name: str, error: Mapping[str, Any]) -> str:
    loc = tuple(error["loc"])
    pointer = json_pointer(("intents", name, *loc))
    if error["type"] == "extra_forbidden":
        known = tuple((_MODELS[str(loc[0])] if len(loc) > 1 else VectorRecipe).model_fields)
        near = nearest(str(loc[-1]), known)
        fix = f"Did you mean {near!r}?" if near else f"Known here: {', '.join(known)}."
        return f"{pointer}: unknown field. {fix}"
    detail, fix = describe(error, loc or (name,))
    return f"{pointer}: {detail} {fix}"
