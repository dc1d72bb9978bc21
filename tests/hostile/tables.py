"""Hostile tables."""

from __future__ import annotations

import gzip
import io
import struct
import zipfile
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.hostile.case import Bait, Hostile, Maker, always, zipped
from tests.hostile.vectors import changed
from tests.pipelines.tables import cell, row, workbook


def case(fmt: str, name: str, tries: str, make: Maker, outcome: str | int, **options: Any) -> Hostile:
    more = {"options": options} if options else {}
    return Hostile(f"{fmt.lower()}-{name}", "tabular", fmt, tries, make, outcome, more)


# --- delimited text and JSON lines

TEXTS = [
    case("CSV", "long-line", "a line of 64 MB in 64 kB", always(lambda: gzip.compress(b"a,b\n" + b"x" * (64 << 20))),
         "archive_ratio"),
    case("CSV", "long-quote", "a quotation that never ends", always(lambda: b'a,b\n1,2\n"' + b"x,y\n" * 5_000_000),
         "row_too_large"),
    case("CSV", "bomb", "256 MB of lines in 1 MB", always(lambda: gzip.compress(b"a,b\n" + b"1,2\n" * (64 << 20), 6)),
         "archive_ratio"),
    case("CSV", "zip-bomb", "the same in a zip", always(lambda: zipped({"t.csv": b"a,b\n" + b"1,2\n" * (16 << 20)})),
         "archive_ratio"),
    case("CSV", "zip-dotdot", "a path upwards in a zip", always(zipped({"../t.csv": b"a\n1\n"})), "archive_path"),
    case("CSV", "nul", "zero bytes", always(b"a,b\n1,\x00\n"), "nul_bytes"),
    case("CSV", "columns", "100,000 columns", always(",".join(f"c{i}" for i in range(100_000)) + "\n1\n"),
         "columns_too_many"),
    case("CSV", "header", "a name of a million characters", always("a" * 1_000_000 + ",b\n1,2\n"), "header_too_long"),
    case("CSV", "formula", "formulas of a spreadsheet", always("a,b\n=HYPERLINK(1),@SUM(1)\n+1,-1\n"), 2),
    case("CSV", "path", "a path and an address as values", lambda b: f"a,b\n{b.path},{b.url}\n".encode(), 1),
    case("CSV", "database", "a database", always(b"SQLite format 3\x00" + bytes(100)), "content_mismatch"),
    case("CSV", "gzip-cut", "half an archive", always(gzip.compress(b"a,b\n1,2\n" * 1000)[:40]), "archive_invalid"),
    case("TSV", "bells", "control characters", always("a\tb\n\x07\t\x1b[31m\n"), 1),
    case("JSONL", "deep", "an array 100,000 deep", always('{"a": ' + "[" * 100_000 + "]" * 100_000 + "}\n"),
         "no_rows"),
    case("JSONL", "long-number", "a number of a million digits", always('{"a": ' + "9" * 1_000_000 + "}\n"), 1),
    case("JSONL", "keys", "10,000 keys",
         always(lambda: b"".join(b'{"k%d": 1}\n' % i for i in range(10_000))), "columns_too_many"),
    case("JSONL", "twice", "a key twice in one object", always('{"a": 1, "a": 2}\n'), "no_rows"),
    case("JSONL", "surrogate", "half a character", always('{"a": "\\ud800"}\n'), "no_rows"),
    case("JSONL", "long-line", "a line of 64 MB in 64 kB",
         always(lambda: gzip.compress(b'{"a": "' + b"x" * (64 << 20) + b'"}\n')), "archive_ratio"),
]  # fmt: skip


# --- workbooks


def xlsx(
    *rows: str, parts: dict[str, str] | None = None, replaced: tuple[str, str] | None = None, **more: Any
) -> Maker:
    """parts: added to the archive, or instead of its own. replaced: a text of every part, and what it becomes."""

    def make(bait: Bait) -> bytes:
        head = row(1, cell("A1", "a"), cell("B1", "b"))
        body = workbook({"S": head + "".join(rows)}, **more)
        with zipfile.ZipFile(io.BytesIO(body)) as archive:
            made = {name: archive.read(name).decode() for name in archive.namelist()}
        made |= parts or {}
        if replaced:
            made = {name: text.replace(*replaced) for name, text in made.items()}
        return zipped({n: t.replace("@url", bait.url).replace("@path", bait.path) for n, t in made.items()})

    return make


DATA = row(2, cell("A2", 1), cell("B2", 2))
LAUGHS = '<!DOCTYPE w [<!ENTITY a "lollollollol"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>'
ENTITY = "<!DOCTYPE w [<!ENTITY e SYSTEM '@url/e'>]>"
FOREIGN = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/externalLinkPath"
LINK = (
    "<Relationships xmlns='http://schemas.openxmlformats.org/package/2006/relationships'><Relationship Id='r1' "
    f"Type='{FOREIGN}' Target='@url/b.xlsx' TargetMode='External'/></Relationships>"
)

