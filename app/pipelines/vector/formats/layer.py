"""One layer of a file, as GDAL has described it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from app.models.runs.run import RunWarning

RowNumbers = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class OpenOptions:
    """How a format's layers are opened; the defaults suit most formats.

    Attributes:
        options: open options of the GDAL driver.
        config: configuration options of GDAL.
        generated_keys: names (lower case) of key columns that the driver or the format fills; they are not data.
        times_in_utc: the format defines its timestamps as UTC, so they need not be read as text to find their zones.
        times_proven: the module of the format compares its times with the file itself.
        bound_by_rows: the batches are bounded by a number of rows, where GDAL's bound in bytes does not work.
        bytes_beside: of the files beside the source that have a part of its rows.
        check_layer: called with the name of the chosen layer before GDAL reads anything of it.
    """

    options: Mapping[str, str] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    generated_keys: tuple[str, ...] = ("", "fid", "ogc_fid")
    times_in_utc: bool = False
    times_proven: bool = False
    bound_by_rows: bool = False
    bytes_beside: int = 0
    check_layer: Callable[[str], None] | None = None


DEFAULTS = OpenOptions()


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer, opened once and described.

    Attributes:
        fid: name of the key column where it is data, read as the first attribute.
        fid_column, geometry_name: the columns' names as GDAL gives them, maybe empty.
        times: types of the timestamp columns that are read as text.
        counted: what reading had to change, filled while reading.
        records: numbers of the rows among the file's records, where some records are deleted.
        correct: makes the real attributes of some rows from those of GDAL; takes (attributes, first row).
        check_nulls: proves that the rows without a geometry, given by number, have none in the file.
    """

    path: Path
    drivers: tuple[str, ...]
    driver: str
    name: str
    how: OpenOptions
    crs: str | None
    geometry_type: str
    rows: int | None
    fields: pa.Schema
    fid: str | None
    fid_column: str
    geometry_name: str
    times: dict[str, pa.DataType]
    warnings: tuple[RunWarning, ...]
    counted: Counter[str] = field(default_factory=Counter)
    records: RowNumbers | None = None
    correct: Callable[[tuple[pa.Array, ...], int], tuple[pa.Array, ...]] | None = None
    check_nulls: Callable[[RowNumbers], None] | None = None


def is_geometry(column: pa.Field) -> bool:
    return (column.metadata or {}).get(b"ARROW:extension:name") == b"geoarrow.wkb"


def reported(err: BaseException, path: Path) -> str:
    """GDAL's message without paths of this host."""
    text = " ".join(str(err).split()).replace(str(path), path.name).partition("; It might help")[0]
    return text if text.endswith(".") else text + "."
