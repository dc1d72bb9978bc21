"""Manifests as bytes: strict JSON parsing, and all faults of the document at once, for REST, webhook and sweep.

What a document may cost is bounded before it is parsed: its bytes by a setting, its values and its depth here.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

from anyio import to_thread
from pydantic import ValidationError

from app.errors import Fault, InvalidManifest
from app.messages.manifest import JSON_INVALID, NAME_REPEATED, TOO_COMPLEX
from app.models.json_values import shown
from app.models.manifests.faults import invalid_manifest, json_pointer, refused
from app.models.manifests.manifest import Manifest

NOT_JSON = JSON_INVALID.code
MAX_VALUES = 30_000
_SMALL_BYTES = 32 * 1024
_MAX_DEPTH = 32
_MAX_RAW_CHARACTERS = 64 * 1024
# A rejected object of more bytes is kept as text, because listings show it.
_MAX_KEPT_BYTES = 64 * 1024
# What ledgers index has to be short.
_MAX_INDEXED = 200
# A string of JSON, also without its end; possessive, so that the search never goes back.
_JSON_STRING = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_BRACKET = re.compile(r"[\[\]{}]")


class _Object(dict[str, Any]):
    """A JSON object that remembers its repeated names."""

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


async def read_manifest_off_loop(raw: bytes) -> Manifest:
    """`read_manifest`, in a thread if the document is large: other requests are answered meanwhile."""
    return read_manifest(raw) if len(raw) <= _SMALL_BYTES else await to_thread.run_sync(read_manifest, raw)


def read_json(raw: bytes) -> Any:
    """Parse unambiguous JSON. Raises InvalidManifest for invalid, deep or large JSON and for repeated names."""
    repeated = False

    def as_object(pairs: list[tuple[str, Any]]) -> _Object:
        nonlocal repeated
        made = _Object(pairs)
        if len(made) < len(pairs):
            counts = Counter(name for name, _ in pairs)
            made.repeated = tuple(name for name in made if counts[name] > 1)
            repeated = True
        return made

    try:
        text = raw.decode(json.detect_encoding(raw))
        _check_size(text)
        document = json.loads(
            text, object_pairs_hook=as_object, parse_constant=_no_such_number, parse_float=_finite_number
        )
    except UnicodeDecodeError as err:
        raise _not_json(
            f"it is not {err.encoding.upper()}, see byte 0x{raw[err.start]:02x} at position {err.start}"
        ) from None
    except json.JSONDecodeError as err:
        raise _not_json(err.msg if text.strip() else "it is empty", err.pos) from None
    except ValueError as err:
        reason = str(err)
        raise _not_json("an integer has too many digits" if reason.startswith("Exceeds") else reason) from None
    except RecursionError:
        raise _too_deep() from None
    if repeated:
        raise refused(_repeated_names(document))
    return document


def _check_size(text: str) -> None:
    """Raise InvalidManifest for more values or levels than a manifest has, without parsing the text."""
    if not text.lstrip().startswith(("{", "[")) or sum(map(text.count, ",[{")) <= _MAX_DEPTH:
        return
    bare = _JSON_STRING.sub("", text)
    values = sum(map(bare.count, ",[{"))
    depth = 0
    for at, bracket in enumerate(_BRACKET.finditer(bare)):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > _MAX_DEPTH:
            raise _too_deep()
        if depth <= 0 or at > 2 * MAX_VALUES:
            break
    if values > MAX_VALUES:
        raise refused((TOO_COMPLEX("", limit=MAX_VALUES),))


def kept_document(raw: bytes) -> dict[str, Any]:
    """A rejected document as the ledger stores it: a JSON object as it is, anything else as `{"raw": text}`.

    So are large objects, and those that not every ledger can store (integers of more than 64 bits, zero bytes, lone
    surrogates, deep nesting, a long intent, uploader or project). Long text is cut.
    """
    if len(raw) <= _MAX_KEPT_BYTES and (document := _storable(raw)) is not None:
        return document
    text = raw.decode("utf-8", "replace").replace("\0", "\ufffd")
    return {"raw": text[:_MAX_RAW_CHARACTERS]}


def _storable(raw: bytes) -> dict[str, Any] | None:
    try:
        document = read_json(raw)
    except InvalidManifest:
        return None
    if not isinstance(document, dict) or not all(_is_plain(value, depth) for value, depth, _ in _walk(document)):
        return None
    metadata = document.get("metadata")
    project = metadata.get("project") if isinstance(metadata, dict) else None
    indexed = (document.get("intent"), document.get("uploader"), project)
    return None if any(isinstance(text, str) and len(text) > _MAX_INDEXED for text in indexed) else document


def _no_such_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number in JSON")


def _finite_number(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"the number {text[:40]} is too large")
    return value


def _walk(document: Any) -> Iterator[tuple[Any, int, tuple[str | int, ...]]]:
    """Every value and name with its depth and place; without recursion, because a sender may nest deeply."""
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
        # Places stop growing at the maximum depth: else a deep document would take quadratic memory.
        further = [(item, depth + 1, (*place, name) if depth < _MAX_DEPTH else place) for name, item in inside]
        pending += reversed(further)


def _repeated_names(document: Any) -> Iterator[Fault]:
    return (
        NAME_REPEATED(json_pointer((*place, name)), name=shown(name))
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
