"""The table of engines, for tests that run over each of them, and how their geometries may differ."""

from __future__ import annotations

import atexit
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

import numpy as np
import shapely
from pydantic import SecretStr

from app.models.base import new_id
from app.pipelines.contract.engine import VectorEngine
from app.pipelines.vector.engines.local import LocalEngine
from app.pipelines.vector.engines.postgis import SAME_DEGREES, PostgisEngine
from app.pipelines.vector.engines.postgis_access import DirectPostgis
from app.storage.postgis.server import Postgis, RunSchema
from tests.servers.postgres import fresh_database, limited_user

# Modules whose tests run over every engine.
_OVER_ENGINES = (
    "area_of_use column_names columns engine formats points recipe_coverage recipe_rows recipe_untouched recipe_where "
    "recipes surfaces"
)
OVER_ALL_ENGINES = tuple(f"tests.pipelines.test_{name}" for name in _OVER_ENGINES.split())

_opened = ExitStack()
_urls: list[str] = []


def postgis() -> PostgisEngine:
    """The engine in a schema of its own, in a database that all tests of this process share.

    Its user has no more rights than that of docker-compose.yml.
    """
    if not _urls:
        _urls.append(limited_user(_opened.enter_context(fresh_database())))
        atexit.register(_opened.close)
    return PostgisEngine(DirectPostgis(Postgis(SecretStr(_urls[0]), 60), RunSchema(new_id(), 1)))


ENGINES: Mapping[str, Callable[[], VectorEngine]] = {"local": LocalEngine, "postgis": postgis}


def assert_same_geometries(found: Any, wanted: Any, tolerance: float = 0.0) -> None:
    """Equal vertex by vertex, nulls with nulls."""
    found, wanted = np.asarray(found, object), np.asarray(wanted, object)
    assert len(found) == len(wanted)
    missing = shapely.is_missing(wanted)
    assert (shapely.is_missing(found) == missing).all()
    same = shapely.equals_exact(found[~missing], wanted[~missing], tolerance)
    assert same.all(), f"{(~same).sum()} differ, first {found[~missing][~same][0]} != {wanted[~missing][~same][0]}"


def assert_agree(found: Any, wanted: Any, engine: Mapping[str, str], simplified: float, slack: float = 0.0) -> None:
    """Geometries of another engine against those of GEOS in this process, both simplified by `simplified`.

    Equal to the last nanodegree where both have the same minor version of GEOS: other versions simplify otherwise. Then
    the found ones must be of the same type, valid, and as near as two simplifications of one geometry can be. slack:
    what the format itself loses.
    """
    if engine["geos"].startswith("{}.{}.".format(*shapely.geos_version)):
        assert_same_geometries(found, wanted, SAME_DEGREES + slack)
        return
    assert len(found) == len(wanted)
    missing = shapely.is_missing(wanted)
    assert (shapely.is_missing(found) == missing).all()
    found, wanted = found[~missing], wanted[~missing]
    for ask in (shapely.get_type_id, shapely.has_z, shapely.is_empty):
        assert (ask(found) == ask(wanted)).all(), ask.__name__
    assert (shapely.is_valid(found) | ~shapely.is_valid(wanted)).all()
    full = ~shapely.is_empty(wanted)
    away = shapely.hausdorff_distance(found[full], wanted[full])
    assert (away <= 2 * simplified + SAME_DEGREES + slack).all(), f"{away.max()} degrees apart"


def assert_made_of(found: Any, before: Any) -> None:
    """Every vertex of `found` is a vertex of the same row of `before`: simplification invents none."""
    for row, (after, source) in enumerate(zip(found, before, strict=True)):
        if after is None or after.is_empty:
            continue
        vertices = shapely.points(shapely.get_coordinates(after))
        away = shapely.distance(vertices, shapely.MultiPoint(shapely.get_coordinates(source))).max()
        assert away <= SAME_DEGREES, f"row {row} has a vertex {away} degrees from all of its source"
