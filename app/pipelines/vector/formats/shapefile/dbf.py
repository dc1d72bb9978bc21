"""The .dbf of a shapefile: its values where GDAL would change them. Nothing is guessed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from app.messages.vector import NUMBERS_AS_TEXT, VALUES_NULLED
from app.messages.vector_formats import DBF_FIELDS_UNREAD, DBF_RAW, MEMO_MISSING
from app.models.runs.run import RunWarning
from app.pipelines.vector.formats.misfits import warnings_of
from app.pipelines.vector.formats.reader import SourceFile
from app.pipelines.vector.formats.shapefile.binary import BinaryField, Reader, binary_field
from app.pipelines.vector.formats.shapefile.encoding import TextEncoding
from app.pipelines.vector.formats.shapefile.header import (
    SYSTEM,
    Bytes,
    DbfField,
    DbfHeader,
    blocks,
    is_deleted,
    read_header,
    records,
)
from app.pipelines.vector.formats.shapefile.memo import MemoFile, blocks_of
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
        nulls: {place of a field: the bit of _NullFlags that says that its value is null}.
        system: places of fields that are no columns.
        head: of the .dbf.
        table: the records as bytes.
        warnings: values that do not fit their fields.
    """

    encoding: TextEncoding
    rows: int
    deleted: int
    records: np.ndarray[Any, Any] | None
    columns: dict[int, BinaryField]
    nulls: dict[int, int]
    system: frozenset[int]
    head: DbfHeader
    table: Bytes
    warnings: tuple[RunWarning, ...]

    def schema(self, fields: pa.Schema) -> pa.Schema:
        """The real names and types for those that GDAL gave."""
        real = []
        for i, field in enumerate(fields):
            if i in self.system:
                continue
            name = self.encoding.decode(field.name.encode("latin-1")) if self.encoding.codec else field.name
            kind = self.columns[i].type if i in self.columns else field.type
            real.append(pa.field(name, kind, True, field.metadata))
        return pa.schema(real)

    def correct(self, attributes: tuple[pa.Array, ...], first_row: int) -> tuple[pa.Array, ...]:
        """The real values of some rows for those that GDAL gave."""
        if not self.columns and not self.nulls and not self.encoding.codec and not self.system:
            return attributes
        real = []
        rows: Any = slice(first_row, first_row + len(attributes[0]) if attributes else first_row)
        if self.records is not None:
            rows = self.records[rows]
            rows = rows[rows < len(self.table)]
        block = self.table[rows]
        for i, array in enumerate(attributes):
            if i in self.system:
                continue
            if i in self.columns:
                real.append(_filled(self.columns[i].read(block), len(array)))
            elif self.encoding.codec and pa.types.is_string(array.type):
                real.append(_decoded(array, self.encoding))
            else:
                real.append(array)
            if i in self.nulls and len(block):
                is_null = _filled(pa.array(self.head.flag(self.nulls[i], block)), len(array))
                real[-1] = pc.if_else(is_null, pa.scalar(None, real[-1].type), real[-1])
        return tuple(real)


def _filled(values: pa.Array, count: int) -> pa.Array:
    """With nulls at the end: a .shp may have more records than its .dbf."""
    return values if len(values) == count else pa.concat_arrays([values, pa.nulls(count - len(values), values.type)])


def open_dbf(
    path: Path, shapes: int, encoding: TextEncoding, memo: MemoFile | None, names: Sequence[str], source: SourceFile
) -> Dbf:
    """Describe the .dbf of a shapefile, and prove that its values are what is written.

    Args:
        path: the .dbf, whose text `text_encoding` has proven.
        shapes: number of records of the .shp.
        encoding: as `text_encoding` found it.
        memo: the file with its memos, if there is one.
        names: of the fields that GDAL reads.
        source: the file that the manifest declares.

    Raises:
        RunRefused: value_invalid where GDAL skips fields, so that columns cannot be assigned to fields; file_truncated,
            file_damaged.
    """
    file = source.file
    head = read_header(path, file)
    table = records(path, head, min(head.rows, shapes))
    gone = np.zeros(shapes, bool)
    gone[: len(table)] = is_deleted(table)
    deleted = int(gone.sum())
    proofs = {i: proof for i, field in enumerate(head.fields) if (proof := proof_of(field, encoding.name)) is not None}
    for first_row, block in blocks(table):
        for i, proof in proofs.items():
            proof.see(head.fields[i].of(block), first_row)
    real_names = [encoding.decode(field.name) for field in head.fields]
    kept = {i for i, proof in proofs.items() if proof.misfits.count and real_names[i] in source.text_columns}
    columns = _columns(head, proofs, kept, encoding, memo)
    system = frozenset(i for i, field in enumerate(head.fields) if field.kind == SYSTEM)
    if (columns or system) and len(head.fields) != len(names):
        raise DBF_FIELDS_UNREAD(file=file, readable=len(names), fields=len(head.fields))
    warnings = _warnings({i: proof for i, proof in proofs.items() if i not in kept}, real_names, file)
    if raw := [repr(real_names[i]) for i, column in columns.items() if column.is_raw]:
        warnings.append(DBF_RAW(file=file, count=len(raw), columns=", ".join(raw)))
    if memo is None:
        warnings += _missing_memos(head, table, real_names, file)
    return Dbf(
        encoding=encoding,
        rows=shapes - deleted,
        deleted=deleted,
        records=np.flatnonzero(~gone) if deleted else None,
        columns=columns,
        nulls={i: null for i, (_, null) in head.bits.items() if null is not None},
        system=system,
        head=head,
        table=table,
        warnings=tuple(warnings),
    )


def _columns(
    head: DbfHeader, proofs: Mapping[int, Proof], as_text: set[int], encoding: TextEncoding, memo: MemoFile | None
) -> dict[int, BinaryField]:
    """The columns that are read from the bytes."""
    columns = {}
    for i, field in enumerate(head.fields):
        if i in proofs:
            column = proofs[i].as_text() if i in as_text else proofs[i].column()
            if column is not None:
                columns[i] = BinaryField(column.type, _reader(field, column))
        elif (binary := binary_field(head, i, encoding, memo)) is not None:
            columns[i] = binary
    return columns


def _reader(field: DbfField, column: Column) -> Reader:
    return lambda block: column.read(field.of(block))


def _missing_memos(head: DbfHeader, table: Bytes, names: Sequence[str], file: str) -> list[RunWarning]:
    fields = {i: field for i, field in enumerate(head.fields) if head.is_memo(field)}
    counts = Counter[str]()
    for _, block in blocks(table):
        for i, field in fields.items():
            counts[names[i]] += sum(number != 0 for number in blocks_of(field.of(block)))
    found = [repr(name) for name, count in counts.items() if count]
    return [MEMO_MISSING(file=file, count=counts.total(), columns=", ".join(found))] if found else []


def _warnings(proofs: Mapping[int, Proof], names: Sequence[str], file: str) -> list[RunWarning]:
    numbers = {names[i]: proof.misfits for i, proof in proofs.items() if isinstance(proof, NumberProof)}
    others = {names[i]: proof.misfits for i, proof in proofs.items() if not isinstance(proof, NumberProof)}
    return [*warnings_of(numbers, NUMBERS_AS_TEXT, file), *warnings_of(others, VALUES_NULLED, file)]


def _decoded(array: pa.Array, encoding: TextEncoding) -> pa.Array:
    """Text that was read as Latin-1, by the encoding it is in."""
    values = array.dictionary_encode()
    real = [encoding.decode(value.encode("latin-1")) for value in values.dictionary.to_pylist()]
    return pa.array(real, pa.string()).take(values.indices)
