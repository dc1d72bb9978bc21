"""Names of the columns of a product: all different, and which name of the source each of them was."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from app.models.products import GEOMETRY


def product_names(names: Sequence[str]) -> tuple[list[str], str]:
    """Names for the columns of a spatial product, all different also for readers that ignore case.

    The geometry column is always `geom`: an attribute of that name gets a free suffix `_1`, `_2`, …, as does one with
    the name of an earlier attribute. The covering column is `bbox`, or `geom_bbox`, `geom_bbox_1`, … where the source
    has an attribute of that name.

    Args:
        names: of the source's attributes.

    Returns:
        (attribute names, name of the covering column).
    """
    found = distinct_names([GEOMETRY, *names])[1:]
    used = {name.casefold() for name in (*names, *found, GEOMETRY)}
    return found, next((box for box in ("bbox", "geom_bbox") if box not in used), None) or _free("geom_bbox", used)


def distinct_names(names: Sequence[str], key: Callable[[str], str] = str.casefold) -> list[str]:
    """The names, a later one that is the same as an earlier one with a free suffix `_1`, `_2`, …

    Args:
        names: in order.
        key: two names are the same if this is. A suffix is free if no name has it, ignoring case.
    """
    used, seen, found = {name.casefold() for name in names}, set[str](), []
    for name in names:
        new = _free(name, used) if key(name) in seen else name
        seen.add(key(new))
        found.append(new)
    return found


def _free(name: str, used: set[str]) -> str:
    number = 1
    while f"{name}_{number}".casefold() in used:
        number += 1
    used.add(f"{name}_{number}".casefold())
    return f"{name}_{number}"


def header_mapping(names: Sequence[str], new_names: Sequence[str]) -> dict[str, str]:
    """{name in the source: new name} for the names that changed.

    A name that occurs more than once has the key `name [n]` from its second column on, n being the number of the
    column.
    """
    mapping: dict[str, str] = {}
    seen = set()
    every = set(names)
    for number, (name, new) in enumerate(zip(names, new_names, strict=True), 1):
        key = name
        while key in seen or (key != name and key in every):
            key = f"{key} [{number}]"
        seen.add(key)
        if key != new:
            mapping[key] = new
    return mapping
