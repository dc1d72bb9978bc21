"""What must hold after the faults. Each check returns the violations that it found; none if all is well."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable

from chaos.book import Entry
from chaos.evidence import FINAL, Evidence, Json, keys_of

# Codes with which a valid manifest may fail, because its workers were killed again and again.
EXPLAINED = ("attempts_used_up",)
MEMORY_MIB = 400.0

Check = Callable[[Evidence], list[str]]


def every_accepted_manifest_has_one_outcome(found: Evidence) -> list[str]:
    """It is in the ledger, its runs are over and no more than requested, and it shows the status of the newest one."""
    faults = []
    for entry in found.book.entries.values():
        record, runs = found.manifests.get(entry.batch_id), _runs_of(found, entry.batch_id)
        if record is None:
            faults.append(f"{entry.batch_id} was accepted and is not in the ledger")
            continue
        if not runs:
            faults.append(f"{entry.batch_id} has no run")
            continue
        if entry.run_id and entry.run_id not in {run["run_id"] for run in runs}:
            faults.append(f"{entry.batch_id}: its run {entry.run_id} is not in the ledger")
        if len(runs) > entry.runs_asked:
            faults.append(f"{entry.batch_id} has {len(runs)} runs, {entry.runs_asked} were asked for")
        faults += [f"run {run['run_id']} is {run['status']}" for run in runs if run["status"] not in FINAL]
        if record["status"] != runs[-1]["status"]:
            faults.append(f"{entry.batch_id} is {record['status']}, its newest run {runs[-1]['status']}")
    rejected = {each["object_key"] for each in found.manifests.values() if each["status"] == "rejected"}
    kept = [f"{key} was dropped, and is not kept as rejected" for key in found.book.bad_drops if key not in rejected]
    return faults + kept


def every_outcome_is_the_right_one(found: Evidence) -> list[str]:
    """Good sources succeed with all their rows, bad ones fail with their code; no other run is canceled."""
    return [
        f"run {run['run_id']} of {entry.batch_id} is {run['status']} ({(run['error'] or {}).get('code')}): {reason}"
        for entry in found.book.entries.values()
        for run in _runs_of(found, entry.batch_id)
        if run["status"] in FINAL and (reason := _what_is_wrong(run, entry, found.max_attempts))
    ]


def _what_is_wrong(run: Json, entry: Entry, max_attempts: int) -> str:
    code = (run["error"] or {}).get("code")
    if run["status"] == "canceled":
        return "" if entry.may_cancel else "no client asked for its end"
    if run["status"] == "failure":
        if code in EXPLAINED:
            return "" if run["attempt"] >= max_attempts else f"after {run['attempt']} attempts of {max_attempts}"
        return "" if entry.error in ("*", code) else "it had nothing to fail for"
    if entry.error:
        return f"it should have failed with {entry.error}"
    rows = run["counts"].get("rows_out")
    return f"{rows} rows of {entry.rows}" if entry.rows is not None and rows != entry.rows else ""


def every_answer_was_right(found: Evidence) -> list[str]:
    return list(found.book.wrong)


def every_5xx_is_a_problem(found: Evidence) -> list[str]:
    return list(found.answers.bad)


def versions_are_gapless_or_explained(found: Evidence) -> list[str]:
    """A number missing in the catalogue belongs to a run that did not succeed; no number belongs to two runs."""
    faults = []
    there: dict[str, Counter[int]] = {}
    for asset in found.assets:
        there.setdefault(asset["dataset_id"], Counter())[asset["version"]] += 1
    reserved: dict[tuple[str, int], list[Json]] = {}
    for run in found.runs.values():
        if run["reserved_version"] is not None:
            reserved.setdefault((run["partition_key"], run["reserved_version"]), []).append(run)
    for (dataset, version), runs in reserved.items():
        if len(runs) > 1:
            faults.append(f"{dataset} v{version} is reserved by {len(runs)} runs")
    for dataset, versions in there.items():
        faults += [f"{dataset} v{number} is there {times} times" for number, times in versions.items() if times > 1]
        last = found.counters.get(dataset, 0)
        if max(versions) > last:
            faults.append(f"{dataset} has v{max(versions)}, its counter says {last}")
        for number in range(1, last):
            owners = reserved.get((dataset, number), [])
            if number not in versions and not [run for run in owners if run["status"] != "success"]:
                faults.append(f"{dataset} has no v{number}, and no run that failed to publish it")
    return faults


def every_version_is_of_a_successful_run(found: Evidence) -> list[str]:
    """The reverse too: every successful run has its version."""
    faults, versions = [], {(asset["dataset_id"], asset["version"]): asset for asset in found.assets}
    for asset in found.assets:
        run = found.runs.get(asset["run_id"])
        if run is None or run["status"] != "success":
            state = "unknown" if run is None else run["status"]
            faults.append(f"{asset['dataset_id']} v{asset['version']} is of run {asset['run_id']}, which is {state}")
    for run in found.runs.values():
        number = run["unchanged_version"] or run["reserved_version"]
        if run["status"] == "success" and (run["partition_key"], number) not in versions:
            faults.append(f"run {run['run_id']} is a success without its version {run['partition_key']} v{number}")
    return faults


def every_byte_is_as_the_catalogue_says(found: Evidence) -> list[str]:
    faults = []
    for asset in found.assets:
        for key, (size, digest) in keys_of(asset).items():
            if key not in found.lake:
                faults.append(f"{key} is not in the lake")
            elif found.lake[key] != (size, digest):
                faults.append(f"{key}: {found.lake[key]} in the lake, {(size, digest)} in the catalogue")
    for key, digest in found.book.uploads.items():
        if found.landing.get(key) != digest:
            faults.append(f"{key} in the landing zone is not what was uploaded")
    return faults


def lineage_is_whole(found: Evidence) -> list[str]:
    """Each version names its inputs, and its parents exist."""
    versions = {(asset["dataset_id"], asset["version"]) for asset in found.assets}
    made = [(f"{asset['dataset_id']} v{asset['version']}", asset["inputs"]) for asset in found.assets]
    faults = [f"{name} names no inputs" for name, inputs in made if not inputs]
    parents = [
        (name, each["dataset_id"], each["version"]) for name, inputs in made for each in inputs if "dataset_id" in each
    ]
    return faults + [
        f"{name} comes from {dataset} v{version}, which is not there"
        for name, dataset, version in parents
        if (dataset, version) not in versions
    ]


def nothing_is_left_over(found: Evidence) -> list[str]:
    registered = {key for asset in found.assets for key in keys_of(asset)}
    faults = [f"orphaned object in the lake: {key}" for key in sorted(set(found.lake) - registered)]
    faults += [f"orphaned schema: {name}" for name in found.schemas]
    faults += [f"left on the disk: {name}" for name in found.scratch]
    return faults + [f"still running: {name}" for name in found.processes]


def no_run_was_without_a_deadline(found: Evidence) -> list[str]:
    late = [f"delivery {each['delivery_id']} is not done" for each in found.deliveries if each["status"] != "done"]
    return sorted(set(found.without_deadline)) + late


def events_tell_what_happened(found: Evidence) -> list[str]:
    """Numbered without gaps; each attempt begins and ends once, in order; one final event, as the run says."""
    faults = []
    for run_id, events in found.events.items():
        run = found.runs[run_id]
        if [event["seq"] for event in events] != list(range(1, len(events) + 1)):
            faults.append(f"run {run_id}: its events have gaps")
        for code in ("attempt.started", "attempt.died"):
            numbers = [
                int(re.findall(r"Attempt (\d+)", event["message"])[0]) for event in events if event["code"] == code
            ]
            if numbers != sorted(set(numbers)) or (numbers and numbers[-1] > run["attempt"]):
                faults.append(f"run {run_id}: {code} {numbers} of {run['attempt']} attempts")
        ends = [event["code"] for event in events if event["code"] in [f"run.{status}" for status in FINAL]]
        if run["status"] in FINAL and ends != [f"run.{run['status']}"]:
            faults.append(f"run {run_id} is {run['status']}, its log says {ends}")
    return faults


def the_audit_is_complete(found: Evidence) -> list[str]:
    """Every accepted manifest, every rejected one, and the end of every run, each once."""
    there = Counter((entry["action"], entry["resource_id"]) for entry in found.activity)
    wanted = []
    for record in found.manifests.values():
        action = "manifest.rejected" if record["status"] == "rejected" else "manifest.accepted"
        wanted.append((action, record["batch_id"]))
    wanted += [(f"run.{run['status']}", run["run_id"]) for run in found.runs.values() if run["status"] in FINAL]
    return [f"{action} of {name} is {there[action, name]} times in the audit" for action, name in wanted
            if there[action, name] != 1]  # fmt: skip


def counters_agree_with_the_documents(found: Evidence) -> list[str]:
    """What the metrics count, what the lists give, and what the ledger's tables hold."""
    by_status = Counter(run["status"] for run in found.runs.values())
    faults = [
        f"/metrics has {found.totals.get(status, 0)} runs in {status}, the ledger {by_status[status]}"
        for status in sorted({*found.totals, *by_status})
        if found.totals.get(status, 0) != by_status[status]
    ]
    events = sum(len(each) for each in found.events.values())
    listed = {"manifests": len(found.manifests), "runs": len(found.runs), "assets": len(found.assets)}
    return faults + [
        f"{name}: {found.documents.get(name)} in the ledger, {number} by the API"
        for name, number in {**listed, "run_events": events}.items()
        if found.documents.get(name) != number
    ]


