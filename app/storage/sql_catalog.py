"""The filters of the catalogue as one SELECT, which an index answers in the order of the listing where it can."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, FromClause, Select, and_, exists, func, literal, or_, select, union_all
from sqlalchemy.sql.elements import KeyedColumnElement

from app.ledger import AssetFilter
from app.models.asset import Bounds
from app.storage.deletion_rules import LIVING
from app.storage.sql_tables import ASSETS, TERMS

Wanted = list[tuple[str, ...]]

# Terms that more versions have than this count as equally frequent.
_FREQUENT = 1000


def frequencies(wanted: Wanted) -> Select[Any]:
    """For each position of `wanted`, how many versions have one of its terms, up to a limit; rarest first."""
    counts = []
    for position, readings in enumerate(wanted):
        some = select(TERMS.c.version).where(_one_of(TERMS.c.term, readings)).limit(_FREQUENT).subquery()
        counts.append(select(literal(position).label("position"), func.count().label("versions")).select_from(some))
    all_of_them = union_all(*counts).subquery()
    return select(all_of_them.c.position).order_by(all_of_them.c.versions, all_of_them.c.position)


def search(where: AssetFilter, wanted: Wanted) -> tuple[Select[Any], tuple[KeyedColumnElement[Any], ...]]:
    """The SELECT of what fits, and the columns that its listing goes by.

    wanted: the terms of `where`, beginning with those that the fewest versions have.
    """
    c = ASSETS.c
    query, leading = select(ASSETS), _leading(where, wanted)
    if leading is not ASSETS:
        query = query.join(leading, _same_version(leading, ASSETS))
    if wanted:
        query = query.where(_one_of(leading.c.term, wanted[0]))
    query = query.where(*_others(leading, wanted[1:]))
    if where.bbox is not None:
        query = query.where(*_overlaps(where.bbox, ASSETS if wanted else leading))
    equal = {"dataset_id": where.dataset_id, "run_id": where.run_id, "kind": where.kind, "testing": where.testing}
    query = query.where(*(c[name] == value for name, value in equal.items() if value is not None))
    if not where.deleted:
        query = query.where(c.state == LIVING)
    key = (leading.c.created_at, leading.c.dataset_id, leading.c.version)
    if where.since is not None:
        query = query.where(key[0] >= where.since)
    if where.latest_only:
        newer = ASSETS.alias("newer")
        counts = [] if where.deleted else [newer.c.state == LIVING]
        query = query.where(~exists().where(newer.c.dataset_id == c.dataset_id, newer.c.version > c.version, *counts))
    return query, key


def _leading(where: AssetFilter, wanted: Wanted) -> FromClause:
    """What is walked, in the order of the listing; all else is looked up.

    The rows of one term are in that order, and so are the boxes in their index: under a name of its own, because a
    database only keeps to an index that has all columns of that name.
    """
    if wanted:
        return TERMS
    return ASSETS.alias("place") if where.bbox is not None else ASSETS


def _others(leading: FromClause, wanted: Wanted) -> list[ColumnElement[bool]]:
    """Counted, not EXISTS: that PostgreSQL turns into joins, of which it tries every order, for minutes when many."""
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
    """A version without a box has nulls there, and nothing is true of these."""
    c = place.c
    terms = [c.box_south <= wanted.maxy, c.box_north >= wanted.miny]
    if wanted.minx > wanted.maxx:
        return [*terms, or_(c.box_west <= wanted.maxx, c.box_east >= wanted.minx)]
    beside_the_gap = or_(c.gap_west >= wanted.minx, c.gap_east <= wanted.maxx)
    return [*terms, c.box_west <= wanted.maxx, c.box_east >= wanted.minx, beside_the_gap]
