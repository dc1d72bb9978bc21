"""The values of a GML layer against their text: GDAL makes 1.0 of `1,5`, 0 of `n/a`, 2 March of 30 February.

The layer is read a second time without its schema and with every field as text.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import date
from mmap import ACCESS_READ, mmap
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyogrio
from pyogrio.errors import DataLayerError

from app.messages.vector import NUMBERS_AS_TEXT, TIMES_AS_TEXT, VALUES_NULLED
from app.pipelines.common import gdal
from app.pipelines.vector.formats.layer import Layer
from app.pipelines.vector.formats.misfits import Misfits, warnings_of
from app.pipelines.vector.formats.reader import SourceFile

# What GDAL reports of text in a field of logicals that is neither true nor false.
_NOT_SO = "Assuming it to be false"
_BLANKS = " \t\r\n\0"
# Between tags, in quotes or in CDATA; or a reference to any character.
_LONE_SIGN = re.compile(rb"[>\"'\[]\s*(?:[+-]\.?|\.)\s*[<\"'\]]|&#")
_UTF_16 = (b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")
_TIME = r"([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]+)?"
_ZONE = r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)?"
_DAY = r"[0-9]{4}[-/][0-9]{2}[-/][0-9]{2}"
_REAL = r"([+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?[iI][nN][fF]([iI][nN][iI][tT][yY])?|[nN][aA][nN])"


def prove_values(layer: Layer, path: Path, has_schema: bool, source: SourceFile) -> Layer:
    """The layer with the values that are written.

    A column of numbers with text that is no number is text; text that is no date, time or logical is null where its
    column has that type.

    Args:
        layer: as GDAL reads it.
        path: the document without a schema beside it.
        has_schema: a schema gives the types. Otherwise GDAL found them in the values, and these need a proof: days,
            numbers of 64 bits, which can be too long, and all numbers where a text is a sign or a point alone.
        source: the file that the manifest declares.
    """
    kinds = {i: _kind(field, layer) for i, field in enumerate(layer.fields)}
    if not has_schema:
        numbers = any(map(_is_number, kinds.values())) and _has_lone_signs(path)
        kinds = {
            i: kind
            for i, kind in kinds.items()
            if _is_day(kind) or kind == pa.int64() or (numbers and _is_number(kind))
        }
    kinds = {i: kind for i, kind in kinds.items() if _pattern(kind)}
    names = {i: layer.fields[i].name for i in kinds}
    found = {i: Misfits() for i in names}
    nulls: dict[int, list[int]] = {i: [] for i in names}
    rows = 0
    for first_row, count, texts in _texts(layer, path, list(names.values())):
        rows += count
        for i, name in names.items():
            for row, text in _misfits(texts[name], kinds[i]) if name in texts else ():
                found[i].add(first_row + row, text)
                nulls[i].append(first_row + row)
    if rows != layer.rows:  # a schema may make other features of a document than GDAL does alone
        return layer
    declared = {i for i, name in names.items() if name in source.text_columns}
    as_text = {
        i
        for i in names
        if found[i].count and (_is_number(kinds[i]) or pa.types.is_string(layer.fields[i].type) or i in declared)
    }
    columns = _columns(layer, path, {i: names[i] for i in as_text})
    gone = {i: np.array(each) for i, each in nulls.items() if each and i not in as_text}
    if not columns and not gone:
        return layer
    fields = [field.with_type(pa.string()) if i in columns else field for i, field in enumerate(layer.fields)]
    warnings = [warning for warning in layer.warnings if _NOT_SO not in warning.message]
    for notice, places in (
        (NUMBERS_AS_TEXT, [i for i in as_text - declared if _is_number(kinds[i])]),
        (TIMES_AS_TEXT, [i for i in as_text - declared if not _is_number(kinds[i])]),
        (VALUES_NULLED, list(gone)),
    ):
        warnings += warnings_of({names[i]: found[i] for i in places}, notice, source.file)
    return replace(layer, fields=pa.schema(fields), correct=_correction(columns, gone), warnings=tuple(warnings))


def _has_lone_signs(path: Path) -> bool:
    """Whether a document may have a text such as `-` or `.`, which GDAL takes for the number 0."""
    with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as content:
        return content[:2] in _UTF_16 or _LONE_SIGN.search(content) is not None


def _kind(field: pa.Field, layer: Layer) -> pa.DataType:
    """The type that a column has, or would have if its times did not differ in their zones."""
    return pa.timestamp("ms") if field.name in layer.times else field.type


def _columns(layer: Layer, path: Path, names: Mapping[int, str]) -> dict[int, pa.Array]:
    """Columns as text, as written; null where it is blank."""
    whole: dict[int, list[pa.Array]] = {i: [] for i in names}
    for _, _, texts in _texts(layer, path, list(names.values())):
        for i, name in names.items():
            trimmed = pc.utf8_trim(texts[name], _BLANKS)
            whole[i].append(pc.if_else(pc.equal(trimmed, ""), pa.scalar(None, pa.string()), trimmed))
    return {i: pa.chunked_array(chunks).combine_chunks() for i, chunks in whole.items()}


def _correction(
    columns: dict[int, pa.Array], gone: dict[int, npt.NDArray[np.intp]]
) -> Callable[[tuple[pa.Array, ...], int], tuple[pa.Array, ...]]:
    def correct(attributes: tuple[pa.Array, ...], first_row: int) -> tuple[pa.Array, ...]:
        real = list(attributes)
        for i, column in columns.items():
            real[i] = column.slice(first_row, len(real[i]))
        for i, rows in gone.items():
            mask = np.zeros(len(real[i]), bool)
            mask[rows[(rows >= first_row) & (rows < first_row + len(mask))] - first_row] = True
            real[i] = pc.if_else(pa.array(mask), pa.scalar(None, real[i].type), real[i])
        return tuple(real)

    return correct


def _texts(layer: Layer, path: Path, names: Sequence[str]) -> Iterator[tuple[int, int, dict[str, pa.Array]]]:
    """(first row, rows, {name: texts}) of each batch, without the columns that are lists or that no feature has.

    Nothing where the layer has another name without a schema.
    """
    if not names:
        return
    done = 0
    with ExitStack() as stack:
        with gdal.only_drivers(layer.drivers, {**layer.how.config, "GML_FIELDTYPES": "ALWAYS_STRING"}):
            try:
                _, reader = stack.enter_context(
                    pyogrio.open_arrow(
                        path,
                        layer=layer.name,
                        columns=list(names),
                        read_geometry=False,
                        use_pyarrow=True,
                        **layer.how.options,
                    )
                )
            except DataLayerError:
                return
        for batch in reader:
            texts = dict(zip(batch.schema.names, batch.columns, strict=True))
            yield done, batch.num_rows, {name: text for name, text in texts.items() if pa.types.is_string(text.type)}
            done += batch.num_rows


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_day(kind: pa.DataType) -> bool:
    return bool(pa.types.is_date(kind) or pa.types.is_timestamp(kind))


def _pattern(kind: pa.DataType) -> str:
    """What text of a type looks like; empty for types that take any."""
    if pa.types.is_timestamp(kind):
        return f"^{_DAY}([T ]{_TIME}{_ZONE})?$"
    if pa.types.is_date(kind):
        return f"^{_DAY}{_ZONE}$"
    if pa.types.is_time(kind):
        return f"^{_TIME}{_ZONE}$"
    if pa.types.is_boolean(kind):
        return "^([tT][rR][uU][eE]|[fF][aA][lL][sS][eE]|0|1)$"
    if pa.types.is_integer(kind):
        return "^[+-]?[0-9]+$"
    return f"^{_REAL}$" if pa.types.is_floating(kind) else ""


def _misfits(texts: pa.Array, kind: pa.DataType) -> list[tuple[int, str]]:
    """(row, text) of those that are not blank and not of a type."""
    trimmed = pc.utf8_trim(texts, _BLANKS)
    good = pc.match_substring_regex(trimmed, _pattern(kind)).fill_null(True)
    if _is_day(kind) and not _are_days(trimmed.filter(good)):
        good = pc.and_(good, pa.array([text is None or _exists(text) for text in trimmed.to_pylist()]))
    elif pa.types.is_integer(kind) and not _fit(trimmed.filter(good), kind):
        most = 2 ** (kind.bit_width - 1)
        is_within = [
            text is None or not re.fullmatch("[+-]?[0-9]+", text) or -most <= int(text) < most
            for text in trimmed.to_pylist()
        ]
        good = pc.and_(good, pa.array(is_within))
    wrong = np.flatnonzero(~good.to_numpy(zero_copy_only=False))
    return [(int(row), text) for row in wrong if (text := trimmed[int(row)].as_py())]


def _are_days(texts: pa.Array) -> bool:
    days = pc.replace_substring(pc.utf8_slice_codeunits(texts, 0, 10), "/", "-")
    try:
        days.cast(pa.date32())
    except pa.ArrowInvalid:
        return False
    return not (pc.any(pc.starts_with(days, "0000")).as_py() or False)


def _exists(text: str) -> bool:
    try:
        return bool(date.fromisoformat(text[:10].replace("/", "-")))
    except ValueError:
        return not re.match(_DAY, text)


def _fit(texts: pa.Array, kind: pa.DataType) -> bool:
    try:
        pc.utf8_ltrim(texts, "+").cast(kind)
    except pa.ArrowInvalid:
        return False
    return True
