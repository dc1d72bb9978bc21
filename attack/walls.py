"""The walls around readers, jobs and the queue, tried from inside: the tests of them, run here."""

from __future__ import annotations

import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

from attack.report import Part, none_of, progress

ROOT = Path(__file__).parents[1]
# What a reader, a job and a worker may do, tried inside such processes and looked at from outside.
TRIALS = (
    "tests/hostile/test_confinement.py",
    "tests/unit/test_seccomp.py",
    "tests/unit/test_job_side.py",
    "tests/unit/test_channel.py",
    "tests/faults/test_queue_rights.py",
    "tests/faults/test_postgis_rights.py",
)
_SHORT_TRIALS = TRIALS[:4]
_LONGEST = 1800


def walls(folder: Path, *, short: bool, seed: int) -> Part:
    """Run the trials of `TRIALS`."""
    del seed
    trials = _SHORT_TRIALS if short else TRIALS
    part = Part("walls", "what code that took over a reader, a job or the queue reaches")
    folder.mkdir()
    progress(f"walls: {len(trials)} modules of tests")
    report = folder / "report.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={report}", f"--basetemp={folder / 'tmp'}", *trials]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True, timeout=_LONGEST)  # noqa: S603 # ours
    cases = list(ET.parse(report).iter("testcase")) if report.exists() else []  # noqa: S314 # pytest wrote it
    wrong = [case for case in cases if case.find("failure") is not None or case.find("error") is not None]
    skipped = [(case, reason) for case in cases if (reason := case.find("skipped")) is not None]
    part.about["trials"] = f"{len(cases) - len(skipped)} tests of {len(trials)} modules"
    part.untried += sorted({f"{case.get('name')}: {reason.get('message')}" for case, reason in skipped})
    part.checks.append(none_of("trials that got through", [str(case.get("name")) for case in wrong]))
    ended = [] if cases and (done.returncode == 0 or wrong) else [done.stdout[-500:] + done.stderr[-500:]]
    part.checks.append(none_of("trials that could not begin", ended))
    return part
