"""The system calls that Python 3.10 has no function for; each raises OSError with the kernel's errno."""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Iterable

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_BIND = 4096
MS_REC = 16384
MS_SLAVE = 1 << 19

_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_CAPBSET_DROP = 24
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4

# The number is the same on every architecture: system calls after 424 share one table.
_SYS_CLONE3 = 435
_SYS_CLOSE_RANGE = 436
_SYS_MOUNT_SETATTR = 442
_AT_FDCWD = -100
_AT_RECURSIVE = 0x8000
_MOUNT_ATTR_RDONLY = 1

_CAPABILITY_VERSION_3 = 0x20080522

_libc = ctypes.CDLL(None, use_errno=True)
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
_libc.mount.argtypes = [ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p]
_libc.syscall.restype = ctypes.c_long
# Keeps the interpreter's lock: a child must come back with it held.
_locked_libc = ctypes.PyDLL(None, use_errno=True)
_locked_libc.syscall.restype = ctypes.c_long


class _MountAttributes(ctypes.Structure):
    _fields_ = (
        ("attr_set", ctypes.c_uint64),
        ("attr_clr", ctypes.c_uint64),
        ("propagation", ctypes.c_uint64),
        ("userns_fd", ctypes.c_uint64),
    )


class _CloneArguments(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_uint64)
        for name in ("flags", "pidfd", "child_tid", "parent_tid", "exit_signal", "stack", "stack_size", "tls")
    )


class _CapabilityHeader(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _CapabilityData(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def _check(result: int, subject: str = "") -> None:
    if result != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), subject or None)


def fork_into(flags: int) -> int:
    """Fork a child that lives in fresh namespaces, and return as os.fork() does (Linux 5.3).

    fork() and unshare() would take two children for it, since the caller of unshare() is never in the PID
    namespace that it makes; each costs the copies of the pages that Python touches.
    """
    arguments = _CloneArguments(flags=flags, exit_signal=signal.SIGCHLD)
    size = ctypes.c_size_t(ctypes.sizeof(arguments))
    ctypes.pythonapi.PyOS_BeforeFork()
    pid: int = _locked_libc.syscall(ctypes.c_long(_SYS_CLONE3), ctypes.byref(arguments), size)
    if pid == 0:
        ctypes.pythonapi.PyOS_AfterFork_Child()
        return 0
    number = ctypes.get_errno()
    ctypes.pythonapi.PyOS_AfterFork_Parent()
    if pid < 0:
        raise OSError(number, os.strerror(number))
    return pid


def unshare(flags: int) -> None:
    """Move the calling process (NEWPID: its future children) into fresh namespaces."""
    _check(_libc.unshare(flags))


def setns(descriptor: int, kind: int) -> None:
    """Move the calling thread into the namespace that the descriptor holds."""
    _check(_libc.setns(descriptor, kind))


def mount(source: str, target: str, kind: str | None, flags: int, options: str = "") -> None:
    _check(
        _libc.mount(
            os.fsencode(source), os.fsencode(target), kind.encode() if kind else None, flags, options.encode()
        ),
        target,
    )


def bind(source: str, target: str) -> None:
    """Let `target` show what `source` is."""
    mount(source, target, None, MS_BIND)


def make_read_only(target: str, *, recursive: bool) -> None:
    """Forbid writing through the mount at `target`; its other flags stay (Linux 5.12)."""
    attributes = _MountAttributes(_MOUNT_ATTR_RDONLY, 0, 0, 0)
    flags = _AT_RECURSIVE if recursive else 0
    size = ctypes.c_size_t(ctypes.sizeof(attributes))
    path = ctypes.c_char_p(os.fsencode(target))
    _check(
        _libc.syscall(
            ctypes.c_long(_SYS_MOUNT_SETATTR), _AT_FDCWD, path, flags, ctypes.byref(attributes), size
        ),
        target,
    )


def close_all_but(kept: Iterable[int]) -> None:
    """Close every descriptor of this process that is not in `kept`."""
    first = 0
    for descriptor in sorted(set(kept)):
        if descriptor > first:
            _close_range(first, descriptor - 1)
        first = descriptor + 1
    _close_range(first, 2**32 - 1)


def _close_range(first: int, last: int) -> None:
    number = ctypes.c_long(_SYS_CLOSE_RANGE)
    _check(_libc.syscall(number, ctypes.c_uint(first), ctypes.c_uint(last), ctypes.c_uint(0)))


def die_with_parent(signum: int) -> None:
    """Let the kernel send `signum` when the parent ends; cleared by any change of uid."""
    _check(_libc.prctl(_PR_SET_PDEATHSIG, signum, 0, 0, 0))


def make_undumpable() -> None:
    """Nobody without power over this program's file may trace it or look into its /proc directory."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0))


def drop_from_bounding_set(capability: int) -> None:
    _check(_libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0), f"capability {capability}")


def clear_ambient_set() -> None:
    _check(_libc.prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0))


def set_capabilities(held: int) -> None:
    """Make `held` (a bit mask) the permitted and effective set, and the inheritable set empty."""
    header = _CapabilityHeader(_CAPABILITY_VERSION_3, 0)
    data = (_CapabilityData * 2)()
    for half in range(2):
        bits = (held >> (32 * half)) & 0xFFFFFFFF
        data[half].effective = data[half].permitted = bits
    _check(_libc.capset(ctypes.byref(header), data))
