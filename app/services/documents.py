"""Manifests as bytes: strict JSON, and every fault of the document at once, the same at every door."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from pydantic import ValidationError

from app.errors import Fault, InvalidManifest
from app.models.faults import invalid_manifest, json_pointer, refused
from app.models.manifest import Manifest

NOT_JSON = "json_invalid"
_MAX_DEPTH = 32
_MAX_RAW_CHARACTERS = 64 * 1024


class _Object(dict[str, Any]):
    """A JSON object that remembers which of its names came twice."""

    repeated: tuple[str, ...] = ()


def read_manifest(raw: bytes) -> Manifest:
    """Raises InvalidManifest with every fault: of the JSON (`json_invalid`, `name_repeated`), else of the manifest."""
    document = read_json(raw)
    try:
        return Manifest.model_validate(document)
    except ValidationError as err:
        raise invalid_manifest(err.errors(include_url=False)) from None
    except RecursionError:
        raise _too_deep() from None


def read_json(raw: bytes) -> Any:
    """JSON that means one thing only. Raises InvalidManifest for anything else, and for a name that comes twice."""
    try:
        text = raw.decode(json.detect_encoding(raw))
        document = json.loads(
            text, object_pairs_hook=_object, parse_constant=_no_such_number, parse_float=_finite_number
        )
    except UnicodeDecodeError as err:
        raise _not_json(f"no {err.encoding.upper()}: byte 0x{raw[err.start]:02x} at position {err.start}") from None
    except json.JSONDecodeError as err:
        raise _not_json(err.msg if text.strip() else "it is empty", err.pos) from None
    except ValueError as err:
        raise _not_json(str(err)) from None
    except RecursionError:
        raise _too_deep() from None
    if faults := _repeated_names(document):
        raise refused(faults)
    return document


def kept_document(raw: bytes) -> dict[str, Any]:
    """A refused document as the ledger keeps it: the JSON object that it is, else `{"raw": its text}`.

    Not every ledger keeps every JSON: integers of more than 64 bits, zero bytes, lone surrogates, deep nesting. Those
    stay text too, cut where it is very long.
    """
    try:
        document = read_json(raw)
    except InvalidManifest:
        document = None
    if isinstance(document, dict) and all(_is_plain(value, depth) for value, depth, _ in _walk(document)):
        return document
    text = raw.decode("utf-8", "replace").replace("\0", "\ufffd")
    return {"raw": text[:_MAX_RAW_CHARACTERS]}


def _object(pairs: list[tuple[str, Any]]) -> _Object:
    made = _Object(pairs)
    if len(made) < len(pairs):
        names = [name for name, _ in pairs]
        made.repeated = tuple(name for name in made if names.count(name) > 1)
    return made


def _no_such_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _finite_number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _walk(document: Any) -> Iterator[tuple[Any, int, tuple[str | int, ...]]]:
    """Every value and name with its depth and place; without recursion, because the nesting is the sender's choice."""
    pending: list[tuple[Any, int, tuple[str | int, ...]]] = [(document, 0, ())]
    while pending:
        value, depth, place = pending.pop()
        yield value, depth, place
        inside: Iterable[tuple[str | int, Any]] = ()
        if isinstance(value, dict):
            yield from ((name, depth, place) for name in value)
            inside = value.items()
        elif isinstance(value, list):
            inside = enumerate(value)
        # Places grow no deeper than what is kept: else they would take the square of a hostile depth.
        further = [(item, depth + 1, (*place, name) if depth < _MAX_DEPTH else place) for name, item in inside]
        pending += reversed(further)


def _repeated_names(document: Any) -> tuple[Fault, ...]:
    return tuple(
        Fault(
            json_pointer((*place, name)),
            "name_repeated",
            f"The name {name!r} comes more than once in one object; which one counts is not defined.",
            "Keep one of them.",
        )
        for value, _, place in _walk(document)
        if isinstance(value, _Object)
        for name in value.repeated
    )


def _is_plain(value: object, depth: int) -> bool:
    if depth > _MAX_DEPTH:
        return False
    if isinstance(value, str):
        return "\0" not in value and not any("\ud800" <= char <= "\udfff" for char in value)
    return not isinstance(value, int) or -(2**63) <= value < 2**63


def _not_json(error: str, *position: int) -> InvalidManifest:
    return invalid_manifest([{"type": NOT_JSON, "loc": position, "msg": error, "ctx": {"error": error}}])


def _too_deep() -> InvalidManifest:
    return _not_json("it is nested too deeply")
