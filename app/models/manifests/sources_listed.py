"""Which entries of files[] read the same rows: members of one zip, and layers of one vector file, are sources apart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# Of a file with one member or layer, an entry that names none means that one.
_ANY = ("", "*")


class SourcesListed:
    """The sources of the entries so far."""

    def __init__(self) -> None:
        # By path and member, and by path with all of its members: {layer: number of the entry}.
        self._layers: dict[tuple[str, str | None], dict[str, int]] = {}

    def add(self, index: int, entry: Mapping[str, Any], path: str) -> int | None:
        """Add the sources of an entry.

        Args:
            index: of the entry.
            entry: as it is in the document, with values of any type.
            path: of its file.

        Returns:
            The number of an earlier entry that reads some of the same rows; None without one.
        """
        member, layers = _named(entry)
        path = path.removeprefix("s3://")
        places = [(path, None)] if not member else [(path, member), (path, "")]
        twins = [twin for place in places for layer in layers if (twin := self._twin(place, layer)) is not None]
        for place in {(path, member), (path, None)}:
            for layer in layers:
                self._layers.setdefault(place, {}).setdefault(layer, index)
        return min(twins, default=None)

    def _twin(self, place: tuple[str, str | None], layer: str) -> int | None:
        listed = self._layers.get(place, {})
        if layer in _ANY:
            return next(iter(listed.values()), None)
        return next((listed[each] for each in (layer, *_ANY) if each in listed), None)


def _named(entry: Mapping[str, Any]) -> tuple[str, list[str]]:
    """(member, layers). Of a raster only the path counts: one layer would hide another."""
    if entry.get("type") == "raster":
        return "", [""]
    layers = entry.get("layers")
    named = layers if isinstance(layers, list | tuple) else [layers or entry.get("layer")]
    return str(entry.get("member") or ""), [str(name or "").strip() for name in named] or [""]
