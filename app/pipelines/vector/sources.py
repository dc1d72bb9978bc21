"""The sources of a manifest: each opened with the types that the manifest declares, then together as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from app.pipelines.common.areas import ignores_area
from app.pipelines.common.column_types import types_by_column
from app.pipelines.contract.context import FetchedFile, RunContext
from app.pipelines.vector.columns import with_types
from app.pipelines.vector.formats.open import inspect
from app.pipelines.vector.source import VectorSource
from app.pipelines.vector.union import by_name


def open_file(ctx: RunContext, file: FetchedFile) -> list[VectorSource]:
    """Open one file of the manifest: a source for each of its layers that the manifest names.

    Raises:
        RunRefused: as `inspect`; column_unknown and type_impossible for files[].options.types.
    """
    types, made = _types_of(file), []
    for source in inspect(file, ctx.limits, ctx.threads):
        # Of a union by name another source may have the others: see `together`.
        is_here = {name: name in source.schema.names or ctx.manifest.union == "strict" for name in types}
        typed = with_types(source, {name: kind for name, kind in types.items() if is_here[name]})
        made.append(replace(typed, ignores_area=ignores_area(file.declared)))
    return made


def together(ctx: RunContext, files: Sequence[FetchedFile], sources: Sequence[VectorSource]) -> list[VectorSource]:
    """All sources of a manifest, with the same columns if it says `union: by_name`.

    Args:
        files: of the manifest.
        sources: those of the files, in order.

    Raises:
        RunRefused: column_unknown for types of a column that no file has; as `by_name`.
    """
    times = Counter(source.file for source in sources)
    told_apart = [source if times[source.file] > 1 else replace(source, part="") for source in sources]
    if ctx.manifest.union == "strict":
        return told_apart
    titles = {name: source.titles.get(name, name) for source in reversed(sources) for name in source.schema.names}
    for file in files:
        types_by_column(_types_of(file), list(titles.values()), list(titles), file.declared.key)
    return by_name(told_apart)


def _types_of(file: FetchedFile) -> dict[str, str]:
    options = file.declared.options
    return dict(options.types or {}) if options is not None else {}
