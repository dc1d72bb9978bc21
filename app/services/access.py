"""What a caller may touch in the landing zone: an API key can be bound to prefixes of it."""

from __future__ import annotations

from app.errors import Fault, Forbidden
from app.models.caller import Caller
from app.models.manifest import Manifest


def check_key_of(caller: Caller, key: str) -> str:
    """The key of the object. Raises Forbidden when it is not one of the caller's."""
    if not caller.may_use(key):
        raise Forbidden(_outside(caller, key), _FIX)
    return key


def check_files(caller: Caller, manifest: Manifest) -> None:
    """Raises Forbidden, with every file that is not one of the caller's."""
    faults = tuple(
        Fault(f"/files/{index}/path", "path_forbidden", _outside(caller, file.key), _FIX)
        for index, file in enumerate(manifest.files)
        if not caller.may_use(file.key)
    )
    if faults:
        raise Forbidden(f"The manifest names files outside of {_listed(caller)}.", _FIX, faults=faults)


def prefixes_within(caller: Caller, prefix: str) -> tuple[str, ...]:
    """What of `prefix` the caller may see, as prefixes in order, none within another."""
    if not caller.prefixes:
        return (prefix,)
    seen = {prefix if prefix.startswith(own) else own for own in caller.prefixes if _overlap(own, prefix)}
    return tuple(sorted(own for own in seen if not any(own != other and own.startswith(other) for other in seen)))


def _overlap(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)


_FIX = "Use an object below one of the API key's prefixes, or an API key with another prefix."


def _outside(caller: Caller, key: str) -> str:
    return f"The object {key!r} is outside of {_listed(caller)}."


def _listed(caller: Caller) -> str:
    return f"{', '.join(caller.prefixes)} (all that the API key {caller.user!r} is for)"
