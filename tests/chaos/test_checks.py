"""Each check of the campaign finds what it is there for: evidence in which all is well, bent in one place."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from chaos import checks
from chaos.book import Book, Entry
from chaos.client import Answers
from chaos.evidence import Evidence

BYTES = (10, "sha256:aa")
Bend = Callable[[Evidence], object]


def evidence() -> Evidence:
    """Two manifests: one made a version of its own, one failed as it had to."""
    book = Book()
    book.add(Entry("good", {}, "1" * 32, rows=5))
    book.add(Entry("bad", {}, "2" * 32, error="file_missing"))
    found = Evidence(book, Answers(), max_attempts=8)
    found.manifests = {
        "good": {"batch_id": "good", "status": "success", "object_key": None},
        "bad": {"batch_id": "bad", "status": "failure", "object_key": None},
    }
    found.runs = {
        "1" * 32: run("1" * 32, "good", "success", reserved_version=1, counts={"rows_out": 5}),
        "2" * 32: run("2" * 32, "bad", "failure", error={"code": "file_missing"}),
    }
    found.events = {
        "1" * 32: [event(1, "attempt.started", "Attempt 1 started."), event(2, "run.success", "")],
        "2" * 32: [event(1, "attempt.started", "Attempt 1 started."), event(2, "run.failure", "")],
    }
    file = {"s3_key": "good/v1/data.parquet", "size": 10, "content_hash": "sha256:aa"}
    inputs = [{"s3_key": "in/x", "size": 1}]
    found.assets = [{"dataset_id": "good", "version": 1, "run_id": "1" * 32, "inputs": inputs, "metadata": {}, **file}]
    found.activity = [
        {"action": "manifest.accepted", "resource_id": "good"},
        {"action": "manifest.accepted", "resource_id": "bad"},
        {"action": "run.success", "resource_id": "1" * 32},
        {"action": "run.failure", "resource_id": "2" * 32},
    ]
    found.deliveries = [{"delivery_id": "d", "status": "done"}]
    found.counters = {"good": 1}
    found.totals = {"success": 1, "failure": 1, "queued": 0}
    found.documents = {"manifests": 2, "runs": 2, "assets": 1, "run_events": 4}
    found.lake = {"good/v1/data.parquet": BYTES}
    found.memory = {"api": 120.0}
    return found


def run(run_id: str, batch_id: str, status: str, **more: object) -> dict[str, object]:
    empty = dict.fromkeys(("error", "reserved_version", "unchanged_version"))
    return {
        "run_id": run_id, "batch_id": batch_id, "partition_key": batch_id, "status": status, "attempt": 1, "counts": {},
        "created_at": "2026-01-01T00:00:00Z", **empty, **more,
    }  # fmt: skip


def event(seq: int, code: str, message: str) -> dict[str, object]:
    return {"seq": seq, "code": code, "message": message}


def good(found: Evidence) -> dict[str, object]:
    return found.runs["1" * 32]


def answer(status: int, **more: object) -> Bend:
    def bend(found: Evidence) -> None:
        found.answers.add("GET /runs", httpx.Response(status, **more))  # type: ignore[arg-type] # keywords of httpx

    return bend


def problem(code: str, **headers: str) -> Bend:
    body = {"code": code, "detail": "The ledger is away.", "status": 503}
    return answer(503, json=body, headers={"content-type": "application/problem+json", **headers})


BENT: list[tuple[checks.Check, str, Bend]] = [
    (checks.every_accepted_manifest_has_one_outcome, "is not in the ledger", lambda e: e.manifests.pop("good")),
    (checks.every_accepted_manifest_has_one_outcome, "has no run", lambda e: e.runs.pop("1" * 32)),
    (checks.every_accepted_manifest_has_one_outcome, "is queued", lambda e: good(e).update(status="queued")),
    (checks.every_accepted_manifest_has_one_outcome, "has 2 runs",
     lambda e: e.runs.update({"3" * 32: run("3" * 32, "good", "success")})),
    (checks.every_accepted_manifest_has_one_outcome, "is not in the ledger",
     lambda e: setattr(e.book.entries["good"], "run_id", "4" * 32)),
    (checks.every_accepted_manifest_has_one_outcome, "its newest run success",
     lambda e: e.manifests["good"].update(status="running")),
    (checks.every_accepted_manifest_has_one_outcome, "not kept as rejected",
     lambda e: e.book.bad_drops.append("m.json")),
    (checks.every_outcome_is_the_right_one, "4 rows of 5", lambda e: good(e).update(counts={"rows_out": 4})),
    (checks.every_outcome_is_the_right_one, "nothing to fail for",
     lambda e: good(e).update(status="failure", error={"code": "internal_error"})),
    (checks.every_outcome_is_the_right_one, "after 1 attempts of 8",
     lambda e: good(e).update(status="failure", error={"code": "attempts_used_up"})),
    (checks.every_outcome_is_the_right_one, "no client asked", lambda e: good(e).update(status="canceled")),
    (checks.every_outcome_is_the_right_one, "should have failed", lambda e: e.runs["2" * 32].update(status="success")),
    (checks.every_answer_was_right, "no 409", lambda e: e.book.complain("no 409")),
    (checks.every_5xx_is_a_problem, "no problem+json", answer(503, text="busy")),
    (checks.every_5xx_is_a_problem, "no Retry-After", problem("ledger_unavailable")),
    (checks.every_5xx_is_a_problem, "an unknown error", problem("internal_error", **{"retry-after": "5"})),
    (checks.versions_are_gapless_or_explained, "has no v1",
     lambda e: e.assets[0].update(version=2) or e.counters.update(good=2)),
    (checks.versions_are_gapless_or_explained, "its counter says 0", lambda e: e.counters.clear()),
    (checks.versions_are_gapless_or_explained, "is there 2 times", lambda e: e.assets.append(e.assets[0])),
    (checks.versions_are_gapless_or_explained, "reserved by 2 runs",
     lambda e: e.runs["2" * 32].update(partition_key="good", reserved_version=1)),
    (checks.every_version_is_of_a_successful_run, "which is canceled", lambda e: good(e).update(status="canceled")),
    (checks.every_version_is_of_a_successful_run, "without its version", lambda e: e.assets.clear()),
    (checks.every_byte_is_as_the_catalogue_says, "is not in the lake", lambda e: setattr(e, "lake", {})),
    (checks.every_byte_is_as_the_catalogue_says, "sha256:bb",
     lambda e: setattr(e, "lake", {"good/v1/data.parquet": (10, "sha256:bb")})),
    (checks.every_byte_is_as_the_catalogue_says, "not what was uploaded", lambda e: e.book.uploads.update(x="aa")),
    (checks.lineage_is_whole, "names no inputs", lambda e: e.assets[0]["inputs"].clear()),
    (checks.lineage_is_whole, "which is not there",
     lambda e: e.assets[0]["inputs"].append({"dataset_id": "parent", "version": 3})),
    (checks.nothing_is_left_over, "orphaned object", lambda e: setattr(e, "lake", {**e.lake, "good/v1/more": BYTES})),
    (checks.nothing_is_left_over, "orphaned schema", lambda e: e.schemas.append("proc_1")),
    (checks.nothing_is_left_over, "left on the disk", lambda e: e.scratch.append("scratch/1.1")),
    (checks.nothing_is_left_over, "still running", lambda e: e.processes.append("17 python")),
    (checks.no_run_was_without_a_deadline, "without a lease",
     lambda e: e.without_deadline.append("run 1 without a lease")),
    (checks.no_run_was_without_a_deadline, "is not done", lambda e: e.deliveries[0].update(status="received")),
    (checks.events_tell_what_happened, "have gaps", lambda e: e.events["1" * 32][1].update(seq=3)),
    (checks.events_tell_what_happened, "its log says []", lambda e: e.events["1" * 32].pop()),
    (checks.events_tell_what_happened, "'run.success', 'run.success'",
     lambda e: e.events["1" * 32].append(event(3, "run.success", ""))),
    (checks.events_tell_what_happened, "attempt.started [1, 1]",
     lambda e: e.events["1" * 32].append(event(3, "attempt.started", "Attempt 1 started."))),
    (checks.events_tell_what_happened, "attempt.started [2] of 1",
     lambda e: e.events["1" * 32][0].update(message="Attempt 2 started.")),
    (checks.the_audit_is_complete, "0 times", lambda e: e.activity.pop(0)),
    (checks.the_audit_is_complete, "2 times", lambda e: e.activity.append(e.activity[2])),
    (checks.counters_agree_with_the_documents, "/metrics has 2", lambda e: e.totals.update(success=2)),
    (checks.counters_agree_with_the_documents, "assets: 2 in the ledger", lambda e: e.documents.update(assets=2)),
    (checks.memory_is_bounded, "grew to 900 MiB", lambda e: e.memory.update(sweep=900.0)),
    (checks.logs_keep_secrets, "has a secret", lambda e: e.leaks.append("api.log has a secret")),
    (checks.nothing_else_went_wrong, "fault 3", lambda e: e.problems.append("fault 3")),
]  # fmt: skip


def test_where_all_is_well_no_check_complains() -> None:
    found = evidence()
    assert {check.__name__: check(found) for check in checks.CHECKS} == {check.__name__: [] for check in checks.CHECKS}


@pytest.mark.parametrize(("check", "said", "bend"), BENT, ids=[f"{check.__name__}-{said}" for check, said, _ in BENT])
def test_a_check_sees_what_is_wrong(check: checks.Check, said: str, bend: Bend) -> None:
    found = evidence()
    bend(found)
    assert any(said in fault for fault in check(found)), check(found)


def test_every_check_has_been_seen_to_fail() -> None:
    assert {check for check, _, _ in BENT} == set(checks.CHECKS)


def test_what_faults_explain_is_no_fault() -> None:
    """What killed workers cost, and what is away while it is away, is no fault."""
    found = evidence()
    good(found).update(status="failure", attempt=8, error={"code": "attempts_used_up"})
    problem("ledger_unavailable", **{"retry-after": "5"})(found)
    assert checks.every_outcome_is_the_right_one(found) == []
    assert checks.every_5xx_is_a_problem(found) == []
