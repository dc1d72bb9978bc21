"""The refusal of an unknown layer, for every format with layers."""

from __future__ import annotations

from app.errors import RunRefused
from app.messages.common import LAYER_MISSPELT, LAYER_UNKNOWN
from app.models.manifests.nearest import nearest


def unknown_layer(wanted: str, names: list[str], file: str) -> RunRefused:
    """The refusal of a layer that the file does not have. It lists the layers, and suggests a similar name."""
    layers = ", ".join(map(repr, names)) or "none"
    if similar := nearest(wanted, names):
        return LAYER_MISSPELT(file=file, layer=wanted, nearest=similar, layers=layers)
    return LAYER_UNKNOWN(file=file, layer=wanted, layers=layers)
