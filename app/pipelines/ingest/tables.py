"""Tables with coordinates as vector sources: typed in scratch by the tabular pipeline, then read with geometries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import shapely
from pyproj import CRS

from app.messages.vector import GEOMETRY_COLUMN_TWICE, GEOMETRY_COLUMN_TYPE, NO_LAYERS
from app.models.formats import find_format
from app.models.manifests.file_options import GeometryColumns
from app.models.plan import PlannedCrs, PlannedFile
from app.models.runs.run import RunWarning
from app.pipelines.common.areas import ignores_area
from app.pipelines.common.column_names import header_mapping
from app.pipelines.common.column_types import find_column
from app.pipelines.common.crs import crs_name, parse_crs
from app.pipelines.common.parquet_attributes import attribute, attribute_values
from app.pipelines.common.shapes import Coordinates, to_wkb
from app.pipelines.contract.context import FetchedFile, RunContext
from app.pipelines.ingest.axes import AxisCheck
from app.pipelines.ingest.geometry_columns import (
    GeometryColumn,
    NumberColumn,
    decode_wkb,
    decode_wkt,
    is_geometry_type,
    is_number_type,
    is_text_type,
    numbers,
)
from app.pipelines.tabular.convert import check, convert, open_file, options_of_file
from app.pipelines.tabular.headers import clean_headers
from app.pipelines.tabular.notation import PLAIN, Notation, notation_of
from app.pipelines.tabular.plan import planned_columns, planned_file
from app.pipelines.tabular.quarantine import Quarantine
from app.pipelines.tabular.source import OpenedTable, TypedSource
from app.pipelines.tabular.typed_table import ColumnReader, WrittenTable
from app.pipelines.vector.source import Batch, VectorSource, cut
from app.settings import MiB

_BATCH_ROWS = 16_384
_BATCH_BYTES = 16 * MiB


@dataclass(frozen=True, slots=True)
class _Places:
    """Where the coordinates of an opened table are.

    Attributes:
        asked: files[].options.geometry.
        columns: (number, name in the typed table) of x and y, or of the one column of geometries.
        notations: how text of these columns writes numbers.
    """

    asked: GeometryColumns
    columns: tuple[tuple[int, str], ...]
    notations: tuple[Notation, ...]

    @property
    def are_points(self) -> bool:
        return self.asked.x is not None

    def points(self, batch: pa.RecordBatch) -> Coordinates:
        """(n, 2) coordinates of x and y, both NaN where one of them is null."""
        sides = [
            numbers(batch.column(name), notation)[0].to_numpy(zero_copy_only=False)
            for (_, name), notation in zip(self.columns, self.notations, strict=True)
        ]
        found: Coordinates = np.column_stack(sides).astype(np.float64)
        found[np.isnan(found).any(axis=1)] = np.nan
        return found

    def wkb(self, batch: pa.RecordBatch) -> pa.Array:
        """The geometries as WKB, null where a row has none."""
        if not self.are_points:
            return batch.column(self.columns[0][1])
        points = self.points(batch)
        made = np.full(len(points), None, object)
        there = ~np.isnan(points[:, 0])
        made[there] = shapely.points(points[there])
        return to_wkb(made)


@dataclass(frozen=True, slots=True)
class _Typed:
    """A table that was converted in scratch: the opened source, what was written, and where."""

    table: OpenedTable
    written: WrittenTable
    path: Path


@dataclass(slots=True)
class TableFiles:
    """Opens the tables of a manifest. See `SourceFiles`."""

    ctx: RunContext
    _typed: dict[str, _Typed] = field(default_factory=dict)
    not_looked_at: tuple[str, ...] = ("Geometries: which are null, empty or invalid.",)
    reads_rows: bool = True

    @property
    def steps(self) -> tuple[str, ...]:
        """See SourceFiles."""
        found = []
        for file in self.ctx.manifest.files:
            asked = file.options.geometry if file.options is not None else None
            if asked is not None:
                what = "points of the columns" if asked.x is not None else "geometries of the column"
                found.append(f"make {what} {' and '.join(map(repr, asked.columns))} in {asked.crs}")
        return ("read all rows, type each column by all of its values", *dict.fromkeys(found))

    def open(self, fetched: FetchedFile) -> list[VectorSource]:
        """Convert a table in scratch, and describe it as a vector source.

        Raises:
            RunRefused: as the tabular pipeline does for the table; column_unknown, geometry_column_invalid,
                crs_unknown, crs_conflict, layer_unknown, geometry_damaged, axes_swapped, outside_area_of_use.
        """
        declared, file, asked = fetched.declared, fetched.declared.key, _asked(fetched)
        if declared.layer is not None:
            raise NO_LAYERS(file=file, layer=declared.layer)
        crs = parse_crs(asked.crs, file, "declared in files[].options.geometry.crs")
        table = open_file(self.ctx, fetched)
        cleaned = clean_headers(table.names)
        places = _places(fetched, table, cleaned, asked)
        typed = self._convert(fetched, table, cleaned, places, crs)
        self._typed[file] = typed
        found = []
        if places.are_points:
            _check_types(typed.written.schema, places, file)
            found = self._check_axes(typed, places, crs, is_ignored=ignores_area(declared))
        return [_source(fetched, typed, places, crs, tuple(found))]

    def planned(self, fetched: FetchedFile, source: VectorSource) -> PlannedFile:
        """See SourceFiles."""
        typed = self._typed[fetched.declared.key]
        columns = planned_columns(typed.path, fetched, typed.table, typed.written)
        found = planned_file(fetched, typed.table, columns, typed.written.counts)
        crs = PlannedCrs(found=None, declared=_asked(fetched).crs, used=crs_name(source.crs))
        return found.model_copy(update={"crs": crs, "geometry_type": source.geometry_type})

    def _convert(
        self, fetched: FetchedFile, table: OpenedTable, cleaned: list[str], places: _Places, crs: CRS
    ) -> _Typed:
        folder = self.ctx.scratch / f"table{self.ctx.manifest.files.index(fetched.declared)}"
        folder.mkdir()
        path = folder / "typed.parquet"
        readers = {number: _reader(fetched, places, table.names[number], crs) for number, _ in places.columns}
        with Quarantine(folder / "quarantine.parquet") as quarantine:
            written = convert(self.ctx, fetched, table, cleaned, path, quarantine, readers)
            check(self.ctx, fetched, table, path, written, quarantine)
        return _Typed(table, written, path)

    def _check_axes(self, typed: _Typed, places: _Places, crs: CRS, *, is_ignored: bool) -> list[RunWarning]:
        def points() -> Iterator[tuple[int, Coordinates]]:
            first = 0
            for batch in _batches(typed.path, [name for _, name in places.columns]):
                self.ctx.watch.advance(first, typed.written.counts["rows_out"])
                yield first, places.points(batch)
                first += batch.num_rows

        x, y = (typed.table.names[number] for number, _ in places.columns)
        return AxisCheck(crs, typed.table.file, x, y, is_ignored).look(points())


def _asked(fetched: FetchedFile) -> GeometryColumns:
    asked = options_of_file(fetched).geometry
    if asked is None:  # the rules of a manifest refuse it
        raise LookupError(f"{fetched.declared.key} is declared without options.geometry")
    return asked


def _places(fetched: FetchedFile, table: OpenedTable, cleaned: list[str], asked: GeometryColumns) -> _Places:
    """Raises RunRefused: column_unknown, geometry_column_invalid."""
    found = [find_column(name, table.names, cleaned, table.file, "geometry") for name in asked.columns]
    if len(set(found)) < len(found):
        raise GEOMETRY_COLUMN_TWICE(file=table.file, column=table.names[found[0]])
    notation = notation_of(options_of_file(fetched))
    plain = frozenset(found) if isinstance(table, TypedSource) else table.plain
    places = _Places(
        asked,
        tuple((number, cleaned[number]) for number in found),
        tuple(PLAIN if number in plain else notation for number in found),
    )
    if isinstance(table, TypedSource):
        _check_types(pa.schema(zip(cleaned, table.schema.types, strict=True)), places, table.file)
    return places


def _check_types(schema: pa.Schema, places: _Places, file: str) -> None:
    """Raises RunRefused: geometry_column_invalid."""
    if places.are_points:
        fits, wanted = is_number_type, "numbers"
    else:
        fits, wanted = (is_text_type, "text") if places.asked.wkt is not None else (is_geometry_type, "text or bytes")
    for _, name in places.columns:
        kind = schema.field(name).type
        if not fits(kind):
            raise GEOMETRY_COLUMN_TYPE(file=file, column=name, found=str(kind), wanted=wanted)


def _reader(fetched: FetchedFile, places: _Places, name: str, crs: CRS) -> ColumnReader:
    if places.are_points:
        fmt = find_format(fetched.declared.format)
        return NumberColumn(name, has_notation=fmt is not None and "decimal" in fmt.options)
    decode = decode_wkt if places.asked.wkt is not None else decode_wkb
    return GeometryColumn(name, fetched.declared.key, crs, decode)


def _source(
    fetched: FetchedFile, typed: _Typed, places: _Places, crs: CRS, warnings: tuple[RunWarning, ...]
) -> VectorSource:
    table, counts = typed.table, typed.written.counts
    gone = () if places.are_points else [name for _, name in places.columns]
    fields = [_attribute(each, typed.written.logical) for each in typed.written.schema if each.name not in gone]
    quarantine = typed.path.with_name("quarantine.parquet")
    mapping = header_mapping(table.names, typed.written.schema.names) if any(table.names) else {}
    return VectorSource(
        file=table.file,
        path=typed.path,
        format=fetched.declared.format,
        driver="pyarrow",
        layer=None,
        crs=crs,
        schema=pa.schema(fields),
        rows=counts["rows_out"],
        geometry_type="Point" if places.are_points else "Unknown",
        encoding=table.read_options.get("encoding"),
        warnings=warnings,
        counted=Counter(),
        open_chunks=lambda: cut(_read(typed.path, fields, places), table.file),
        carries_crs=False,
        titles={new: old for old, new in mapping.items() if old and new not in gone},
        left_out={name: number for name, number in counts.items() if name not in ("rows_in", "rows_out")},
        quarantine=quarantine if quarantine.exists() else None,
        ignores_area=ignores_area(fetched.declared),
    )


def _attribute(column: pa.Field, logical: Mapping[str, str]) -> pa.Field:
    found = attribute(column)
    return found.with_metadata({"logical_type": logical[column.name]}) if column.name in logical else found


def _read(path: Path, fields: list[pa.Field], places: _Places) -> Generator[Batch, None, None]:
    names = dict.fromkeys([*(each.name for each in fields), *(name for _, name in places.columns)])
    for batch in _batches(path, list(names)):
        yield tuple(attribute_values(batch.column(each.name), each.type) for each in fields), places.wkb(batch)


def _batches(path: Path, names: list[str]) -> Iterator[pa.RecordBatch]:
    """The columns of the typed table, in batches of bounded size."""
    with pq.ParquetFile(path, buffer_size=MiB, pre_buffer=False) as parquet:
        groups = [parquet.metadata.row_group(number) for number in range(parquet.metadata.num_row_groups)]
        mean = sum(group.total_byte_size for group in groups) // max(parquet.metadata.num_rows, 1)
        rows = max(1, min(_BATCH_ROWS, _BATCH_BYTES // max(mean, 1)))
        yield from parquet.iter_batches(rows, columns=names)
