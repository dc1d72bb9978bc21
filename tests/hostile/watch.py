"""Watching processes from outside, with strace: what they open, change, start and connect to, tried or done."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.service import wait_for

_CALLS = (
    "connect,bind,sendto,sendmsg,execve,execveat,open,openat,openat2,creat,truncate,mkdir,mkdirat,rmdir,unlink,unlinkat,"
    "rename,renameat,renameat2,link,linkat,symlink,symlinkat,mknod,mknodat,chmod,fchmodat"
)
_LINE = re.compile(r"^(?P<thread>\d+) +(?:\[[^]]*\] +)?(?P<call>[a-z0-9_]+)\((?P<rest>.*)$")
_PATH = re.compile(r'(?:(?:AT_FDCWD|\d+)<(?P<folder>[^>]*)>, )?"(?P<name>(?:[^"\\]|\\.)*)"')
_ADDRESS = re.compile(r"sa_family=(AF_INET6?|AF_NETLINK|AF_PACKET)")
_OPENS = frozenset({"open", "openat", "openat2"})
_STARTS = frozenset({"execve", "execveat"})
_TALKS = frozenset({"connect", "bind", "sendto", "sendmsg"})


def can_trace() -> bool:
    """Whether strace is here and may trace."""
    program = shutil.which("strace")
    return (
        program is not None and subprocess.run([program, "-qq", "-o", "/dev/null", "true"], check=False).returncode == 0
    )


@contextmanager
def traced(pid: int, into: Path) -> Iterator[None]:
    """All calls of the process and of its children, from now on, in that file."""
    command = ["strace", "-f", "-y", "-qq", "-s", "512", "-e", f"trace={_CALLS}", "-o", str(into), "-p", str(pid)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as tracer:
        wait_for(lambda: _is_traced(pid) or tracer.poll() is not None, "strace to attach")
        assert tracer.poll() is None, tracer.stderr.read() if tracer.stderr else ""
        try:
            yield
        finally:
            tracer.terminate()


def _is_traced(pid: int) -> bool:
    return "TracerPid:\t0" not in Path(f"/proc/{pid}/status").read_text()


@dataclass(frozen=True, slots=True)
class Rules:
    """writable: below these everything may be changed. baits: names that nobody may so much as mention."""

    writable: Sequence[Path]
    baits: Sequence[str]


def violations(lines: Iterable[str], rules: Rules) -> list[str]:
    """The calls that break the rules, whether the kernel let them or not."""
    return [f"{reason}: {line[:300].strip()}" for line in lines if (reason := _reason(line, rules))]


def _reason(line: str, rules: Rules) -> str | None:
    found = _LINE.match(line)
    if found is None:
        return None
    call, rest = found["call"], found["rest"]
    if call in _STARTS:
        return "starts a program"
    if call in _TALKS:
        return "talks to an address" if _ADDRESS.search(rest) else None
    paths = [_full(match["folder"], match["name"]) for match in _PATH.finditer(rest)]
    if any(bait in path for path in paths for bait in rules.baits):
        return "touches a bait"
    if call in _OPENS and not re.search(r"O_(WRONLY|RDWR|CREAT|TRUNC|TMPFILE)", rest):
        return None
    if call in ("symlink", "symlinkat"):
        paths = paths[-1:]
    outside = [path for path in paths if not any(path.is_relative_to(root) for root in rules.writable)]
    return "changes something outside" if outside else None


class _Path(str):
    """A path as text that need not exist."""

    __slots__ = ()

    def is_relative_to(self, root: Path) -> bool:
        return self == str(root) or self.startswith(f"{root}/")


def _full(folder: str | None, name: str) -> _Path:
    import os.path

    return _Path(os.path.normpath(os.path.join(folder or "/", name)))  # noqa: PTH118 # need not exist
