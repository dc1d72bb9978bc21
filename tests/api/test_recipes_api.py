"""A recipe over the REST interface: kept whole on the manifest, foretold by the plan, recorded on the version."""

from __future__ import annotations

from app.models.recipes.vector import VectorRecipe
from tests.service import POINTS, Service, manifest

STEPS = [
    "reproject to EPSG:3857 (x,y)",
    "repair invalid geometries (linework)",
    "make single geometries multi geometries",
]


def test_a_recipe_from_the_manifest_to_the_version(service: Service) -> None:
    service.put("recipes/points.geojson", POINTS)
    document = manifest("recipe-1", ("recipes/points.geojson", "GeoJSON"), tags={"dataset_id": "recipe-points"})
    document["recipe"] = {"crs": "EPSG:3857", "multi": "promote"}
    whole = VectorRecipe(crs="EPSG:3857", multi="promote").model_dump(mode="json")
    assert service.http.post("/manifests/plan", json=document).json()["steps"] == STEPS
    run = service.ingest(document)
    assert run["status"] == "success"
    kept = service.http.get("/manifests/recipe-1").json()["manifest"]
    assert kept["recipe"] == whole
    # The manifest as the service shows it is the same one.
    assert service.post(kept).status_code == 200
    assert service.http.post("/manifests/plan", json=kept).json()["would"] == "change nothing"
    version = service.http.get("/assets/recipe-points/v1").json()
    assert (version["crs"], version["metadata"]["recipe"]) == ("EPSG:3857", whole)
    west, south = (version["statistics"]["bounds_4326"][side] for side in ("minx", "miny"))
    box = f"{west - 0.1},{south - 0.1},{west + 0.1},{south + 0.1}"
    found = service.http.get("/assets", params={"bbox": box}).json()["items"]
    assert "recipe-points" in [each["dataset_id"] for each in found]
    lineage = service.http.get("/assets/recipe-points/v1/lineage", params={"format": "openlineage"}).text
    assert "; ".join(STEPS) in lineage


def test_another_recipe_makes_another_version(service: Service) -> None:
    service.put("recipes/points.geojson", POINTS)
    for number, crs in enumerate(("source", "EPSG:4326", "EPSG:3857"), 1):
        document = manifest(
            f"recipe-other-{number}", ("recipes/points.geojson", "GeoJSON"), tags={"dataset_id": "recipe-other"}
        )
        assert service.ingest({**document, "recipe": {"crs": crs}})["status"] == "success"
    assert service.versions("recipe-other") == [3, 2, 1]


def test_a_crs_that_does_not_exist_is_foretold(service: Service) -> None:
    service.put("recipes/points.geojson", POINTS)
    document = {**manifest("recipe-crs", ("recipes/points.geojson", "GeoJSON")), "recipe": {"crs": "EPSG:999999"}}
    planned = service.http.post("/manifests/plan", json=document).json()
    assert (planned["would"], planned["refusals"][0]["reason"]) == ("be refused", "crs_unknown")
    run = service.ingest(document)
    assert (run["status"], run["error"]["code"], run["error"]["detail"]) == (
        "failure", "crs_unknown", planned["refusals"][0]["detail"],
    )  # fmt: skip


def test_a_recipe_with_faults_is_refused_with_all_of_them(service: Service) -> None:
    document = manifest("recipe-wrong", ("recipes/points.geojson", "GeoJSON"))
    document["recipe"] = {"crs": "?", "repair": "x", "simplify": {"tolerance": -1}, "where": "a = = 1"}
    answer = service.post(document)
    assert answer.status_code == 422
    pointers = {fault["pointer"] for fault in answer.json()["errors"]}
    assert pointers == {"/recipe/crs", "/recipe/repair", "/recipe/simplify/tolerance", "/recipe/where"}
