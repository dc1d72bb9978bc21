"""What the end of a job's process is called: by its status, by the kernel's counts, by what the job noted."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from app.jobs import watch
from app.jobs.death import cause_of_death
from app.jobs.oom_kills import oom_kills
from app.jobs.shared_state import SharedJobState
from app.models.runs.attempt import AttemptOutcome
from app.settings import RunSettings, Settings

GIB = 2**30
V2 = "low 0\nhigh 3\nmax 21\noom 2\noom_kill 2\noom_group_kill 0\n"
V1 = "oom_kill_disable 0\nunder_oom 0\noom_kill 7\n"
VMSTAT = "pgfault 1\noom_kill 5\ncompact_stall 0\n"
V2_MOUNT = "30 24 0:26 {root} /sys/fs/cgroup rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n"
V1_MOUNT = "35 30 0:31 {root} /sys/fs/cgroup/memory rw,relatime shared:9 - cgroup cgroup rw,memory\n"


def died(status: int, **more: object) -> tuple[AttemptOutcome, str]:
    end = cause_of_death(status, {"step": "transform", "file": "a.gpkg"}, **{"memory_limit": GIB, **more})  # type: ignore[arg-type] # of a test
    assert (end.step, end.file) == ("transform", "a.gpkg")
    assert end.detail.endswith(" in step transform while processing a.gpkg")
    return end.outcome, end.detail


@pytest.mark.parametrize(
    ("number", "outcome"),
    [
        (signal.SIGSEGV, AttemptOutcome.SEGFAULT),
        (signal.SIGBUS, AttemptOutcome.SEGFAULT),
        (signal.SIGABRT, AttemptOutcome.ABORTED),
        (signal.SIGILL, AttemptOutcome.ABORTED),
        (signal.SIGKILL, AttemptOutcome.KILLED),
        (signal.SIGTERM, AttemptOutcome.KILLED),
        (signal.SIGRTMIN + 3, AttemptOutcome.ABORTED),
    ],
)
def test_signals_are_told_apart(number: int, outcome: AttemptOutcome) -> None:
    """With the status of a real process that died of it."""
    pid = os.fork()
    if pid == 0:
        signal.signal(number, signal.SIG_DFL) if number != signal.SIGKILL else None
        os.kill(os.getpid(), number)
        os._exit(0)
    found, reason = died(os.waitpid(pid, 0)[1])
    assert found is outcome
    assert f"signal {int(number)}" in reason


def test_the_kernels_kill_is_not_somebodys() -> None:
    outcome, reason = died(signal.SIGKILL, by_kernel=True, most_memory=GIB // 2)
    assert outcome is AttemptOutcome.OUT_OF_MEMORY
    assert "512 MiB" in reason
    assert died(signal.SIGSEGV, by_kernel=True)[0] is AttemptOutcome.SEGFAULT


def test_a_library_that_gives_up_at_the_limit_met_the_limit() -> None:
    assert died(signal.SIGABRT, most_memory=GIB - 1)[0] is AttemptOutcome.MEMORY_LIMIT
    assert died(signal.SIGSEGV, most_memory=GIB // 2)[0] is AttemptOutcome.SEGFAULT
    assert died(signal.SIGKILL, most_memory=GIB)[0] is AttemptOutcome.KILLED


def test_a_library_that_said_so_had_no_memory() -> None:
    """Also far below the limit: a large block does not fit, a small one would. The C library ends with status 127."""
    for status in (signal.SIGABRT, signal.SIGSEGV, 127 << 8):
        outcome, reason = died(status, most_memory=GIB // 3, had_no_memory=True)
        assert outcome is AttemptOutcome.MEMORY_LIMIT
        assert "1024 MiB" in reason
    assert died(signal.SIGKILL, had_no_memory=True)[0] is AttemptOutcome.KILLED


def test_an_exit_status_is_said() -> None:
    outcome, reason = died(3 << 8)
    assert (outcome, "exit status 3" in reason) == (AttemptOutcome.ABORTED, True)


def test_notes_are_read_by_the_parent_of_a_process_that_died() -> None:
    notes = SharedJobState()
    notes.clear()
    pid = os.fork()
    if pid == 0:
        notes.write(step="load", file="ä.gpkg")
        notes.write(step="transform")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    assert notes.read() == {"step": "transform", "file": "ä.gpkg"}
    assert not notes.done


def test_notes_that_do_not_fit_leave_the_ones_before() -> None:
    notes = SharedJobState()
    notes.clear()
    notes.write(step="load")
    notes.write(file="x" * 100_000)
    assert notes.read() == {"step": "load"}


def test_a_reader_beside_a_busy_writer_gets_complete_states_in_order() -> None:
    state = SharedJobState()
    state.clear()
    state.write(n=0, text="")
    pid = os.fork()
    if pid == 0:
        for n in range(1, 10**9):
            state.write(n=n, text=str(n) * (n % 1500))
    try:
        seen, until = [], time.monotonic() + 1
        while time.monotonic() < until:
            found = state.read()
            assert found["text"] == str(found["n"]) * (found["n"] % 1500)
            seen.append(found["n"])
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    assert seen == sorted(seen)
    assert len(set(seen)) > 20
    # The writer died at any moment, maybe in the middle of a write; the next one goes on from there.
    last = state.read()["n"]
    assert last >= seen[-1]
    state.clear()
    assert state.read() == {}


def test_a_write_that_was_broken_off_leaves_the_state_before() -> None:
    state = SharedJobState()
    state.clear()
    state.write(step="load")
    state.write(step="transform")
    newest = bytes(state._memory).index(b"transform")
    state._memory[newest : newest + 4] = b"torn"
    assert state.read() == {"step": "load"}


def test_the_watch_survives_any_error_logs_it_once_and_renews_the_lease(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    renewals = []

    async def renew(run_id: str) -> None:
        renewals.append(run_id)
        raise RuntimeError("of the driver")

    def fail(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(watch, "beat", fail)
    monkeypatch.setattr(watch.job_state, "read", fail)
    settings = Settings(data_dir=tmp_path, run=RunSettings.model_validate({"heartbeat_seconds": 0.01}))
    with watch.JobWatch("r", 3600, settings, renew, lambda: 0) as watched:
        until = time.monotonic() + 20
        while len(renewals) < 5 and time.monotonic() < until:
            time.sleep(0.01)
        assert watched._thread.is_alive()
    assert len(renewals) >= 5
    assert sum("the watch failed" in line for line in caplog.messages) == 3


def tree(root: Path, groups: str, mounts: str, **files: str) -> Path:
    for name, text in {"proc/self/cgroup": groups, "proc/self/mountinfo": mounts, **files}.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_count_of_version_2_is_that_of_the_own_group(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/worker.slice/memory.events": V2, "proc/vmstat": VMSTAT}
    assert oom_kills(tree(tmp_path, "0::/worker.slice\n", V2_MOUNT.format(root="/"), **files)) == 2


def test_the_count_within_a_container(tmp_path: Path) -> None:
    """Its mount begins at its own group, whatever the group is called outside."""
    own = "/docker/0123"
    v2 = tree(tmp_path / "2", f"0::{own}\n", V2_MOUNT.format(root=own), **{"sys/fs/cgroup/memory.events": V2})
    assert oom_kills(v2) == 2
    files = {"sys/fs/cgroup/memory/memory.oom_control": V1}
    assert oom_kills(tree(tmp_path / "1", f"4:memory:{own}\n", V1_MOUNT.format(root=own), **files)) == 7


def test_the_count_of_version_1_beside_an_empty_version_2(tmp_path: Path) -> None:
    files = {"sys/fs/cgroup/memory/a/memory.oom_control": V1, "proc/vmstat": VMSTAT}
    groups, mounts = "4:memory:/a\n0::/\n", V1_MOUNT.format(root="/") + V2_MOUNT.format(root="/")
    assert oom_kills(tree(tmp_path, groups, mounts, **files)) == 7


def test_the_count_of_the_host_where_no_group_tells(tmp_path: Path) -> None:
    assert oom_kills(tree(tmp_path, "0::/\n", V2_MOUNT.format(root="/"), **{"proc/vmstat": VMSTAT})) == 5
    assert oom_kills(tmp_path / "nothing") is None


def test_this_machine_has_a_count() -> None:
    assert isinstance(oom_kills(), int)
