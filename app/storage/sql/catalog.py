"""The filters of the catalogue as one SELECT that reads an index in the order of the listing."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, and_, exists, func, literal, or_, select, union_all
from sqlalchemy.sql.elements import KeyedColumnElement

from app.ledger import AssetFilter
from app.models.asset import Bounds
from app.storage.shared.deletion_rules import LIVING
from app.storage.sql.tables import ASSETS, TERMS

Wanted = list[tuple[str, ...]]

# Terms of more versions than this count as equally frequent.
_FREQUENT = 1000


def frequencies(wanted: Wanted) -> Select[Any]:
    """Return a SELECT of (position, versions) for the positions of `wanted`, rarest first.

    versions: how many of the newest versions have one of the terms, counted up to a limit.
    """
    counts = []
    for position, readings in enumerate(wanted):
        newest = select(TERMS.c.version).where(_one_of(TERMS.c.term, readings), TERMS.c.is_newest)
        some = newest.limit(_FREQUENT).subquery()
        counts.append(select(literal(position).label("position"), func.count().label("versions")).select_from(some))
    counted = union_all(*counts).subquery()
    return select(counted.c.position).order_by(counted.c.versions, counted.c.position)


def search(where: AssetFilter, wanted: Wanted) -> tuple[Select[Any], tuple[KeyedColumnElement[Any], ...]]:
    """Return the SELECT of a filter, and the columns by which its listing is sorted.

    Args:
        where: the filter.
        wanted: its terms; begin with those of the fewest versions.
    """
    c = ASSETS.c
    query, leading = select(ASSETS), _leading(where, wanted)
    if leading is not ASSETS:
        query = query.join(leading, _same_version(leading, ASSETS))
    if leading is TERMS:
        query = query.where(_one_of(leading.c.term, wanted[0]))
        wanted = wanted[1:]
    query = query.where(*_others(leading, wanted))
    if where.bbox is not None:
        query = query.where(*_overlaps(where.bbox, ASSETS if leading is TERMS else leading))
    equal = {"dataset_id": where.dataset_id, "run_id": where.run_id, "kind": where.kind, "testing": where.testing}
    query = query.where(*(c[name] == value for name, value in equal.items() if value is not None))
    if not where.deleted:
        query = query.where(c.state == LIVING)
    key = (leading.c.created_at, leading.c.dataset_id, leading.c.version)
    if where.since is not None:
        query = query.where(key[0] >= where.since)
    if where.latest_only:
        query = query.where(leading.c.is_newest)
        if where.deleted:
            # The newest living version has the mark too; see `newest`.
            newer = ASSETS.alias("newer")
            query = query.where(~exists().where(newer.c.dataset_id == c.dataset_id, newer.c.version > c.version))
    return query, key


def _leading(where: AssetFilter, wanted: Wanted) -> FromClause:
    """The table whose index is scanned in the order of the listing; the other conditions are looked up by key.

    The rows of one term are in that order, and so is the index of the boxes. That one gets an alias, because a database
    scans only an index that has all columns used under one alias. Both have the newest versions only, and so a filter
    for all versions, which the catalogue never asks for, reads them in the order of the listing.
    """
    if wanted and where.latest_only:
        return TERMS
    return ASSETS.alias("place") if where.bbox is not None else ASSETS


def _others(leading: FromClause, wanted: Wanted) -> list[ColumnElement[bool]]:
    """Conditions on further terms. As counts: EXISTS becomes joins in PostgreSQL, and planning many takes minutes."""
    other = TERMS.alias("other")
    of_it = select(func.count()).where(_same_version(other, leading))
    single = [readings[0] for readings in wanted if len(readings) == 1]
    terms = [of_it.where(other.c.term.in_(single)).scalar_subquery() == len(single)] if single else []
    several = [readings for readings in wanted if len(readings) != 1]
    return terms + [of_it.where(other.c.term.in_(readings)).scalar_subquery() >= 1 for readings in several]


def _same_version(one: FromClause, other: FromClause) -> ColumnElement[bool]:
    return and_(one.c.dataset_id == other.c.dataset_id, one.c.version == other.c.version)


def _one_of(term: ColumnElement[str], readings: tuple[str, ...]) -> ColumnElement[bool]:
    return term == readings[0] if len(readings) == 1 else term.in_(readings)


def _overlaps(wanted: Bounds, place: FromClause) -> list[ColumnElement[bool]]:
    """A version without a box has nulls there, for which no comparison is true."""
    c = place.c
    terms = [c.box_south <= wanted.maxy, c.box_north >= wanted.miny]
    if wanted.minx > wanted.maxx:
        return [*terms, or_(c.box_west <= wanted.maxx, c.box_east >= wanted.minx)]
    beside_the_gap = or_(c.gap_west >= wanted.minx, c.gap_east <= wanted.maxx)
    return [*terms, c.box_west <= wanted.maxx, c.box_east >= wanted.minx, beside_the_gap]
