"""What a change tells is written with it, once, and not without it: over every ledger."""

from __future__ import annotations

from typing import Any

import pytest

from app.ledger import Guard, Ledger
from app.ledger.outbox import LogLine, Outbox
from app.models.manifests.manifest import ManifestStatus
from app.models.page import Page
from app.models.runs.activity import Activity
from app.models.runs.run import RunStatus
from tests.contract.ledgers import MINUTE, T0, a_manifest, a_run, put_run

pytestmark = pytest.mark.anyio

QUEUED, RUNNING = frozenset({RunStatus.QUEUED}), frozenset({RunStatus.RUNNING})


def told(*words: str) -> Outbox:
    """For each word a line and an entry."""
    lines = tuple(LogLine(word, f"about {word}", "warning", "load", {"of": {word: [1]}}) for word in words)
    of_whom: dict[str, Any] = {"timestamp": T0, "user": "ada", "ip": "192.0.2.1"}
    of_what: dict[str, Any] = {"resource_type": "run", "resource_id": "r", "details": {"n": 1}}
    entries = tuple(Activity(action=word, **of_whom, **of_what) for word in words)
    return Outbox(lines, entries)


async def said(ledger: Ledger, run_id: str) -> tuple[list[str], list[str]]:
    """The log, and the audit trail, in the order in which they were written."""
    events = await ledger.list_events(run_id)
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    entries = (await ledger.list_activity(Page(limit=100))).items
    return [event.code for event in events], [entry.action for entry in reversed(entries)]


async def test_a_change_tells_its_lines_and_entries_in_their_order(ledger: Ledger) -> None:
    run = await put_run(ledger)
    await ledger.add_event(run.run_id, code="before", message="")
    asked = told("one", "two")
    assert await ledger.change_run(run.run_id, Guard(QUEUED), asked, status=RunStatus.RUNNING, attempt=1) is not None
    await ledger.add_event(run.run_id, code="after", message="")
    assert await said(ledger, run.run_id) == (["before", "one", "two", "after"], ["one", "two"])
    line = (await ledger.list_events(run.run_id))[1]
    assert (line.level, line.step, line.message) == ("warning", "load", "about one")
    assert dict(line.data) == {"of": {"one": [1]}}
    assert (await ledger.list_activity(Page(limit=1))).items[0] == asked.entries[1]


async def test_a_change_that_is_not_made_tells_nothing(ledger: Ledger) -> None:
    run = await put_run(ledger)
    assert await ledger.change_run(run.run_id, Guard(RUNNING), told("lost"), step="load") is None
    assert await ledger.change_run("nobody", Guard(QUEUED), told("lost"), step="load") is None
    assert await ledger.add_run(a_run(run.batch_id, retry_of=run.run_id, created_at=T0 + MINUTE), told("lost")) is None
    again = await ledger.accept(a_manifest(run.batch_id), a_run(run.batch_id), told("lost"))
    assert not again.created
    assert await said(ledger, run.run_id) == ([], [])


async def test_what_is_accepted_added_or_rejected_is_told(ledger: Ledger) -> None:
    run = a_run("batch")
    await ledger.accept(a_manifest("batch"), run, told("accepted"))
    over = {"status": RunStatus.CANCELED, "completed_at": T0}
    assert await ledger.change_run(run.run_id, Guard(QUEUED), told("canceled"), **over) is not None
    further = a_run("batch", retry_of=run.run_id, created_at=T0 + MINUTE)
    assert await ledger.add_run(further, told("again")) == further
    rejected = a_manifest("rejected.1", status=ManifestStatus.REJECTED)
    for _ in range(2):
        await ledger.reject_manifest(rejected, Outbox(entries=told("rejected").entries))
    assert await said(ledger, run.run_id) == (["accepted", "canceled"], ["accepted", "canceled", "again", "rejected"])
    assert (await said(ledger, further.run_id))[0] == ["again"]
