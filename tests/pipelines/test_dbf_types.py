"""Fields of a .dbf that are not written as text, against the bytes that were written: Visual FoxPro and memos."""

from __future__ import annotations

import struct
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from tests.pipelines.conftest import Bench
from tests.pipelines.dbf import Field, dbf

FOXPRO = 0x30
NULLABLE, SYSTEM = 2, 1


def read(bench: Bench, fields: list[Field], records: list[list[bytes]], **more: Any) -> tuple[pa.Table, dict[str, Any]]:
    result = bench.one(dbf(bench, fields, records, **more), "SHP")
    table = pyarrow.parquet.read_table(result.path)
    return table.drop_columns(["geom", *(["bbox"] if "bbox" in table.column_names else [])]), result.watch.warnings


def moment(when: datetime) -> bytes:
    days = (when - datetime.fromisoformat("2000-01-01")).days + 2_451_545
    ms = (when - when.replace(hour=0, minute=0, second=0, microsecond=0)) // timedelta(milliseconds=1)
    return struct.pack("<ii", days, ms)


def test_types_of_visual_foxpro(bench: Bench) -> None:
    moments = [datetime.fromisoformat("2024-02-29T23:59:59.999"), datetime.fromisoformat("1899-12-31T00:00:00"), None]
    numbers = [2**31 - 1, -(2**31), 0]
    reals = [1.5, -1e300, float("inf")]
    money = ["922337203685477.5807", "-0.0001", "12.5000"]
    records = [
        [
            b"%d" % i,
            struct.pack("<i", numbers[i]),
            struct.pack("<d", reals[i]),
            moment(moments[i]) if moments[i] else bytes(8),
            struct.pack("<q", int(Decimal(money[i]).scaleb(4))),
        ]
        for i in range(3)
    ]
    fields = [(b"c", "C", 3, 0), (b"i", "I", 4, 0), (b"b", "B", 8, 4), (b"t", "T", 8, 0), (b"y", "Y", 8, 4)]
    table, warnings = read(bench, fields, records, version=FOXPRO)
    assert table.to_pydict() == {
        "c": ["0", "1", "2"],
        "i": numbers,
        "b": reals,
        "t": moments,
        "y": [Decimal(each) for each in money],
    }
    assert [str(each) for each in table.schema.types[1:]] == ["int32", "double", "timestamp[ms]", "decimal128(19, 4)"]
    assert not warnings


def test_lengths_and_nulls_of_visual_foxpro(bench: Bench) -> None:
    """_NullFlags has a bit for each varying length and one for each null; it is no column."""
    fields = [
        (b"v", "V", 5, 0),
        (b"i", "I", 4, 0),
        (b"q", "Q", 4, 0),
        (b"n", "N", 4, 0),
        (b"_NullFlags", "0", 1, 0),
    ]
    # Bits: v shorter, v null, i null, q shorter, n null.
    four = struct.pack("<i", 4)
    records = [
        [b"abcde", four, b"\0\xff\x80 ", b"   7", bytes([0b00000])],
        [b"ab \0\x02", four, b"\0\xff\0\x02", b"   8", bytes([0b01001])],
        ["ä".encode() + b"\0\0\x02", four, bytes(4), b"   9", bytes([0b11101])],
        [bytes(5), four, bytes(4), b"  10", bytes([0b00011])],
    ]
    flags = [NULLABLE, NULLABLE, 0, NULLABLE, SYSTEM]
    table, _ = read(bench, fields, records, version=0x32, flags=flags)
    assert table.to_pydict() == {
        "v": ["abcde", "ab", "ä", None],
        "i": [4, 4, None, 4],
        "q": [b"\0\xff\x80 ", b"\0\xff", b"", bytes(4)],
        "n": [7, 8, None, 10],
    }


def test_types_that_a_shapefile_cannot_have_are_kept_as_bytes(bench: Bench) -> None:
    raw = {"O": bytes(range(8)), "@": b"\xff" * 8, "+": b"\x80\0\0\1"}
    fields = [(kind.encode(), kind, len(value), 0) for kind, value in raw.items()]
    table, warnings = read(bench, [(b"c", "C", 1, 0), *fields], [[b"a", *raw.values()]])
    assert table.to_pylist() == [{"c": "a", **raw}]
    assert "'O', '@', '+'" in warnings["reader_note"][0]


MEMOS = ["Größe\nund mehr", "", "x" * 2000, "終"]


