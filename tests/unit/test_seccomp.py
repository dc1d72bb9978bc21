"""What a process may not ask of the kernel once it reads foreign files."""

from __future__ import annotations

import ctypes
import errno
import json
import subprocess
import sys

import pytest

from app.jobs.seccomp import denied_calls

# Every denied call is made with arguments that the kernel would otherwise refuse for another reason than EPERM.
TRIALS = """
import ctypes, json, os, socket, subprocess, sys, tempfile, threading
from app.jobs.seccomp import denied_calls, deny_ways_out
left, right = socket.socketpair()
assert deny_ways_out()
libc = ctypes.CDLL(None, use_errno=True)
found = {}
for name, number in denied_calls().items():
    ctypes.set_errno(0)
    result = libc.syscall(number, -1, -1, -1, -1, -1, -1)
    found[name] = ctypes.get_errno() if result < 0 else 0
def tried(name, what):
    try:
        what()
        found[name] = 0
    except OSError as err:
        found[name] = err.errno
tried("a child", os.fork)
tried("a program", lambda: subprocess.run(["/bin/true"]))
tried("a socket", socket.socket)
left.sendall(b"x")
found["the channel"] = right.recv(1).decode()
thread = threading.Thread(target=lambda: found.update({"a thread": "ran"}))
thread.start()
thread.join()
import pyarrow as pa
import pyarrow.compute as pc
import duckdb
found["arrow"] = pc.sum(pa.array(range(1000))).as_py()
found["duckdb"] = duckdb.sql("SELECT sum(i)::INTEGER FROM range(1000) t(i)").fetchone()[0]
print(json.dumps(found))
"""


@pytest.mark.skipif(not denied_calls(), reason="the numbers of this processor's system calls are not in the table")
def test_ways_out_are_denied_and_work_goes_on() -> None:
    ran = subprocess.run([sys.executable, "-c", TRIALS], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout)
    expected = dict.fromkeys([*denied_calls(), "a child", "a program", "a socket"], errno.EPERM)
    assert found == expected | {"the channel": "x", "a thread": "ran", "arrow": 499500, "duckdb": 499500}


def test_the_filter_is_not_on_in_this_process() -> None:
    """The trials run in a process of their own: else they would prove nothing."""
    assert ctypes.CDLL(None).prctl(21, 0, 0, 0, 0) == 0
