"""What a kind of file is to the campaign: how it is written, and who reads it besides the service."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
from shapely.geometry.base import BaseGeometry

from differential.shapes import ShapeKind
from differential.values import Column, Limits

Shapes = Sequence[BaseGeometry | None]


class Unreadable(Exception):
    """A reader cannot read such a file, for a known reason: its text."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a reader makes of a file.

    Attributes:
        columns: {name: values in the order of the rows}, without the geometry.
        shapes: the geometries in the order of the rows; None for a table.
        is_text: the reader finds no types.
    """

    columns: Mapping[str, Sequence[Any]]
    shapes: Shapes | None = None
    is_text: bool = False


@dataclass(frozen=True, slots=True)
class Written:
    """A file, and what is in it.

    Attributes:
        path: of the file.
        holds: its content, as its format can say it.
        options: files[].options of the manifest.
        as_text: the file has nothing but texts, of which the service finds the types.
        any_order: the columns have no order.
        adds: columns that the format has by itself.
        places: decimals of coordinates that the format keeps; None for all.
        about: how it was written, for whoever looks at a difference.
    """

    path: Path
    holds: Found
    options: Mapping[str, Any] = field(default_factory=dict)
    as_text: bool = False
    any_order: bool = False
    adds: frozenset[str] = frozenset()
    places: int | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FileKind:
    """One row of the campaign.

    Attributes:
        format: as the manifest names it.
        limits: of the values.
        write: makes the file in a folder.
        readers: {name: reads the file}: none of them is this service.
        shapes: the kinds of geometries; empty for a table.
        heights: geometries may have a Z.
        missing: rows may have no geometry.
    """

    format: str
    limits: Limits
    write: Callable[[random.Random, Sequence[Column], Shapes | None, Path], Written]
    readers: Mapping[str, Callable[[Written], Found]]
    shapes: tuple[ShapeKind, ...] = ()
    heights: bool = True
    missing: bool = True


def as_written(columns: Sequence[Column], shapes: Shapes | None = None) -> Found:
    return Found({column.name: column.values for column in columns}, shapes)


_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time to the nanosecond since 1970; is_utc: of the world, not of some clock on a wall."""

    nanoseconds: int
    is_utc: bool


def values_of(column: pa.ChunkedArray) -> list[Any]:
    """The values of an Arrow column, moments to the nanosecond."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return values_of(column.cast(kind.value_type))
    if pa.types.is_timestamp(kind):
        factor, is_utc = 10**9 // _PER_SECOND[kind.unit], kind.tz is not None
        return [None if v is None else Moment(v * factor, is_utc) for v in column.cast(pa.int64()).to_pylist()]
    found: list[Any] = column.to_pylist()
    return found