def memory_is_bounded(found: Evidence) -> list[str]:
    return [f"{role} grew to {size:.0f} MiB" for role, size in found.memory.items() if size > MEMORY_MIB]


def logs_keep_secrets(found: Evidence) -> list[str]:
    return list(found.leaks)


def nothing_else_went_wrong(found: Evidence) -> list[str]:
    """Faults that could not be undone, roles that did not stop on SIGTERM."""
    return list(found.problems)


def _runs_of(found: Evidence, batch_id: str) -> list[Json]:
    """Oldest first."""
    runs = [run for run in found.runs.values() if run["batch_id"] == batch_id]
    return sorted(runs, key=lambda run: (run["created_at"], run["run_id"]))


CHECKS: tuple[Check, ...] = (
    every_accepted_manifest_has_one_outcome,
    every_outcome_is_the_right_one,
    every_answer_was_right,
    every_5xx_is_a_problem,
    versions_are_gapless_or_explained,
    every_version_is_of_a_successful_run,
    every_byte_is_as_the_catalogue_says,
    lineage_is_whole,
    nothing_is_left_over,
    no_run_was_without_a_deadline,
    events_tell_what_happened,
    the_audit_is_complete,
    counters_agree_with_the_documents,
    memory_is_bounded,
    logs_keep_secrets,
    nothing_else_went_wrong,
)
