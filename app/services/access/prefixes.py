"""Which objects of the landing zone a caller may use: an API key can be restricted to prefixes."""

from __future__ import annotations

from app.errors import Forbidden
from app.messages.manifest import PATH_FORBIDDEN
from app.models.caller import Caller
from app.models.manifests.manifest import Manifest


def check_key_of(caller: Caller, key: str) -> str:
    """Returns the key. Raises Forbidden when it is outside of the caller's prefixes."""
    if not caller.may_use(key):
        raise Forbidden(*PATH_FORBIDDEN.texts(key=key, prefixes=_listed(caller)))
    return key


def check_files(caller: Caller, manifest: Manifest) -> None:
    """Raises Forbidden, with a fault for each file outside of the caller's prefixes."""
    faults = tuple(
        PATH_FORBIDDEN(f"/files/{index}/path", key=file.key, prefixes=_listed(caller))
        for index, file in enumerate(manifest.files)
        if not caller.may_use(file.key)
    )
    if faults:
        raise Forbidden(f"The manifest names files outside of {_listed(caller)}.", faults[0].fix, faults=faults)


def prefixes_within(caller: Caller, prefix: str) -> tuple[str, ...]:
    """The part of `prefix` that the caller may see: prefixes in order, none within another."""
    if not caller.prefixes:
        return (prefix,)
    seen = {prefix if prefix.startswith(own) else own for own in caller.prefixes if _overlap(own, prefix)}
    return tuple(sorted(own for own in seen if not any(own != other and own.startswith(other) for other in seen)))


def _overlap(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


def _listed(caller: Caller) -> str:
    return f"{', '.join(caller.prefixes)} (the prefixes of the API key {caller.user!r})"
