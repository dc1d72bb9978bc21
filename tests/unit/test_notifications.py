"""What stores announce, in every way that they write it down, and what hostile senders put in its place."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.services.intake.bucket_events import ObjectEvent, UnreadableEvent, delivery_id_of, read_notification


def record(key: str = "manifests%2Fa.json", **changes: Any) -> dict[str, Any]:
    thing = {"key": key, "eTag": "e1", "sequencer": "17C4"} | changes.pop("object", {})
    return {
        "eventName": "s3:ObjectCreated:Put",
        "s3": {"bucket": {"name": "landing-zone"}, "object": thing},
        **changes,
    }


def only(document: Any) -> ObjectEvent | UnreadableEvent:
    (event,) = read_notification(json.dumps(document))
    return event


def test_minios_envelope_and_plain_records_mean_the_same() -> None:
    plain = {"Records": [record()]}
    minio = {"EventName": "s3:ObjectCreated:Put", "Key": "landing-zone/manifests/a.json", **plain}
    event = only(plain)
    assert only(minio) == event
    assert isinstance(event, ObjectEvent)
    assert (event.bucket, event.keys[0], event.etag, event.sequencer) == (
        "landing-zone",
        "manifests/a.json",
        "e1",
        "17C4",
    )
    assert event.creates


# As Ceph 16 sends it: no prefix, an empty version, the key as it is.
CEPH = """{"Records":[{"eventVersion":"2.2","eventSource":"ceph:s3","eventTime":"2026-11-23T06:06:05.537889Z",
"eventName":"ObjectCreated:Put","userIdentity":{"principalId":"t"},"requestParameters":{"sourceIPAddress":""},
"s3":{"s3SchemaVersion":"1.0","configurationId":"n","bucket":{"name":"landing-zone","ownerIdentity":{"principalId":"t"},
"arn":"arn:aws:s3:::landing-zone"},"object":{"key":"manifests/a b+c %25 ü.json","size":2,
"eTag":"99914b932bd37a50b983c5e7c90ae93b","versionId":"","sequencer":"CDD7036B35CE2420","metadata":[],"tags":[]}},
"eventId":"1795413965.539282.99914b932bd37a50b983c5e7c90ae93b","opaqueData":""}]}"""


def test_an_event_of_ceph() -> None:
    (event,) = read_notification(CEPH)
    assert isinstance(event, ObjectEvent)
    assert (event.name, event.creates, event.sequencer) == ("ObjectCreated:Put", True, "CDD7036B35CE2420")
    assert event.keys == ("manifests/a b c % ü.json", "manifests/a b+c %25 ü.json")


def test_the_envelope_alone_is_an_event_whose_key_is_not_escaped() -> None:
    event = only({"EventName": "s3:ObjectCreated:Put", "Key": "landing-zone/manifests/100%25+a b.json"})
    assert event == ObjectEvent("s3:ObjectCreated:Put", "landing-zone", ("manifests/100%25+a b.json",))


@pytest.mark.parametrize(
    ("sent", "keys"),
    [
        ("manifests/a.json", ("manifests/a.json",)),
        ("manifests%2Fa.json", ("manifests/a.json", "manifests%2Fa.json")),
        ("manifests/a+b.json", ("manifests/a b.json", "manifests/a+b.json")),
        ("manifests/a%2Bb.json", ("manifests/a+b.json", "manifests/a%2Bb.json")),
        ("manifests/Stra%C3%9Fe+%25.json", ("manifests/Straße %.json", "manifests/Stra%C3%9Fe+%25.json")),
        ("manifests/Straße 1.json", ("manifests/Straße 1.json",)),
    ],
)
def test_keys_of_records_are_taken_both_ways(sent: str, keys: tuple[str, ...]) -> None:
    event = only({"Records": [record(sent)]})
    assert isinstance(event, ObjectEvent)
    assert event.keys == keys


@pytest.mark.parametrize(
    ("name", "creates"),
    [
        *((f"{prefix}ObjectCreated:{way}", True) for prefix in ("s3:", "") for way in
          ("Put", "Post", "Copy", "CompleteMultipartUpload")),
        *((name, False) for name in
          ("s3:ObjectCreated:PutTagging", "s3:ObjectCreated:PutRetention", "s3:ObjectCreated:PutLegalHold",
           "s3:ObjectCreated:DeleteTagging", "s3:ObjectRemoved:Delete", "s3:ObjectAccessed:Get", "ObjectCreated:*",
           "s3:s3:ObjectCreated:Put", "objectcreated:put")),
    ],
)  # fmt: skip
def test_only_new_content_counts(name: str, creates: bool) -> None:
    event = only({"Records": [record(eventName=name)]})
    assert isinstance(event, ObjectEvent)
    assert event.creates is creates


def test_the_test_event_of_s3() -> None:
    event = only({"Service": "Amazon S3", "Event": "s3:TestEvent", "Bucket": "landing-zone", "RequestId": "1"})
    assert isinstance(event, ObjectEvent)
    assert event.is_test
    assert not event.creates


@pytest.mark.parametrize(
    ("document", "detail"),
    [
        (None, "not a JSON object"),
        ([], "not a JSON object"),
        ({}, "neither Records nor"),
        ({"Records": []}, "neither Records nor"),
        ({"Records": {}}, "neither Records nor"),
        ({"Records": [1]}, "Records[0] has no eventName"),
        ({"Records": [{"eventName": "s3:ObjectCreated:Put"}]}, "no s3.bucket.name"),
        ({"Records": [record(s3=[])]}, "no s3.bucket.name"),
        ({"Records": [record(object={"key": ""})]}, "no s3.object.key"),
        ({"Records": [record(object={"key": {"a": 1}})]}, "no s3.object.key"),
        ({"EventName": 1, "Key": "landing-zone/a"}, "neither Records nor"),
        ({"EventName": "s3:ObjectCreated:Put", "Key": "landing-zone"}, "neither Records nor"),
    ],
)
def test_what_is_no_event_is_said(document: Any, detail: str) -> None:
    event = only(document)
    assert isinstance(event, UnreadableEvent)
    assert detail in event.detail


@pytest.mark.parametrize("body", ["", "{", "\ufffd", "[" * 100_000, '{"a":' * 50_000, "1" * 10_000])
def test_what_is_no_json_is_said(body: str) -> None:
    (event,) = read_notification(body)
    assert isinstance(event, UnreadableEvent)


def test_good_records_beside_bad_ones_are_read() -> None:
    events = read_notification(json.dumps({"Records": [1, record(), {}, record()]}))
    assert [type(event) for event in events] == [UnreadableEvent, ObjectEvent, UnreadableEvent]


def test_a_repeat_has_the_same_id_and_everything_else_another() -> None:
    def id_of(*records: Any, digest: str = "d") -> str:
        return delivery_id_of(read_notification(json.dumps({"Records": records})), digest)

    base = id_of(record())
    assert id_of(record(eventTime="later", responseElements={"x": 1}), digest="other") == base
    assert id_of(record(), record("b")) == id_of(record("b"), record()), "the order of records says nothing"
    others = [
        record("manifests%2Fb.json"), record(object={"sequencer": "17C5"}), record(object={"eTag": "e2"}),
        record(object={"versionId": "v"}), record(eventName="s3:ObjectCreated:Copy"),
    ]  # fmt: skip
    assert len({base, *map(id_of, others)}) == len(others) + 1
    # Nothing says which content it is about: only the same bytes are the same delivery.
    vague = record(object={"sequencer": None})
    assert id_of(vague, digest="a") != id_of(vague, digest="b")
    assert id_of(vague, digest="a") == id_of(vague, digest="a")


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
shapes = st.fixed_dictionaries(
    {},
    optional={
        "EventName": json_values,
        "Key": json_values,
        "Event": json_values,
        "Records": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "eventName": json_values,
                    "s3": st.fixed_dictionaries(
                        {},
                        optional={
                            "bucket": st.fixed_dictionaries({}, optional={"name": json_values}) | json_values,
                            "object": st.fixed_dictionaries({}, optional={"key": json_values, "eTag": json_values}),
                        },
                    )
                    | json_values,
                },
            )
            | json_values,
            max_size=3,
        )
        | json_values,
    },
)


@settings(max_examples=300, deadline=None)
@given(st.text() | (shapes | json_values).map(json.dumps))
def test_nothing_that_is_sent_is_an_error(body: str) -> None:
    events = read_notification(body)
    assert events
    assert len(delivery_id_of(events, "d")) == 32
    for event in events:
        if isinstance(event, ObjectEvent):
            for text in (event.name, event.bucket, *event.keys, event.etag, event.version, event.sequencer):
                text.encode()
                assert "\0" not in text


def test_of_many_records_some_are_looked_at_and_the_rest_is_said() -> None:
    """What becomes of each is kept in one document, which has a limit of its own."""
    events = read_notification(json.dumps({"Records": [{}] * 200_000}))
    assert len(events) == 10_001
    assert events[-1] == UnreadableEvent("Of 200000 records only the first 10000 were processed.")
