"""The columns that checks name, as DuckDB reads them: c0, c1, …, because names may be empty or differ in case only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from app.messages.checks import CHECK_COLUMN_AMBIGUOUS, CHECK_COLUMN_UNKNOWN
from app.models.manifests.nearest import nearest

# How many columns a refusal lists.
_NAMED = 30


@dataclass(frozen=True, slots=True)
class ProductColumns:
    """names: of the product, in order. types: DuckDB's, in the same order."""

    names: Sequence[str]
    types: Sequence[str]

    @property
    def aliases(self) -> str:
        return ", ".join(f"c{number}" for number in range(len(self.names)))

    def number(self, name: str, index: int, check: str) -> int:
        """The place of a column.

        Args:
            name: as the product has it.
            index: of the check in the manifest.
            check: its name.

        Raises:
            RunRefused: check_column_unknown.
        """
        if name in self.names:
            return list(self.names).index(name)
        near = nearest(name, self.names)
        hint = f"Did you mean {near!r}? " if near else ""
        raise CHECK_COLUMN_UNKNOWN(index=index, check=check, column=name, hint=hint, columns=self._listed())

    def number_in_sql(self, name: str, index: int) -> int:
        """The place of a column that SQL names, where case does not count unless names differ in it only.

        Raises:
            RunRefused: check_column_unknown.
        """
        alike = [number for number, each in enumerate(self.names) if each.lower() == name.lower()]
        if name in self.names or len(alike) != 1:
            if name not in self.names and alike:
                names = [repr(self.names[number]) for number in alike]
                values = {"column": name, "columns": ", ".join(names), "first": self.names[alike[0]]}
                raise CHECK_COLUMN_AMBIGUOUS(index=index, check="custom", **values)
            return self.number(name, index, "custom")
        return alike[0]

    def _listed(self) -> str:
        more = f", … ({len(self.names)} in all)" if len(self.names) > _NAMED else ""
        return ", ".join(map(repr, self.names[:_NAMED])) + more
