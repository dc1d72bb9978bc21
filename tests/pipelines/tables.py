"""Tables through the real tabular pipeline, and the files they come in."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from app.errors import RunRefused
from app.pipelines.tabular import pipeline as tabular
from app.settings import Limits
from tests.pipelines.conftest import Bench, Context

EVERYTHING = Limits(quarantine_share=1)


class Ingested:
    """What one run made."""

    def __init__(self, context: Context) -> None:
        assert context.product is not None
        self.product, self.warnings = context.product, context.watch.warnings
        self.table = pq.read_table(self.product.path)
        self.counts = self.product.counts

    @property
    def rows(self) -> list[dict[str, Any]]:
        return self.table.to_pylist()

    @property
    def types(self) -> dict[str, str]:
        return {field.name: str(field.type) for field in self.table.schema}

    @property
    def quarantine(self) -> list[dict[str, Any]]:
        path = self.product.companions.get("quarantine.parquet")
        return pq.read_table(path).to_pylist() if path else []


def ingest(bench: Bench, body: bytes | str, fmt: str = "CSV", *, name: str = "t", **more: Any) -> Ingested:
    """limits=…, threads=… go to the context, member=… to files[], all else to files[].options."""
    return Ingested(run(bench, body, fmt, name=name, **more))


def run(bench: Bench, body: bytes | str, fmt: str = "CSV", *, name: str = "t", **more: Any) -> Context:
    to_context = {key: more.pop(key) for key in ("limits", "threads") if key in more}
    to_context |= {key: more.pop(key) for key in ("checks", "rows_before", "memory_bytes") if key in more}
    entry: dict[str, Any] = {"path": bench.write(name, body), "format": fmt, "type": "tabular"}
    if "member" in more:
        entry["member"] = more.pop("member")
    if more:
        entry["options"] = more
    context = bench.context(entry, intent="ingest_tabular", **to_context)
    tabular.run(context)
    return context


def refused(bench: Bench, body: bytes | str, fmt: str = "CSV", **more: Any) -> RunRefused:
    """The refusal; it names the file, says what to do, and leaves nothing behind."""
    with pytest.raises(RunRefused) as caught:
        run(bench, body, fmt, **more)
    error = caught.value
    assert error.file == more.get("name", "t")
    assert error.file in error.detail
    assert error.fix
    assert str(bench.landing.parent) not in str(error)
    assert not list(bench.lake.iterdir())
    return error


_RELATED = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_MAIN = "xmlns='http://schemas.openxmlformats.org/spreadsheetml/2006/main'"
_PACKAGE = "xmlns='http://schemas.openxmlformats.org/package/2006/relationships'"
STYLES = (
    "<numFmts><numFmt numFmtId='164' formatCode='00000'/><numFmt numFmtId='165' formatCode='yyyy\\-mm\\-dd hh:mm'/>"
    "<numFmt numFmtId='166' formatCode='[h]:mm'/></numFmts>"
    "<cellStyleXfs><xf numFmtId='14'/></cellStyleXfs><cellXfs><xf numFmtId='0'/><xf numFmtId='14'/>"
    "<xf numFmtId='164'/><xf numFmtId='165'/><xf numFmtId='21'/><xf numFmtId='166'/></cellXfs>"
)
DATE, CODE, MOMENT, TIME, ELAPSED = 1, 2, 3, 4, 5


def workbook(
    sheets: Mapping[str, str],
    shared: Sequence[str] = (),
    settings: str = "",
    doctype: str = "",
    tail: str = "",
    styles: str | None = None,
) -> bytes:
    """A workbook of these sheets ({name: rows as XML}) with the shared texts (XML) and styles (STYLES)."""
    kinds = [(f"s{number}", "worksheet", f"worksheets/sheet{number}.xml") for number in range(1, len(sheets) + 1)]
    kinds += [("t", "sharedStrings", "sharedStrings.xml"), ("f", "styles", "/xl/styles.xml")]
    links = "".join(f"<Relationship Id='{i}' Type='{_RELATED}/{kind}' Target='{to}'/>" for i, kind, to in kinds)
    outside = f"<Relationship Id='x' Type='{_RELATED}/externalLink' TargetMode='External' Target='file:///etc/passwd'/>"
    listed = "".join(f"<sheet name='{n}' sheetId='{i}' r:id='s{i}'/>" for i, n in enumerate(sheets, 1))
    parts = {
        "[Content_Types].xml": "<Types xmlns='http://schemas.openxmlformats.org/package/2006/content-types'/>",
        "_rels/.rels": f"<Relationships {_PACKAGE}><Relationship Id='r' Type='{_RELATED}/officeDocument' "
        "Target='xl/workbook.xml'/></Relationships>",
        "xl/workbook.xml": f"<workbook {_MAIN} xmlns:r='{_RELATED}'><workbookPr {settings}/>"
        f"<sheets>{listed}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f"<Relationships {_PACKAGE}>{links}{outside}</Relationships>",
        "xl/sharedStrings.xml": f"<sst {_MAIN}>{''.join(f'<si>{text}</si>' for text in shared)}</sst>",
        "xl/styles.xml": f"<styleSheet {_MAIN}>{STYLES if styles is None else styles}</styleSheet>",
    }
    for number, rows in enumerate(sheets.values(), 1):
        body = f"{doctype}<worksheet {_MAIN}><sheetData>{rows}</sheetData>{tail}</worksheet>"
        parts[f"xl/worksheets/sheet{number}.xml"] = body
    return zipped(parts)


def cell(place: str, value: Any, style: int = 0) -> str:
    """A cell as a spreadsheet program writes it. value: number, text, bool, or XML that begins with `<`."""
    if isinstance(value, bool):
        return f"<c r='{place}' t='b'><v>{int(value)}</v></c>"
    if isinstance(value, str) and not value.startswith("<"):
        return f"<c r='{place}' t='inlineStr'><is><t>{value}</t></is></c>"
    return f"<c r='{place}' s='{style}'>{value if isinstance(value, str) else f'<v>{value!r}</v>'}</c>"


def row(number: int, *cells: str) -> str:
    return f"<row r='{number}'>{''.join(cells)}</row>"


def zipped(members: Mapping[str, bytes | str]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in members.items():
            archive.writestr(name, body)
    return out.getvalue()


def parquet(table: pa.Table, folder: Path) -> bytes:
    pq.write_table(table, folder / "made.parquet")
    return (folder / "made.parquet").read_bytes()
