"""Parses bucket notifications: MinIO's envelope, plain S3 records (also from Ceph), and the test event of S3.

The sender is authenticated, but its bytes are not trusted: everything that is not an event becomes an UnreadableEvent.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

# Edits of tags and retention come as ObjectCreated events too, under other names.
_CREATED = frozenset(f"ObjectCreated:{way}" for way in ("Put", "Post", "Copy", "CompleteMultipartUpload"))
_SHOWN = 1024
# Stores announce a few objects per delivery. The outcomes of all records are stored in one document.
_MAX_RECORDS = 10_000


@dataclass(frozen=True, slots=True)
class ObjectEvent:
    """One event. keys: the possible keys of the object, unescaped and as sent (often equal).

    S3 and MinIO send keys URL-encoded, Ceph sends them as they are, and `a+b` may be either.
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
class UnreadableEvent:
    """A record that is not an event, and why."""

    detail: str


def read_notification(body: str) -> tuple[ObjectEvent | UnreadableEvent, ...]:
    """Never empty, never raises: a body without any event is one Unreadable."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        return (UnreadableEvent("The body is not JSON."),)
    if not isinstance(document, Mapping):
        return (UnreadableEvent("The body is not a JSON object."),)
    records = document.get("Records")
    if isinstance(records, list) and records:
        events = [_record(index, record) for index, record in enumerate(records[:_MAX_RECORDS])]
        if len(records) > _MAX_RECORDS:
            events.append(UnreadableEvent(f"Of {len(records)} records only the first {_MAX_RECORDS} were processed."))
        return tuple(dict.fromkeys(events))
    if document.get("Event") == "s3:TestEvent":
        return (ObjectEvent("s3:TestEvent", _text(document.get("Bucket")), ()),)
    # The envelope of MinIO also names the object: bucket and key, not URL-encoded.
    name, (bucket, _, key) = _text(document.get("EventName")), _text(document.get("Key")).partition("/")
    if name and bucket and key:
        return (ObjectEvent(name, bucket, (key,)),)
    return (UnreadableEvent("The body has neither Records nor EventName and Key."),)


def delivery_id_of(events: tuple[ObjectEvent | UnreadableEvent, ...], body_digest: str) -> str:
    """The same id for each repeat of a delivery; from the body, if the events do not identify the content."""
    named = [event for event in events if isinstance(event, ObjectEvent) and (event.sequencer or event.version)]
    parts: list[Any] = [body_digest]
    if len(named) == len(events):
        parts = sorted([e.name, e.bucket, *e.keys, e.version or e.etag, e.sequencer] for e in named)
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32]


def _record(index: int, record: Any) -> ObjectEvent | UnreadableEvent:
    s3 = _at(record, "s3")
    name, bucket = _text(_at(record, "eventName")), _text(_at(s3, "bucket", "name"))
    key = _text(_at(s3, "object", "key"))
    for value, place in ((name, "eventName"), (bucket, "s3.bucket.name"), (key, "s3.object.key")):
        if not value:
            return UnreadableEvent(f"Records[{index}] has no {place}.")
    thing = _at(s3, "object")
    return ObjectEvent(
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
    """The string, made safe for every ledger and cut when very long; empty for other values."""
    if not isinstance(value, str):
        return ""
    clean = value.encode("utf-16", "surrogatepass").decode("utf-16", "replace").replace("\0", "\ufffd")
    return clean if len(clean) <= 4 * _SHOWN else clean[:_SHOWN] + "\ufffd"
