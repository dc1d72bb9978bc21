"""System calls that a reader may not make, also when a file has taken it over (Linux, seccomp).

A deny list, not an allow list: which calls the C library, Arrow and GDAL make changes with their versions and with the
processor, and an allow list would make readers fail on other kernels. What is denied are the ways out: sockets, other
processes, programs, namespaces, and the kernel's large or young interfaces. Landlock holds the files.
"""

from __future__ import annotations

import ctypes
import errno
import platform
import struct

_PR_GET_SECCOMP, _PR_SET_SECCOMP, _MODE_FILTER = 21, 22, 2
_PR_SET_NO_NEW_PRIVS = 38
_ALLOW, _ERRNO, _KILL = 0x7FFF0000, 0x00050000, 0x80000000
_CLONE_THREAD = 0x00010000
_X32 = 0x40000000
# Offsets in struct seccomp_data.
_NUMBER, _ARCHITECTURE, _FIRST_ARGUMENT = 0, 4, 16
_LOAD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06

# {name: (x86_64, aarch64)}; None where the processor has no such call.
_DENIED: dict[str, tuple[int | None, int | None]] = {
    # The network, and descriptors from elsewhere. Those that are open already still work.
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    # Programs and processes; threads are clone with CLONE_THREAD.
    "execve": (59, 221),
    "execveat": (322, 281),
    "fork": (57, None),
    "vfork": (58, None),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    # The kernel's large and young interfaces.
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    # Namespaces, mounts, modules, the machine.
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "fsmount": (432, 432),
    "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "reboot": (169, 142),
    "swapon": (167, 224),
    "swapoff": (168, 225),
    "acct": (163, 89),
    "quotactl": (179, 60),
    "settimeofday": (164, 170),
    "clock_settime": (227, 112),
    "sethostname": (170, 161),
    "iopl": (172, None),
    "ioperm": (173, None),
    "modify_ldt": (154, None),
}
# {machine: (AUDIT_ARCH, column above, number of clone, number of clone3)}
_MACHINES = {"x86_64": (0xC000003E, 0, 56, 435), "aarch64": (0xC00000B7, 1, 220, 435)}


def deny_ways_out() -> bool:
    """For this thread and those that it starts, for good. A denied call fails with EPERM; nothing is killed for it.

    False on a processor whose numbers are not in the table, and where the kernel has no seccomp.
    """
    found = _MACHINES.get(platform.machine())
    if found is None:
        return False
    program = _program(*found)
    length = len(program) // 8
    buffer = ctypes.create_string_buffer(program, len(program))
    header = struct.pack("=H6xQ", length, ctypes.addressof(buffer))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    return int(libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.c_char_p(header), 0, 0)) == 0


def has_seccomp() -> bool:
    """Whether the kernel can filter system calls."""
    return int(ctypes.CDLL(None).prctl(_PR_GET_SECCOMP, 0, 0, 0, 0)) >= 0


def denied_calls() -> dict[str, int]:
    """{name: number} on this processor; empty on one that is not in the table."""
    found = _MACHINES.get(platform.machine())
    if found is None:
        return {}
    return {name: number for name, numbers in _DENIED.items() if (number := numbers[found[1]]) is not None}


def _program(architecture: int, column: int, clone: int, clone3: int) -> bytes:
    refused = _ERRNO | errno.EPERM
    lines = [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, architecture),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER),
    ]
    if column == 0:
        # The same calls under other numbers.
        lines += [(_JUMP_AT_LEAST, 0, 1, _X32), (_RETURN, 0, 0, refused)]
    # Its flags are in memory, where a filter cannot look: the C library falls back to clone.
    lines += [(_JUMP_EQUAL, 0, 1, clone3), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS)]
    for number in denied_calls().values():
        lines += [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, refused)]
    lines += [
        (_JUMP_EQUAL, 0, 3, clone),
        (_LOAD, 0, 0, _FIRST_ARGUMENT),
        (_JUMP_ANY_BIT, 1, 0, _CLONE_THREAD),
        (_RETURN, 0, 0, refused),
        (_RETURN, 0, 0, _ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)
