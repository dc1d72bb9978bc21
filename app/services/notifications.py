"""What a bucket notification announces: MinIO's envelope, plain S3 records (also Ceph's), and S3's test event.

The sender is trusted to be the object store, its bytes are not: whatever is no event is said to be unreadable.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

MANIFESTS = "manifests/"

# Edits of tags and retention come as ObjectCreated events too, under other names.
_CREATED = frozenset(f"ObjectCreated:{way}" for way in ("Put", "Post", "Copy", "CompleteMultipartUpload"))
_SHOWN = 1024
# A store announces one object with each delivery, or a few; what becomes of each is kept in one document.
_MAX_RECORDS = 10_000


@dataclass(frozen=True, slots=True)
class Announced:
    """One event. keys: the object's key, as the two ways of writing it down would mean it (often the same).

    S3 and MinIO send keys query-escaped, Ceph sends them as they are, and `a+b` alone does not tell which it is.
    """

    name: str
    bucket: str
    keys: tuple[str, ...]
    etag: str = ""
    version: str = ""
    sequencer: str = ""

    @property
    def creates(self) -> bool:
        return self.name.removeprefix("s3:") in _CREATED

    @property
    def is_test(self) -> bool:
        return self.name == "s3:TestEvent"


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Something that is no event, and why."""

    detail: str


def read_notification(body: str) -> tuple[Announced | Unreadable, ...]:
    """Never empty, never raises: a body without any event is one Unreadable."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as err:
        return (Unreadable(f"The body is not JSON ({type(err).__name__}: {str(err)[:200]})."),)
    if not isinstance(document, Mapping):
        return (Unreadable("The body is not a JSON object."),)
    records = document.get("Records")
    if isinstance(records, list) and records:
        events = [_record(index, record) for index, record in enumerate(records[:_MAX_RECORDS])]
        if len(records) > _MAX_RECORDS:
            events.append(Unreadable(f"Of {len(records)} records only the first {_MAX_RECORDS} were looked at."))
        return tuple(dict.fromkeys(events))
    if document.get("Event") == "s3:TestEvent":
        return (Announced("s3:TestEvent", _text(document.get("Bucket")), ()),)
    # MinIO's envelope names the object itself too, with its bucket in front and unescaped.
    name, (bucket, _, key) = _text(document.get("EventName")), _text(document.get("Key")).partition("/")
    if name and bucket and key:
        return (Announced(name, bucket, (key,)),)
    return (Unreadable("The body has neither Records nor EventName and Key."),)


def delivery_id_of(events: tuple[Announced | Unreadable, ...], body_digest: str) -> str:
    """The same for every repeat. Where the events do not say which content they are about, the body decides."""
    named = [event for event in events if isinstance(event, Announced) and (event.sequencer or event.version)]
    parts: list[Any] = [body_digest]
    if len(named) == len(events):
        parts = sorted([e.name, e.bucket, *e.keys, e.version or e.etag, e.sequencer] for e in named)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _record(index: int, record: Any) -> Announced | Unreadable:
    s3 = _at(record, "s3")
    name, bucket = _text(_at(record, "eventName")), _text(_at(s3, "bucket", "name"))
    key = _text(_at(s3, "object", "key"))
    for value, place in ((name, "eventName"), (bucket, "s3.bucket.name"), (key, "s3.object.key")):
        if not value:
            return Unreadable(f"Records[{index}] has no {place}.")
    thing = _at(s3, "object")
    return Announced(
        name,
        bucket,
        tuple(dict.fromkeys((_text(unquote_plus(key)), key))),
        etag=_text(_at(thing, "eTag")).strip('"'),
        version=_text(_at(thing, "versionId")),
        sequencer=_text(_at(thing, "sequencer")),
    )


def _at(value: Any, *names: str) -> Any:
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _text(value: Any) -> str:
    """Text that every ledger keeps; nothing for anything else. No key or name is longer than a key may be, twice."""
    if not isinstance(value, str):
        return ""
    clean = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
    return clean if len(clean) <= 4 * _SHOWN else clean[:_SHOWN] + "\ufffd"
