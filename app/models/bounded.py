"""Limits of what a manifest may hold, for the fields of every model of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic_core import PydanticKnownError, core_schema

from app.messages.manifest import ARRAY_TOO_LONG
from app.models.problem_text import wrong

# The validation context of manifests that were accepted before.
FROM_LEDGER = "from the ledger"
MAX_COLUMNS = 2_000
MAX_TERMS = 200
DATASET_ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$"


@dataclass(frozen=True, slots=True)
class AtMost:
    """The most characters, items or properties that a value may have when a manifest is submitted.

    Longer ones are refused before their items are validated. A manifest that was accepted before there were limits, or
    under larger ones, is read from the ledger without them (`Manifest.from_ledger`).

    least: the fewest items of an array, which are counted before their validation too.
    """

    most: int
    least: int = 0

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.with_info_before_validator_function(self._check, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        found = handler(schema)
        found[{"string": "maxLength", "array": "maxItems", "object": "maxProperties"}[found["type"]]] = self.most
        if self.least:
            found["minItems"] = self.least
        return found

    def _check(self, value: object, info: core_schema.ValidationInfo) -> object:
        if info.context == FROM_LEDGER or not isinstance(value, str | list | tuple | Mapping):
            return value
        if len(value) > self.most:
            if isinstance(value, str):
                raise PydanticKnownError("string_too_long", {"max_length": self.most})
            what = "object" if isinstance(value, Mapping) else "array"
            raise wrong(ARRAY_TOO_LONG, what=what, items=len(value), max_length=self.most)
        if len(value) < self.least:
            raise PydanticKnownError(
                "too_short", {"field_type": "Array", "min_length": self.least, "actual_length": len(value)}
            )
        return value


Column = Annotated[str, AtMost(1_000)]
