"""Unknown environment variables with the prefix of the settings, so that a misspelt name is reported."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from pydantic import BaseModel
from pydantic_settings import DotEnvSettingsSource

from app.cli.common import KEY_VARIABLE
from app.models.manifests.nearest import nearest
from app.settings import ENV_FILE, Settings

_PREFIX, _LANES = "SPATIAL_ETL_", "MANIFEST_ROUTER_ENABLED_LANES"
# Of the command line.
_OTHERS = (ENV_FILE, KEY_VARIABLE, "SPATIAL_ETL_URL")


def setting_names(model: type[BaseModel] = Settings, prefix: str = _PREFIX) -> Iterator[str]:
    """The variables of all settings."""
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from setting_names(field.annotation, f"{prefix}{name.upper()}__")
        else:
            yield _LANES if name == "enabled_lanes" else prefix + name.upper()


def unknown_settings() -> list[str]:
    """A line for each unknown variable of the environment and of the file that SPATIAL_ETL_ENV_FILE names."""
    named = os.environ.get(ENV_FILE)
    places: list[tuple[str, Iterable[str]]] = [("the environment", os.environ)]
    if named:
        places.append((named, map(str.upper, DotEnvSettingsSource(Settings, env_file=named).env_vars)))
    return [line for place, names in places for line in _unknown(names, place)]


def _unknown(names: Iterable[str], place: str) -> Iterator[str]:
    known = list(setting_names())
    for name in sorted(names):
        upper = name.upper()
        if upper.startswith((_PREFIX, "MANIFEST_ROUTER_")) and upper not in (*known, *_OTHERS):
            near = nearest(upper.removeprefix(_PREFIX), [each.removeprefix(_PREFIX) for each in known])
            found = next((each for each in known if near and each.removeprefix(_PREFIX) == near), None)
            hint = f"Did you mean {found}?" if found else "The README lists all settings."
            yield f"Ignored {name} of {place}: unknown setting. {hint}"
