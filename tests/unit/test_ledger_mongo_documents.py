"""Every field of every domain model survives its way through its document, and every document fits its validator."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson.codec_options import CodecOptions
from jsonschema import Draft4Validator, ValidationError, validators
from pydantic import BaseModel

from app.models.runs.run import Lease, Run
from app.storage.mongo import documents, migrate
from app.storage.mongo.migrate import known_versions, load_script
from tests.unit.test_ledger_tables import ACTIVITY, API_KEY, ASSET, DELIVERY, EVENT, MANIFEST, ODD, RUN, T0

UTC_TIMES: CodecOptions[dict[str, Any]] = CodecOptions(tz_aware=True, tzinfo=UTC)
CASES: list[tuple[str, Any, Callable[[Any], dict[str, Any]], Callable[[Any], Any]]] = [
    ("manifests", MANIFEST, lambda record: documents.manifest_document(record, RUN), documents.manifest_from),
    ("runs", RUN, documents.run_document, documents.run_from),
    ("run_events", EVENT, documents.event_document, documents.event_from),
    ("assets", ASSET, documents.asset_document, documents.asset_from),
    ("activity_logs", ACTIVITY, lambda entry: documents.activity_document(entry, 2**40), documents.activity_from),
    ("webhook_deliveries", DELIVERY, documents.delivery_document, documents.delivery_from),
    ("api_keys", API_KEY, documents.api_key_document, documents.api_key_from),
]
IDS = [case[0] for case in CASES]
BSON_TYPES = {"string": str, "date": datetime, "bool": bool, "object": dict, "array": list, "null": type(None)}


def stored(document: Mapping[str, Any]) -> dict[str, Any]:
    """The document as a server gives it back."""
    return bson.decode(bson.encode(document), UTC_TIMES)


def _is_bson(value: Any, name: str) -> bool:
    if name in ("int", "long"):
        # PyMongo takes the shorter type that fits.
        return isinstance(value, int) and not isinstance(value, bool) and (-(2**31) <= value < 2**31) == (name == "int")
    if name == "double":
        return isinstance(value, float)
    return isinstance(value, BSON_TYPES[name])


def _bson_type(_validator: Any, wanted: Any, value: Any, _schema: Any) -> Any:
    names = wanted if isinstance(wanted, list) else [wanted]
    if not any(_is_bson(value, name) for name in names):
        yield ValidationError(f"{value!r} is not {wanted}")


# MongoDB's validators are JSON Schema draft 4, with `bsonType` instead of `type`.
Bson = validators.extend(Draft4Validator, {"bsonType": _bson_type})
KEYWORDS = {"bsonType", "required", "properties", "items", "enum", "minimum"}


def scripts() -> list[Any]:
    return [load_script(version) for version in known_versions()]


def validator(collection: str) -> Any:
    return Bson(migrate.validators()[collection])


@pytest.mark.parametrize(("name", "model", "to_document", "from_document"), CASES, ids=IDS)
def test_every_field_comes_back(name: str, model: Any, to_document: Any, from_document: Any) -> None:
    found = from_document(stored(to_document(model)))
    assert found == model
    # `==` of dicts forgets the order, which is the order of columns in a schema.
    assert found.model_dump_json() == model.model_dump_json()


@pytest.mark.parametrize(("name", "model", "to_document", "from_document"), CASES, ids=IDS)
def test_documents_fit_their_validator(name: str, model: BaseModel, to_document: Any, from_document: Any) -> None:
    optional = {
        field: None
        for field, info in type(model).model_fields.items()
        if info.default is None or field in ("crs", "bounds")
    }
    for each in (model, type(model).model_validate(model.model_dump() | optional)):
        document = stored(to_document(each))
        validator(name).validate(document)
        assert from_document(document) == each


@pytest.mark.parametrize(("name", "model", "to_document", "from_document"), CASES, ids=IDS)
def test_a_validator_knows_every_field(name: str, model: Any, to_document: Any, from_document: Any) -> None:
    """A field that is missing, and one of a wrong type, are refused."""
    document = stored(to_document(model))
    for field in document:
        without = {key: value for key, value in document.items() if key != field}
        assert not validator(name).is_valid(without), field
        assert not validator(name).is_valid(document | {field: bson.ObjectId()}), field


def test_rejected_manifests_have_no_run() -> None:
    document = stored(documents.manifest_document(MANIFEST))
    assert document["newest_run"] is None
    validator("manifests").validate(document)


def test_validators_use_what_every_server_understands() -> None:
    def check(schema: Any) -> None:
        assert set(schema) <= KEYWORDS
        for inner in schema.get("properties", {}).values():
            check(inner)
        if "items" in schema:
            check(schema["items"])

    for schema in migrate.validators().values():
        check(schema)


def test_indexes_are_on_fields_that_the_documents_have() -> None:
    made = {name: stored(to_document(model)) for name, model, to_document, _ in CASES}
    made["dataset_versions"] = {"dataset_id": ""}
    made["lanes"] = {"lane": ""}
    marks = {"pending_run", "pending_commit", "mirror_due", "turn_due", "pending_told", "pending_deletion"}
    marks |= {"removing", "untold"}
    tables = [getattr(script, kind, {}) for script in scripts() for kind in ("INDEXES", "UNIQUE", "SPARSE")]
    for table in tables:
        for name, indexes in table.items():
            for fields in indexes:
                assert {field.partition(".")[0] for field in fields} <= made[name].keys() | marks


deep: Any = "bottom"
for _ in range(150):
    deep = {"a": [deep]}


@pytest.mark.parametrize(
    "value",
    [
        {"a": 2**63},
        {"a": [-(2**63) - 1, 1]},
        {"a": "half \ud800"},
        {"nul": "a\0b"},
        {"\ud800": 1},
        {"a\0b": 1},
        {"": 1},
        {"a.b": 1, "$c": {"$d": 2}},
        {"x": {"a.b": 1, "a\uff0eb": 2}},
        deep,
    ],
)
def test_what_bson_would_bend_is_kept_exactly(value: Any) -> None:
    document = stored(documents.encoded({"manifest": value, "other": {"a": 1}}))
    assert list(document["exact"]) == ["manifest"]
    assert documents.decoded(document, {"manifest": None, "other": None}) == {"manifest": value, "other": {"a": 1}}


@pytest.mark.parametrize(
    "value",
    [
        {"a": 2**63 - 1, "b": -(2**63)},
        {ODD: [ODD, None, True, 1.5, -0.0, 1e300, 1e-300, {"deep": {"er": [[]]}}]},
        {"z": 1, "a": 2, "_id": 3},
        {},
    ],
)
def test_what_bson_can_hold_is_a_document_for_anybodys_queries(value: Any) -> None:
    document = stored(documents.encoded({"manifest": value}))
    assert document["exact"] == {}
    assert json.dumps(document["manifest"]) == json.dumps(value)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_not_a_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        documents.encoded({"statistics": {"mean": value}})


def test_text_that_no_database_stores_is_replaced() -> None:
    record = MANIFEST.model_copy(update={"error_message": "a\0b\ud800c🗺"})
    found = documents.manifest_from(stored(documents.manifest_document(record)))
    assert found.error_message == "a\ufffdb\ufffdc🗺"


@pytest.mark.parametrize("name", sorted(set(Run.model_fields) - {"run_id", "batch_id", "revision"}))
def test_a_change_of_a_run_writes_its_fields_only(name: str) -> None:
    other = RUN.model_copy(
        update={"lease": Lease(owner="other", expires_at=T0), "counts": {"a.b": 1}, "step": "export"}
    )
    other = other.model_copy(update={"created_at": T0.replace(year=2020), "warnings": (), "attempt": 9})
    old = documents.run_document(RUN)
    new = documents.changed_run_document(deepcopy(old), other, {name: None})
    before, after = documents.run_from(stored(old)), documents.run_from(stored(new))
    assert after == before.model_copy(update={name: getattr(other, name), "revision": before.revision + 1})


def test_a_value_that_was_exact_once_is_forgotten_when_it_changes() -> None:
    old = documents.run_document(RUN.model_copy(update={"counts": {"a.b": 1}}))
    assert list(old["exact"]) == ["counts", "checks"]
    new = documents.changed_run_document(old, RUN.model_copy(update={"counts": {"c": 2}}), {"counts": None})
    assert documents.run_from(stored(new)).counts == {"c": 2}


def test_an_older_run_does_not_speak_for_its_manifest() -> None:
    document = documents.manifest_document(MANIFEST, RUN)
    newer = RUN.model_copy(update={"revision": RUN.revision + 1})
    later = documents.mirrored_document(document, newer)
    assert later is not None
    for old in (RUN, newer, newer.model_copy(update={"created_at": T0.replace(year=2020), "revision": 99})):
        assert documents.mirrored_document(later, old) is None
    assert documents.mirrored_document(later, RUN.model_copy(update={"run_id": "r2", "revision": 1})) is not None
