"""Reading several runs at once, on every ledger."""

from __future__ import annotations

import pytest

from app.ledger import Ledger
from tests.contract.ledgers import put_run

pytestmark = pytest.mark.anyio


async def test_the_runs_that_there_are_come_and_the_others_do_not(ledger: Ledger) -> None:
    first, second = await put_run(ledger), await put_run(ledger)
    found = await ledger.get_runs((first.run_id, "there is none", second.run_id, first.run_id))
    assert {run.run_id: run for run in found} == {first.run_id: first, second.run_id: second}
    assert len(found) == 2
    assert await ledger.get_runs(()) == ()


@pytest.mark.parametrize("hostile", ["a\0b", "\ud800", "$where", "x" * 10_000, "'; DROP TABLE runs; --"])
async def test_an_id_that_cannot_be_does_not_spoil_the_answer_for_others(ledger: Ledger, hostile: str) -> None:
    run = await put_run(ledger)
    assert await ledger.get_runs((hostile, run.run_id)) == (run,)
