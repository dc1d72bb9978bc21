"""Listings of manifests without their documents: the same pages and filters, of bounded size."""

from __future__ import annotations

from dataclasses import replace

import pytest

from app.ledger import Ledger, ManifestFilter
from app.models.manifests.manifest import ManifestFault, ManifestStatus
from app.models.page import Page
from tests.contract.ledgers import MINUTE, T0, a_manifest, a_run

pytestmark = pytest.mark.anyio


async def test_counts_and_the_first_of_everything(ledger: Ledger) -> None:
    files = [{"path": f"s3://landing-zone/{n}", "format": "CSV"} for n in range(5000)]
    many = a_manifest("many", document={"files": files, "uploader": "u" * 5000}, ingested_at=T0)
    await ledger.accept(many, a_run("many"))
    faults = tuple(ManifestFault(pointer=f"/files/{n}", code="x", detail="d" * 5000, fix="f") for n in range(200))
    for number, document in enumerate(({"files": 7}, {"files": {"a": 1}}, {"files": [1, 2]}, {})):
        at = T0 + (number + 1) * MINUTE
        record = a_manifest(f"rejected.{number}", document=document, faults=faults, ingested_at=at)
        await ledger.reject_manifest(record.model_copy(update={"status": ManifestStatus.REJECTED}))
    found = await ledger.list_manifest_summaries(ManifestFilter(), Page())
    counts = {each.batch_id: (each.file_count, each.fault_count, len(each.faults)) for each in found.items}
    assert counts["many"] == (5000, 0, 0)
    assert [counts[f"rejected.{number}"][1:] for number in range(4)] == [(200, 3)] * 4
    assert [counts[f"rejected.{number}"][0] for number in range(3)] == [0, 0, 2]
    last = found.items[-1]
    assert (last.batch_id, last.intent, last.status, last.testing) == ("many", "ingest_vector", "queued", False)
    assert (last.uploader or "", last.ingested_at) == ("u" * 999 + "\u2026", T0)
    assert all(len(each.model_dump_json()) < 10_000 for each in found.items)
    assert [len(fault.detail) for fault in found.items[0].faults] == [1000] * 3


async def test_the_same_pages_and_filters_as_the_whole_manifests(ledger: Ledger) -> None:
    for number in range(7):
        batch = f"b{number}"
        more = {"uploader": "ada" if number % 2 else "bob"}
        await ledger.accept(a_manifest(batch, document=more, ingested_at=T0 + number * MINUTE), a_run(batch))
    for where in (ManifestFilter(), ManifestFilter(uploader="ada"), ManifestFilter(since=T0 + 3 * MINUTE)):
        page = Page(limit=2)
        while True:
            whole, short = await ledger.list_manifests(where, page), await ledger.list_manifest_summaries(where, page)
            assert [each.batch_id for each in short.items] == [each.batch_id for each in whole.items]
            assert short.next_cursor == whole.next_cursor
            if short.next_cursor is None:
                break
            page = replace(page, cursor=short.next_cursor)
