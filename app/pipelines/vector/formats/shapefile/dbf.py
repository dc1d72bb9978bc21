"""The .dbf of a shapefile: its values where GDAL would change them. Nothing is guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from app.messages.vector import NUMBERS_AS_TEXT, VALUES_NULLED
from app.messages.vector_formats import DBF_FIELDS_UNREAD
from app.models.run import RunWarning
from app.pipelines.vector.formats.misfits import warnings_of
from app.pipelines.vector.formats.shapefile.encoding import TextEncoding
from app.pipelines.vector.formats.shapefile.header import Bytes, DbfField, blocks, is_deleted, read_header, records
from app.pipelines.vector.formats.shapefile.values import Column, NumberProof, Proof, proof_of


@dataclass(frozen=True, slots=True)
class Dbf:
    """What must be corrected after GDAL has read the attributes of a shapefile.

    Attributes:
        encoding: of the text.
        rows: number of records without the deleted ones.
        deleted: number of deleted records.
        records: the numbers of the records that are not deleted; None where none is deleted.
        columns: those that are read from the bytes, because GDAL would change a value.
        table: the records as bytes.
        warnings: values that do not fit their fields.
    """

    encoding: TextEncoding
    rows: int
    deleted: int
    records: np.ndarray[Any, Any] | None
    columns: dict[int, tuple[DbfField, Column]]
    table: Bytes
    warnings: tuple[RunWarning, ...]

    def schema(self, fields: pa.Schema) -> pa.Schema:
        """The real names and types for those that GDAL gave."""
        real = []
        for i, field in enumerate(fields):
            name = self.encoding.decode(field.name.encode("latin-1")) if self.encoding.codec else field.name
            kind = self.columns[i][1].type if i in self.columns else field.type
            real.append(pa.field(name, kind, True, field.metadata))
        return pa.schema(real)

    def correct(self, attributes: tuple[pa.Array, ...], first_row: int) -> tuple[pa.Array, ...]:
        """The real values of some rows for those that GDAL gave."""
        real = list(attributes)
        for i, array in enumerate(attributes):
            if i in self.columns:
                real[i] = self._read(*self.columns[i], first_row, len(array))
            elif self.encoding.codec and pa.types.is_string(array.type):
                real[i] = _decoded(array, self.encoding)
        return tuple(real)

    def _read(self, field: DbfField, column: Column, first_row: int, count: int) -> pa.Array:
        rows: Any = slice(first_row, first_row + count)
        if self.records is not None:
            rows = self.records[rows]
            rows = rows[rows < len(self.table)]
        values = column.read(field.of(self.table[rows]))
        # A .shp may have more records than its .dbf.
        return pa.concat_arrays([values, pa.nulls(count - len(values), column.type)])


def open_dbf(path: Path, shapes: int, encoding: TextEncoding, names: Sequence[str], file: str) -> Dbf:
    """Describe the .dbf of a shapefile, and prove that its values are what is written.

    Args:
        path: the .dbf, whose text `text_encoding` has proven.
        shapes: number of records of the .shp.
        encoding: as `text_encoding` found it.
        names: of the fields that GDAL reads.
        file: the landing key, for messages.

    Raises:
        RunRefused: value_invalid where GDAL skips fields, so that columns cannot be assigned to fields; file_truncated,
            file_damaged.
    """
    head = read_header(path, file)
    table = records(path, head, min(head.rows, shapes))
    gone = np.zeros(shapes, bool)
    gone[: len(table)] = is_deleted(table)
    deleted = int(gone.sum())
    proofs = {i: proof for i, field in enumerate(head.fields) if (proof := proof_of(field, encoding.name)) is not None}
    for first_row, block in blocks(table):
        for i, proof in proofs.items():
            proof.see(head.fields[i].of(block), first_row)
    columns = {i: (head.fields[i], column) for i, proof in proofs.items() if (column := proof.column()) is not None}
    if columns and len(head.fields) != len(names):
        raise DBF_FIELDS_UNREAD(file=file, readable=len(names), fields=len(head.fields))
    return Dbf(
        encoding=encoding,
        rows=shapes - deleted,
        deleted=deleted,
        records=np.flatnonzero(~gone) if deleted else None,
        columns=columns,
        table=table,
        warnings=tuple(_warnings(proofs, [encoding.decode(field.name) for field in head.fields], file)),
    )


def _warnings(proofs: Mapping[int, Proof], names: Sequence[str], file: str) -> list[RunWarning]:
    numbers = {names[i]: proof.misfits for i, proof in proofs.items() if isinstance(proof, NumberProof)}
    others = {names[i]: proof.misfits for i, proof in proofs.items() if not isinstance(proof, NumberProof)}
    return [*warnings_of(numbers, NUMBERS_AS_TEXT, file), *warnings_of(others, VALUES_NULLED, file)]


def _decoded(array: pa.Array, encoding: TextEncoding) -> pa.Array:
    """Text that was read as Latin-1, by the encoding it is in."""
    values = array.dictionary_encode()
    real = [encoding.decode(value.encode("latin-1")) for value in values.dictionary.to_pylist()]
    return pa.array(real, pa.string()).take(values.indices)
