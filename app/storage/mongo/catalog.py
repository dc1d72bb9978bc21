"""The filters of the catalogue as a MongoDB query over the field `search` of a version."""

from __future__ import annotations

from typing import Any

from app.ledger import AssetFilter
from app.models.asset import Bounds
from app.storage.mongo.documents import Document, milliseconds
from app.storage.shared.deletion_rules import LIVING
from app.storage.shared.ledger_rules import plain_text
from app.storage.shared.search_terms import wanted_terms


def asset_query(where: AssetFilter) -> Document:
    """Return the query of a filter. With `latest_only` it may find a few older versions too: see `newest`."""
    equal = {"dataset_id": where.dataset_id, "run_id": where.run_id, "kind": where.kind}
    query: Document = {name: plain_text(value) for name, value in equal.items() if value is not None}
    if not where.deleted:
        query["state"] = LIVING
    if where.latest_only:
        query["is_newest"] = True
    if where.testing is not None:
        query["search.testing"] = where.testing
    if where.since is not None:
        query["sort_at"] = {"$gte": milliseconds(where.since)}
    terms: list[Document] = [{"search.terms": _one_of(readings)} for readings in wanted_terms(where)]
    if where.bbox is not None:
        terms += _overlaps(where.bbox)
    return query | ({"$and": terms} if terms else {})


def _one_of(readings: tuple[str, ...]) -> Any:
    return readings[0] if len(readings) == 1 else {"$in": list(readings)}


def _overlaps(wanted: Bounds) -> list[Document]:
    """A version without a box has nulls there, which no comparison with a number finds."""
    terms: list[Document] = [_at_most("box_south", wanted.maxy), _at_least("box_north", wanted.miny)]
    sides = [_at_most("box_west", wanted.maxx), _at_least("box_east", wanted.minx)]
    if wanted.minx > wanted.maxx:
        return [*terms, {"$or": sides}]
    beside_the_gap = {"$or": [_at_least("gap_west", wanted.minx), _at_most("gap_east", wanted.maxx)]}
    return [*terms, *sides, beside_the_gap]


def _at_least(field: str, value: float) -> Document:
    return {f"search.{field}": {"$gte": value}}


def _at_most(field: str, value: float) -> Document:
    return {f"search.{field}": {"$lte": value}}
