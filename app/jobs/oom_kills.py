"""How often the kernel has killed a process of this one's control group because memory ran out (Linux)."""

from __future__ import annotations

import re
from pathlib import Path

_ROOT = Path("/")


def oom_kills(root: Path = _ROOT) -> int | None:
    """The count of the own control group (version 2, else 1), else that of the whole host; None where nothing tells.

    root: where /proc and the mounts are looked for.
    """
    for path in (_control_file(root, "cgroup2", "", "memory.events"),
                 _control_file(root, "cgroup", "memory", "memory.oom_control"),
                 root / "proc" / "vmstat"):  # fmt: skip
        if path is None:
            continue
        try:
            found = re.search(r"^oom_kill (\d+)$", path.read_text(), flags=re.MULTILINE)
        except OSError:
            continue
        if found is not None:
            return int(found[1])
    return None


def _control_file(root: Path, kind: str, controller: str, name: str) -> Path | None:
    try:
        groups = (root / "proc/self/cgroup").read_text()
        mounts = (root / "proc/self/mountinfo").read_text()
    except OSError:
        return None
    # Lines such as `4:memory:/a/group`; of version 2 `0::/a/group`.
    own = next((path for _, names, path in _fields(groups) if controller in names.split(",")), None)
    if own is None:
        return None
    for line in mounts.splitlines():
        head, _, tail = line.partition(" - ")
        what = tail.split(" ")
        if what[0] != kind or (controller and controller not in what[-1].split(",")):
            continue
        # A container sees a part of the tree: what lies above it is neither in the mount nor to be asked for.
        base, place = head.split(" ")[3:5]
        inside = own if base == "/" else own.removeprefix(base)
        return root / place.lstrip("/") / inside.lstrip("/") / name
    return None


def _fields(groups: str) -> list[tuple[str, str, str]]:
    parts = [line.split(":", 2) for line in groups.splitlines()]
    return [(each[0], each[1], each[2]) for each in parts if len(each) == 3]
