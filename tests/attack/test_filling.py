"""A ledger that the database filled is one that the service could have filled."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Connection, select

from app.ledger import AssetFilter, RunFilter
from app.models.manifests.manifest import Manifest
from app.models.page import Page
from app.models.runs.run import RunStatus
from app.storage.sql import tables
from attack.filling import BUSY, Size, filled
from tests.contract.ledgers import BACKENDS

pytestmark = pytest.mark.anyio

SIZE = Size(80, 4)
ALL = Page(limit=1000)


@pytest.mark.parametrize("backend", ["sqlite", "postgresql"])
async def test_everything_can_be_read_and_belongs_together(tmp_path: Path, backend: str) -> None:
    async with BACKENDS[backend].fresh(tmp_path, False) as url, filled(url, SIZE) as ledger:
        runs = (await ledger.list_runs(RunFilter(), ALL)).items
        assert [run.run_id for run in runs] == [SIZE.run_id(n) for n in range(SIZE.runs)], "newest first"
        assert {run.status for run in runs} == {RunStatus.SUCCESS}
        assets = (await ledger.list_assets(AssetFilter(), ALL)).items
        by_run = {asset.run_id: asset for asset in assets}
        versions: dict[str, set[int]] = {}
        for run in runs:
            asset = by_run[run.run_id]
            assert (asset.dataset_id, asset.created_at) == (run.partition_key, run.created_at)
            versions.setdefault(asset.dataset_id, set()).add(asset.version)
            record = await ledger.get_manifest(run.batch_id)
            assert record is not None
            assert Manifest.model_validate(record.manifest).batch_id == run.batch_id
            assert len(await ledger.list_events(run.run_id, 0, 10)) == 2
        assert versions == {BUSY: set(range(1, 41)), **{f"d{n}": set(range(1, 11)) for n in range(4)}}
        newest = (await ledger.list_assets(AssetFilter(latest_only=True, keywords=("grown",)), ALL)).items
        assert {(asset.dataset_id, asset.version) for asset in newest} == {
            (BUSY, 40),
            *((f"d{n}", 10) for n in range(4)),
        }
        totals = await ledger.totals()
        assert [total.runs for total in totals.runs if total.status is RunStatus.SUCCESS] == [SIZE.runs]
        assert [total.versions for total in totals.assets] == [SIZE.runs]
        assert len((await ledger.list_activity(ALL)).items) == SIZE.runs
        assert await ledger._db.read(_last_versions) == {name: max(found) for name, found in versions.items()}


def _last_versions(connection: Connection) -> dict[str, int]:
    return {row.dataset_id: row.last_version for row in connection.execute(select(tables.COUNTERS))}