def dbt_iii(texts: list[str], encoding: str) -> tuple[bytes, list[int]]:
    body, blocks = b"", []
    for text in texts:
        blocks.append(1 + len(body) // 512 if text else 0)
        raw = text.encode(encoding) + b"\x1a\x1a" if text else b""
        body += raw.ljust(-(-len(raw) // 512) * 512, b"\0")
    return struct.pack("<I508x", 1 + len(body) // 512) + body, blocks


def dbt_iv(texts: list[str], encoding: str) -> tuple[bytes, list[int]]:
    body, blocks = b"", []
    for text in texts:
        blocks.append(1 + len(body) // 1024 if text else 0)
        raw = (
            b"\xff\xff\x08\0" + struct.pack("<I", 8 + len(text.encode(encoding))) + text.encode(encoding)
            if text
            else b""
        )
        body += raw.ljust(-(-len(raw) // 1024) * 1024, b"\x1a")
    return struct.pack("<I16xH", 1 + len(body) // 1024, 1024).ljust(1024, b"\0") + body, blocks


def fpt(texts: list[str], encoding: str) -> tuple[bytes, list[int]]:
    body, blocks = b"", []
    for text in texts:
        blocks.append(8 + len(body) // 64 if text else 0)
        raw = struct.pack(">II", 1, len(text.encode(encoding))) + text.encode(encoding) if text else b""
        body += raw.ljust(-(-len(raw) // 64) * 64, b"\0")
    return struct.pack(">IHH", 8 + len(body) // 64, 0, 64).ljust(512, b"\0") + body, blocks


WRITERS = {
    "dbt-iii": (dbt_iii, ".dbt", 0x83, 10),
    "dbt-iv": (dbt_iv, ".dbt", 0x8B, 10),
    "fpt": (fpt, ".fpt", 0xF5, 10),
    "vfp": (fpt, ".fpt", FOXPRO, 4),
}


def put(bench: Bench, kind: str, texts: list[str], encoding: str = "utf-8", spoil: int = 0) -> str:
    write, suffix, version, width = WRITERS[kind]
    memo, blocks = write(texts, encoding)
    (bench.landing / f"x{suffix}").write_bytes(memo)
    numbers = [block + spoil if block else 0 for block in blocks]
    values = [struct.pack("<I", each) if width == 4 else b"%d" % each if each else b"" for each in numbers]
    fields = [(b"c", "C", 2, 0), (b"notes", "M", width, 0), (b"n", "N", 3, 0)]
    records = [[b"*a" if i == 1 else b"a", value, b"%d" % i] for i, value in enumerate(values)]
    return dbf(bench, fields, records, version=version)


@pytest.mark.parametrize("kind", WRITERS)
def test_memos_are_read(bench: Bench, kind: str) -> None:
    """The second record is deleted: rows are counted without it."""
    texts = ["deleted", *MEMOS]
    texts[0], texts[1] = texts[1], texts[0]
    result = bench.one(put(bench, kind, texts), "SHP")
    table = pyarrow.parquet.read_table(result.path)
    assert table["notes"].to_pylist() == [MEMOS[0], *(text or None for text in MEMOS[1:])]
    assert table["n"].to_pylist() == [0, 2, 3, 4]


@pytest.mark.parametrize("kind", WRITERS)
def test_memos_in_an_encoding_of_single_bytes(bench: Bench, kind: str) -> None:
    result = bench.one(put(bench, kind, ["Größe", "b", "Œuvre"], "cp1252"), "SHP", options={"encoding": "cp1252"})
    assert result.frame["notes"].tolist() == ["Größe", "Œuvre"]
    (bench.lake / "v1.parquet").unlink()
    error = bench.refused("x.shp", "SHP")
    assert error.reason == "encoding_missing"
    assert "'notes' of row 0" in error.detail


@pytest.mark.parametrize("kind", WRITERS)
def test_memos_of_a_missing_file_are_null_and_counted(bench: Bench, kind: str) -> None:
    name = put(bench, kind, ["a", "deleted", "", "b"])
    (bench.landing / f"x{WRITERS[kind][1]}").unlink()
    result = bench.one(name, "SHP")
    assert result.frame["notes"].isna().all()
    message, count, _ = result.watch.warnings["memo_missing"]
    assert count == 2
    assert "'notes'" in message


@pytest.mark.parametrize("kind", WRITERS)
def test_a_memo_that_is_not_there_is_refused(bench: Bench, kind: str) -> None:
    error = bench.refused(put(bench, kind, ["a", "b", "c"], spoil=100_000), "SHP")
    assert error.reason == "file_damaged"
    assert "'notes' of row 0" in error.detail


def test_rows_that_share_a_long_memo_are_refused(bench: Bench) -> None:
    """A memo without an end, to which all rows refer, would become a thousand times its file."""
    (bench.landing / "x.dbt").write_bytes(bytes(512) + b"x" * 100_000)
    error = bench.refused(dbf(bench, [(b"notes", "M", 10, 0)], [[b"1"]] * 1000, version=0x83), "SHP")
    assert error.reason == "file_damaged"


def test_memos_in_an_archive(bench: Bench) -> None:
    put(bench, "dbt-iii", MEMOS)
    name = bench.zip("x.zip", {path.name: path.read_bytes() for path in bench.landing.iterdir()})
    assert bench.one(name, "SHP").frame["notes"].tolist()[0] == MEMOS[0]


def test_dbase_7_is_refused(bench: Bench) -> None:
    name = dbf(bench, [(b"c", "C", 1, 0)], [[b"a"]])
    head = struct.pack("<B3BLHH20x", 4, 124, 1, 1, 1, 69 + 48, 2) + b"DB437US0".ljust(36, b"\0")
    field = struct.pack("<32scB14x", b"c", b"C", 1)
    (bench.landing / "x.dbf").write_bytes(head + field + b"\r a\x1a")
    error = bench.refused(name, "SHP")
    assert error.reason == "content_mismatch"
    assert "dBase 7" in error.detail