BOOKS = [
    case("XLSX", "external", "a link to another workbook",
         xlsx(DATA, parts={"xl/externalLinks/externalLink1.xml": "<externalLink/>",
                           "xl/externalLinks/_rels/externalLink1.xml.rels": LINK}), 1),
    case("XLSX", "external-sheet", "a sheet behind an address",
         xlsx(DATA, replaced=("Target='worksheets/sheet1.xml'", "TargetMode='External' Target='@url/s.xml'")),
         "no_rows"),
    case("XLSX", "sheet-path", "a sheet that is a file of the host",
         xlsx(DATA, replaced=("worksheets/sheet1.xml'", "../../../../../../@path'")), "no_rows"),
    case("XLSX", "formula", "formulas that fetch",
         xlsx(row(2, "<c r='A2'><f>WEBSERVICE(\"@url\")</f><v>1</v></c>", cell("B2", 2))), 1),
    case("XLSX", "dde", "a formula that starts a program",
         xlsx(row(2, "<c r='A2' t='str'><f>cmd|'/C calc'!A0</f><v>x</v></c>", cell("B2", 2))), 1),
    case("XLSX", "laughs", "entities in a sheet", xlsx(DATA, doctype=LAUGHS), "xml_doctype"),
    case("XLSX", "entity", "an entity that is a file",
         xlsx(DATA, doctype="<!DOCTYPE w [<!ENTITY e SYSTEM 'file://@path'>]>"), "xml_doctype"),
    case("XLSX", "entity-strings", "an entity in the shared texts",
         xlsx(DATA, parts={"xl/sharedStrings.xml": f"{ENTITY}<sst><si>&e;</si></sst>"}),
         "xml_doctype"),
    case("XLSX", "bomb", "64 MB of blanks in a sheet", xlsx(DATA, tail=" " * (64 << 20)), "archive_ratio"),
    case("XLSX", "strings", "a shared text that is not there", xlsx(row(2, "<c r='A2' t='s'><v>999999999</v></c>")),
         "file_damaged"),
    case("XLSX", "strings-negative", "a shared text before the first",
         xlsx(row(2, "<c r='A2' t='s'><v>-1</v></c>"), shared=["<t>x</t>"]), "file_damaged"),
    case("XLSX", "column", "a cell in the column ZZZZZZZ", xlsx(row(2, cell("ZZZZZZZ2", 1))), "file_damaged"),
    case("XLSX", "row", "a cell in row 99,999,999,999", xlsx(row(99_999_999_999, cell("A99999999999", 1))),
         1),
    case("XLSX", "style", "a style that is not there", xlsx(row(2, cell("A2", 1, 10_000), cell("B2", 2))), 1),
    case("XLSX", "deep", "100,000 elements in one another", xlsx(DATA, tail="<x>" * 100_000 + "</x>" * 100_000), 1),
    case("XLSX", "zip-dotdot", "a path upwards", always(zipped({"../evil.xml": "x", "[Content_Types].xml": "x"})),
         "archive_path"),
    case("XLSX", "old", "a workbook of another kind", always(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)),
         "content_mismatch"),
]  # fmt: skip


# --- Parquet


def parquet(table: pa.Table, **more: Any) -> bytes:
    out = io.BytesIO()
    pq.write_table(table, out, **more)
    return out.getvalue()


SMALL = parquet(pa.table({"a": [1, 2, 3], "b": ["x", "y", "z"]}), compression="none")
FOOTER = struct.unpack("<L", SMALL[-8:-4])[0]


def long_column() -> bytes:
    """400,000 equal texts as one run length: a few kilobytes, and 400 MB as a plain array."""
    texts = pa.array(["x" * 1000]).take(pa.array([0] * 400_000))
    return parquet(pa.table({"a": texts}), compression="zstd", use_dictionary=True)


def nested(levels: int) -> pa.DataType:
    kind: pa.DataType = pa.int8()
    for _ in range(levels):
        kind = pa.struct([("x", kind)])
    return kind


PARQUET = [
    case("Parquet", "footer-long", "a footer of 4 GB", always(changed(SMALL, -8, b"\xff\xff\xff\xff")),
         "file_damaged"),
    case("Parquet", "footer-short", "a footer of 1 byte", always(changed(SMALL, -8, b"\x01\0\0\0")), "file_damaged"),
    case("Parquet", "footer-nonsense", "a footer of nonsense",
         always(changed(SMALL, -8 - FOOTER, bytes(range(256))[: FOOTER - 1])), "file_damaged"),
    case("Parquet", "footer-zeros", "a footer of zeros", always(changed(SMALL, -8 - FOOTER, bytes(FOOTER))),
         "file_damaged"),
    case("Parquet", "pages", "pages that are not what they say", always(changed(SMALL, 4, b"\xff" * 60)),
         "file_damaged"),
    case("Parquet", "page-header", "a page of 2 GB", always(changed(SMALL, 5, b"\xfe\xff\xff\xff\x0f")),
         "file_damaged"),
    case("Parquet", "encrypted", "an encrypted footer", always(SMALL[:-4] + b"PARE"), "file_truncated"),
    case("Parquet", "columns", "5,000 columns",
         always(lambda: parquet(pa.table({f"c{i}": [1] for i in range(5_000)}))), "columns_too_many"),
    case("Parquet", "bomb", "400 MB of one text in 2 kB",
         always(long_column), 400_000),
    case("Parquet", "deep", "a type 300 deep",
         always(parquet(pa.table({"a": pa.array([None], nested(300))}))), "file_damaged"),
    case("Parquet", "schema", "a description of Arrow's that is nonsense",
         always(SMALL.replace(b"ARROW:schema", b"ARROW:schemx")), 3),
]  # fmt: skip

CASES = [*TEXTS, *BOOKS, *PARQUET]
