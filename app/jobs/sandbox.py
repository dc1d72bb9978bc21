"""The sandbox of a worker's processes: an environment without secrets, and Landlock rules around what reads sources.

Landlock is part of the kernel (5.13 and later; network rules since 6.7). Without it the process stays unrestricted, and
`doctor` reports that. Its rules hold for the calling thread and those that it starts later, and are never lifted.
"""

from __future__ import annotations

import ctypes
import os
import site
import struct
import sys
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import app

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446  # the same numbers on all architectures
_VERSION_FLAG = 1
_PATH_BENEATH = 1
_PR_SET_NO_NEW_PRIVS = 38

# Bits of `enum landlock_access_fs`, and the first ABI that has the later ones.
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR, _REMOVE_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4
_MAKE_DIR = 1 << 7
_REMOVE_AND_MAKE = sum(1 << bit for bit in range(4, 13))
_REFER, _TRUNCATE, _IOCTL_DEV = 1 << 13, 1 << 14, 1 << 15
_SINCE = {_REFER: 2, _TRUNCATE: 3, _IOCTL_DEV: 5}
_ON_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEV
_READ = _READ_FILE | _READ_DIR
_WRITE = _WRITE_FILE | _REMOVE_AND_MAKE | _REFER | _TRUNCATE
_BIND_TCP, _CONNECT_TCP = 1, 2
_ABSTRACT_SOCKETS, _SIGNALS = 1, 2

# What libraries look up while they read: the machine and the time zone. No name resolution, no certificates, and no
# /proc/self/environ.
_SYSTEM = (
    *("/usr", "/lib", "/lib64", "/etc/ld.so.cache", "/etc/localtime"),
    *("/proc/cpuinfo", "/proc/meminfo", "/proc/stat", "/proc/sys/vm", "/sys/devices/system", "/sys/fs/cgroup"),
    *(f"/proc/self/{name}" for name in ("cgroup", "maps", "mountinfo", "stat", "statm", "status")),
    *("/sys/kernel/mm", "/dev/urandom", "/dev/null"),
)
# What Python, the C library and the clients of the service's servers read; all others are removed.
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "TZ", "TMPDIR", "NO_PROXY", "no_proxy")
_KEPT_ALSO = ("SSL_CERT_FILE", "SSL_CERT_DIR", "AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "HTTPS_PROXY", "HTTP_PROXY")
_KEPT_PREFIXES = ("LC_", "PYTHON", "COVERAGE_")


def landlock_version() -> int:
    """The ABI version of Landlock; 0 where the kernel has none, or it is switched off."""
    return max(0, _syscall(_CREATE_RULESET, None, 0, _VERSION_FLAG))


def kept_environment(kept_prefixes: Sequence[str] = ()) -> dict[str, str]:
    """The variables that Python and its clients need. kept_prefixes: beginnings of the names of further ones."""
    names = (*_KEPT, *_KEPT_ALSO)
    prefixes = (*_KEPT_PREFIXES, *kept_prefixes)
    return {name: value for name, value in os.environ.items() if name in names or name.startswith(prefixes)}


def forget_environment(settings: Mapping[str, str], kept_prefixes: Sequence[str] = ()) -> None:
    """Remove all variables that Python and the clients of our servers do not need, for this process and its children.

    The memory behind /proc/PID/environ is overwritten, because removing variables leaves their values there.

    Args:
        settings: variables to set.
        kept_prefixes: beginnings of the names of further variables to keep.
    """
    kept = kept_environment(kept_prefixes)
    os.environ.clear()
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    start, end = int(fields[47]), int(fields[48])
    if start and end > start:
        ctypes.memset(start, 0, end - start)
    os.environ.update({**kept, **settings})


def sandbox_job(*places: Path) -> int:
    """Restrict the whole process: no program is started, no port is opened, and only these files and the files below
    these directories and the temporary one are written. Call it before there are threads.

    Returns:
        The version of Landlock; 0 without it.
    """
    devices = [Path("/dev/null"), Path("/dev/shm")]  # noqa: S108 # POSIX shared memory, where something needs it
    rules = [_Rule(path, _WRITE) for path in (*places, Path(tempfile.gettempdir()), *devices)]
    return _restrict(_EXECUTE | _WRITE, rules, net=_BIND_TCP)


def sandbox_reader(scratch: Path, *readable: Path) -> int:
    """The process that reads sources: files of `scratch` and of the installed software, and nothing else. No TCP, no
    abstract socket, no signal to a process outside.

    Args:
        scratch: an existing directory, in which everything may be done.
        readable: further directories that may be read.

    Returns:
        The version of Landlock; 0 without it.
    """
    rules = [_Rule(path, _READ) for path in (*_software(), *map(Path, _SYSTEM), *readable)]
    rules.append(_Rule(scratch, _READ | _WRITE))
    rules.append(_Rule(Path("/dev/null"), _WRITE_FILE | _READ_FILE))
    return _restrict(
        _EXECUTE | _READ | _WRITE, rules, net=_BIND_TCP | _CONNECT_TCP, scoped=_ABSTRACT_SOCKETS | _SIGNALS
    )


@dataclass(frozen=True, slots=True)
class _Rule:
    path: Path
    access: int


def _software() -> set[Path]:
    """Where Python, its packages and this one lie."""
    own = Path(app.__file__).resolve().parent
    # The working directory is on the path of a `python -m`; what else lies there is not software.
    searched = {path for path in map(Path, sys.path) if path.is_absolute() and path not in (Path.cwd(), own.parent)}
    return {own, *searched, *map(Path, (sys.prefix, sys.base_prefix, sys.exec_prefix, *site.getsitepackages()))}


def _restrict(access: int, rules: Iterable[_Rule], *, net: int, scoped: int = 0) -> int:
    version = landlock_version()
    if not version:
        return 0
    access = sum(1 << bit for bit in range(16) if access & (1 << bit) and version >= _SINCE.get(1 << bit, 1))
    words = [access]
    if version >= 4:
        words.append(net)
    if version >= 6:
        words.append(scoped)
    attributes = struct.pack(f"={len(words)}Q", *words)
    ruleset = _checked(_syscall(_CREATE_RULESET, attributes, len(attributes), 0))
    try:
        for rule in rules:
            _allow(ruleset, rule, access)
        _libc().prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
        _checked(_syscall(_RESTRICT_SELF, ruleset, 0))
    finally:
        os.close(ruleset)
    return version


def _allow(ruleset: int, rule: _Rule, handled: int) -> None:
    try:
        opened = os.open(rule.path, os.O_PATH | os.O_CLOEXEC)
    except OSError:  # not on this machine
        return
    try:
        wanted = rule.access & handled & (~0 if rule.path.is_dir() else _ON_FILES)
        if wanted:
            _checked(_syscall(_ADD_RULE, ruleset, _PATH_BENEATH, struct.pack("=Qi", wanted, opened), 0))
    finally:
        os.close(opened)


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _syscall(*arguments: int | bytes | None) -> int:
    return int(_libc().syscall(*(ctypes.c_long(a) if isinstance(a, int) else a for a in arguments)))


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock: {os.strerror(number)}")
    return result
