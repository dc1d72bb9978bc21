"""A batch id that a rejected manifest has is told, on every ledger."""

from __future__ import annotations

import pytest

from app.errors import BatchConflict
from app.ledger import Ledger
from app.models.manifests.manifest import ManifestStatus
from tests.contract.ledgers import a_manifest, a_run

pytestmark = pytest.mark.anyio


async def test_the_id_of_a_rejected_manifest_cannot_be_accepted(ledger: Ledger) -> None:
    name = "rejected.0123456789abcdef"
    kept = await ledger.reject_manifest(a_manifest(name, status=ManifestStatus.REJECTED))
    run = a_run(name)
    with pytest.raises(BatchConflict, match=name):
        await ledger.accept(a_manifest(name), run)
    assert await ledger.get_manifest(name) == kept
    assert await ledger.get_run(run.run_id) is None
