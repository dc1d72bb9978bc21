"""Types that the manifest declares for columns. Rows with values of another type go to quarantine."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pyarrow as pa

from app.pipelines.common.column_types import Mask, from_text, kind_of
from app.pipelines.tabular.notation import Notation


def titles_for_types(names: Sequence[str], cleaned: Sequence[str]) -> list[str | None]:
    """How files[].options.types names each column: as the source does, else by its cleaned name, else not at all."""
    times = Counter(names)
    return [
        name if name and times[name] == 1 else new if new not in times else None
        for name, new in zip(names, cleaned, strict=True)
    ]


def convert_declared(array: pa.Array, to: pa.DataType, notation: Notation) -> tuple[pa.Array, Mask | None]:
    """As `from_text`, for text in the notation of the file."""
    if pa.types.is_string(to):
        return array, None
    array, others = notation.rewrite(array, kind_of(to))
    converted, wrong = from_text(array, to)
    if others is not None and others.any():
        wrong = others if wrong is None else wrong | others
    return converted, wrong
