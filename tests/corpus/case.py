"""What a case of the corpus is: a file, how a manifest names it, and the one outcome that it must have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np

Values = tuple[str, Sequence[Any]]


@dataclass(frozen=True)
class Refused:
    """No version; the run says this code, names the file and what to do."""

    code: str


@dataclass(frozen=True)
class Table:
    """columns: {name: (Arrow type, values in row order)}, in their order. warns: every warning's code, no other.

    aside: (line, reason) of each row in quarantine.
    """

    columns: Mapping[str, Values]
    warns: frozenset[str] = frozenset()
    aside: tuple[tuple[int, str], ...] = ()


@dataclass(frozen=True)
class Features(Table):
    """geometry: WKT of every row in EPSG:4326, null where a row has none; None: the case is about attributes.

    is_partial: there are columns besides, which GDAL gives every layer of the format. slack: degrees that the format
    or the reprojection loses. counts: some of those that the run reports, besides rows_in and rows_out.
    """

    geometry: Sequence[str | None] | None = None
    is_partial: bool = False
    slack: float = 1e-9
    counts: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Grid:
    """pixels: (bands, rows, columns). valid: which of them count, of the same shape. says: {attribute of the opened
    dataset: value}."""

    pixels: Any
    valid: Any = True
    nodata: float | None = None
    says: Mapping[str, Any] = field(default_factory=dict)
    warns: frozenset[str] = frozenset()

    @property
    def counted(self) -> int:
        return int(np.broadcast_to(self.valid, self.pixels.shape)[0].sum())


Wanted = Refused | Table | Features | Grid


@dataclass(frozen=True)
class Case:
    """put: writes the files into the landing zone and gives the key. more: further fields of the manifest's entry."""

    name: str
    type: Literal["vector", "raster", "tabular"]
    format: str
    put: Callable[[Path], str]
    wanted: Wanted
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        return f"{self.format}: {self.name}"


def bytes_as(name: str, content: bytes | str) -> Callable[[Path], str]:
    def put(landing: Path) -> str:
        (landing / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return name

    return put


def text(*values: str | None) -> Values:
    return "string", values


def whole(*values: int | None) -> Values:
    return "int64", values


def real(*values: float | None) -> Values:
    return "double", values


def flag(*values: bool | None) -> Values:
    return "bool", values
