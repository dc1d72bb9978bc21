"""What intents mean: the operator's file of recipes, the manifest's own recipe, and what becomes of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from app.errors import InvalidManifest
from app.models.base import utcnow
from app.models.intents import INTENTS, LANES
from app.models.manifests.faults import invalid_manifest
from app.models.manifests.manifest import Manifest, ManifestRecord
from app.models.recipes.steps import Simplify
from app.models.recipes.table import SHIPPED, RecipeTable
from app.models.recipes.vector import SimplifyChoice, VectorRecipe
from app.pipelines.job.intent_warnings import intent_warnings
from app.services.intake.submit import check_available, is_same
from app.settings import Settings
from tests.unit.test_manifest import GOOD

DESCRIBED = Path(__file__).parents[2] / "samples/recipes/described-platform.toml"


def manifest(intent: str = "ingest_vector", **more: Any) -> Manifest:
    file = {"path": "s3://landing-zone/a.gpkg", "type": "vector", "format": "GPKG"}
    return Manifest.model_validate({**GOOD, "intent": intent, "files": [file], **more})


def faults(document: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """{pointer: (code, fix)} of a manifest that is refused."""
    with pytest.raises(ValidationError) as caught:
        Manifest.model_validate(document)
    return {fault.pointer: (fault.code, fault.fix) for fault in invalid_manifest(caught.value.errors()).faults}


def test_no_shipped_intent_simplifies() -> None:
    for name in (*(intent.name for intent in INTENTS), "ingest_trees"):
        recipe = SHIPPED.of(name)
        assert recipe == VectorRecipe()
        assert recipe.steps(name).describe() == ["reproject to EPSG:4326 (x,y)", "repair invalid geometries (linework)"]


def test_the_described_platform_is_a_file() -> None:
    table = RecipeTable.read(DESCRIBED)
    wanted = {"ingest_vector": 1e-4, "ingest_building_footprints": 1e-3, "ingest_road_network": 1e-4, "ingest_x": 1e-4}
    for name, tolerance in wanted.items():
        assert table.of(name).steps(name).steps[-1] == Simplify(tolerance)
    assert table.names == SHIPPED.names


def test_an_operator_adds_an_intent(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text('[intents.ingest_parcels]\ncrs = "EPSG:25832"\nrepair = "structure"\nmulti = "promote"\n')
    table = Settings(recipes_file=file, data_dir=tmp_path).recipes
    resolved = table.resolve(manifest("ingest_parcels"))
    assert resolved.recipe == VectorRecipe(crs="EPSG:25832", repair="structure", multi="promote")
    assert intent_warnings(resolved, table) == []
    assert [each.code for each in intent_warnings(resolved, SHIPPED)] == ["intent_unknown"]
    assert "ingest_parcels" in intent_warnings(manifest("ingest_parcel"), table)[0].message
    assert table.of("ingest_vector") == VectorRecipe()
    raster = {"path": "s3://landing-zone/a.tif", "type": "raster", "format": "GTiff"}
    with pytest.raises(InvalidManifest) as caught:
        check_available(manifest("ingest_parcels", files=[raster]), frozenset(LANES), table)
    assert [fault.pointer for fault in caught.value.faults] == ["/files/0/type"]
    check_available(manifest("ingest_parcels", files=[raster]), frozenset(LANES), SHIPPED)


WRONG = """
colour = "red"
[intents.ingest_vector]
crs = "the usual one"
repair = "of"
simplfy = {}
columns = { selekt = ["a"], drop = ["a", "a"] }
[intents.ingest_road_network]
simplify = { tolerance = 0, unit = "miles", units = "m" }
[intents.ingest_raster]
[intents.make_map]
"""


def test_all_faults_of_the_file_are_told_at_the_start(tmp_path: Path) -> None:
    file = tmp_path / "r.toml"
    file.write_text(WRONG)
    with pytest.raises(ValidationError) as caught:
        Settings(recipes_file=file)
    (error,) = caught.value.errors()
    assert error["loc"] == ("recipes_file",)
    lines = str(error["ctx"]["error"]).splitlines()
    assert lines[0] == f"{file} has 11 fault(s):"
    for line, begin, end in zip(
        lines[1:],
        (
            "/colour: ",
            "/intents/ingest_vector/crs: 'the usual one' does not name a CRS.",
            "/intents/ingest_vector/repair: ",
            "/intents/ingest_vector/columns/drop: Listed more than once: 'a'.",
            "/intents/ingest_vector/columns/selekt: unknown field.",
            "/intents/ingest_vector/simplfy: unknown field.",
            "/intents/ingest_road_network/simplify/tolerance: ",
            "/intents/ingest_road_network/simplify/unit: ",
            "/intents/ingest_road_network/simplify/units: unknown field.",
            "/intents/ingest_raster: ingest_raster takes no vector files",
            "/intents/make_map: 'make_map' is no name of an intent.",
        ),
        (
            "]",
            "files.",
            "'off'",
            "once.",
            "'select'?",
            "'simplify'?",
            "greater than 0.",
            "'crs'",
            "'unit'?",
            "table.",
            "_.",
        ),
        strict=True,
    ):
        assert line.startswith(begin), line
        assert end in line, line


@pytest.mark.parametrize("content", ["[intents", b"\xff\xfe", "x = 1\n" * 300_000, None, "intents = 3"])
def test_a_file_that_is_none_is_told(tmp_path: Path, content: str | bytes | None) -> None:
    file = tmp_path / "r.toml"
    if content is not None:
        file.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ValueError, match=str(file)):
        RecipeTable.read(file)


def test_a_manifest_changes_what_it_names() -> None:
    table = RecipeTable.read(DESCRIBED)
    whole = table.resolve(manifest(recipe={"crs": "source"})).recipe
    assert whole == VectorRecipe(crs="source", simplify=SimplifyChoice(tolerance=1e-4, unit="crs"))
    off = table.resolve(manifest(recipe={"simplify": None})).recipe
    assert off == VectorRecipe()
    # What is stored is whole: it means the same under another file.
    stored = table.resolve(manifest(recipe={"crs": "source"})).model_dump(mode="json")
    again = SHIPPED.resolve(Manifest.from_ledger(stored))
    assert again.recipe == whole
    assert again.model_dump(mode="json") == stored


def test_what_an_earlier_release_stored_is_the_same_manifest() -> None:
    """It knew fewer fields of a recipe. Posted again as it is shown now, it is no other manifest."""
    shown = SHIPPED.resolve(manifest(recipe={"crs": "source"}))
    stored = shown.model_dump(mode="json")
    stored["recipe"] = {name: stored["recipe"][name] for name in ("crs", "repair", "simplify", "dimensions", "multi")}
    record = ManifestRecord(batch_id="b", manifest=stored, content_hash="sha256:0", ingested_at=utcnow())
    assert is_same(record, shown, SHIPPED)
    assert not is_same(record, manifest(recipe={"crs": "EPSG:25832"}), SHIPPED)
    assert not is_same(record.model_copy(update={"manifest": {}}), shown, SHIPPED)


def test_the_hash_of_a_manifest_is_that_of_what_was_sent() -> None:
    plain, off = manifest(), manifest(recipe={"simplify": None})
    assert plain.content_hash != off.content_hash
    assert off.content_hash != manifest(recipe={"crs": "EPSG:4326"}).content_hash
    assert off.content_hash == manifest(recipe={"simplify": None}).content_hash
    assert manifest(recipe=None).content_hash == plain.content_hash


def test_all_faults_of_a_recipe_are_told_at_once() -> None:
    recipe = {
        "crs": "4326 please",
        "repair": "on",
        "simplify": {"tolerance": "1", "unit": "feet", "tolerence": 3},
        "dimensions": "3d",
        "multi": True,
        "crss": "source",
    }
    found = faults({**manifest().model_dump(mode="json"), "recipe": recipe})
    assert {pointer: code for pointer, (code, _) in found.items()} == {
        "/recipe/crs": "crs_invalid",
        "/recipe/repair": "literal_error",
        "/recipe/simplify/tolerance": "float_type",
        "/recipe/simplify/unit": "literal_error",
        "/recipe/simplify/tolerence": "field_unknown",
        "/recipe/dimensions": "literal_error",
        "/recipe/multi": "literal_error",
        "/recipe/crss": "field_unknown",
    }
    assert found["/recipe/crss"][1] == "Did you mean 'crs'?"
    assert found["/recipe/simplify/tolerence"][1] == "Did you mean 'tolerance'?"


@pytest.mark.parametrize(
    ("columns", "wanted"),
    [
        ({"select": ["a"], "drop": ["b"]}, {"drop": "only drop"}),
        ({"select": ["a", "b", "a"]}, {"select": "each column once"}),
        ({"drop": ["a"], "rename": {"a": "b"}}, {"rename": "remove them from drop"}),
        ({"select": ["b"], "rename": {"a": "c"}}, {"rename": "add them to select"}),
        ({"rename": {"a": "x", "b": "X"}}, {"rename": "each column another name"}),
        ({"rename": {"a": "GEOM"}}, {"rename": "other names"}),
    ],
)
def test_columns_that_contradict_each_other(columns: dict[str, Any], wanted: dict[str, str]) -> None:
    found = faults({**manifest().model_dump(mode="json"), "recipe": {"columns": columns}})
    assert {pointer: code for pointer, (code, _) in found.items()} == {
        f"/recipe/columns/{name}": "columns_contradict" for name in wanted
    }
    assert all(fix in found[f"/recipe/columns/{name}"][1] for name, fix in wanted.items())


def test_names_of_columns_are_texts() -> None:
    columns = {"select": [1], "rename": {"a": ""}, "selekt": []}
    found = faults({**manifest().model_dump(mode="json"), "recipe": {"columns": columns}})
    assert {pointer: code for pointer, (code, _) in found.items()} == {
        "/recipe/columns/select/0": "string_type",
        "/recipe/columns/rename/a": "string_too_short",
        "/recipe/columns/selekt": "field_unknown",
    }
    assert found["/recipe/columns/selekt"][1] == "Did you mean 'select'?"


def test_a_table_of_columns_and_its_steps() -> None:
    resolved = SHIPPED.resolve(manifest(recipe={"columns": {"drop": ["a"], "rename": {"b": "c"}}}))
    assert resolved.recipe is not None
    assert resolved.recipe.steps("x").describe()[0] == "leave out the columns 'a'; rename 'b' to 'c'"
    stored = resolved.model_dump(mode="json")
    assert stored["recipe"]["columns"] == {"select": None, "drop": ["a"], "rename": {"b": "c"}}
    assert Manifest.from_ledger(stored) == resolved


@pytest.mark.parametrize(
    ("intent", "kind", "fmt"),
    [("ingest_raster", "raster", "GTiff"), ("ingest_x", "raster", "COG"), ("ingest_tabular", "tabular", "CSV")],
)
def test_recipes_are_for_vector_files(intent: str, kind: str, fmt: str) -> None:
    file = {"path": "s3://landing-zone/a.x", "type": kind, "format": fmt}
    document = {**GOOD, "intent": intent, "files": [file]}
    assert faults({**document, "recipe": {}})["/recipe"][0] == "recipe_not_allowed"
    assert SHIPPED.resolve(Manifest.model_validate(document)).recipe is None


@pytest.mark.parametrize("crs", ["EPSG:25832", "ESRI:54009", "OGC:CRS84", "source", " Source ", 'GEOGCS["WGS 84"]',
                                 "+proj=utm +zone=32", '{"type": "ProjectedCRS"}', "IAU_2015:30100"])  # fmt: skip
def test_spellings_of_a_crs(crs: str) -> None:
    assert VectorRecipe(crs=crs).crs in (crs, crs.strip().lower())
