"""What a run left behind: processes, mounts, devices, named namespaces, temporary files.

The process that tests becomes a "child subreaper" (prctl(2)): whatever a run orphans, also after `kill -9` of
plg, becomes its child, so that everything that is left is found among its descendants, whatever it calls
itself. Anonymous namespaces live only as long as a process or a mount holds them, so these two are enough to
know.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import time
from dataclasses import dataclass
from pathlib import Path

from netplayground.sandbox import kernel

NAMED_NAMESPACES = "/run/netns"
PR_SET_CHILD_SUBREAPER = 36  # include/uapi/linux/prctl.h
MS_PRIVATE, MS_SHARED = 1 << 18, 1 << 20  # include/uapi/linux/mount.h


@dataclass(frozen=True)
class Surroundings:
    """What stands on this machine that a run could leave behind."""

    processes: frozenset[int]
    mounts: frozenset[str]
    devices: frozenset[str]
    named_namespaces: frozenset[str]
    temporary: frozenset[str]


def adopt_orphans() -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")


def keep_to_ourselves() -> None:
    """See no mounts and named namespaces that others make on this machine meanwhile; root's may do it.

    What is mounted below plg would come to us, as it comes to all on most machines (mount_namespaces(7)).
    """
    if os.geteuid() != 0:
        return
    kernel.unshare(kernel.CLONE_NEWNS)
    for propagation in (MS_PRIVATE, MS_SHARED):
        kernel.mount("none", "/", None, kernel.MS_REC | propagation)
    if os.path.isdir(NAMED_NAMESPACES):
        kernel.mount("tmpfs", NAMED_NAMESPACES, "tmpfs", 0)


def look(temporary: Path) -> Surroundings:
    return Surroundings(
        processes=frozenset(descendants(os.getpid())),
        mounts=frozenset(line.split(" ", 1)[1] for line in _lines("/proc/self/mountinfo")),
        devices=_names("/sys/class/net"),
        named_namespaces=_names(NAMED_NAMESPACES),
        temporary=_names(str(temporary)),
    )


def left_since(before: Surroundings, temporary: Path, patience_s: float) -> list[str]:
    """One line for each thing that is there now and was not before, after waiting for it to go."""
    end = time.monotonic() + patience_s
    while True:
        left = _difference(before, look(temporary))
        if not left or time.monotonic() > end:
            return left
        time.sleep(0.02)


def _difference(before: Surroundings, now: Surroundings) -> list[str]:
    left = [f"process {pid}: {_describe(pid)}" for pid in sorted(now.processes - before.processes)]
    left += [f"mount {line}" for line in sorted(now.mounts - before.mounts)]
    left += [f"device {name}" for name in sorted(now.devices - before.devices)]
    left += [f"named namespace {name}" for name in sorted(now.named_namespaces - before.named_namespaces)]
    return left + [f"temporary file {name}" for name in sorted(now.temporary - before.temporary)]


def descendants(root: int) -> set[int]:
    """All descendants that still run; a zombie that was orphaned to us is reaped instead."""
    children: dict[int, list[tuple[int, str]]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError):  # it ended between the two calls
                state, parent = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()[:2]
                children.setdefault(int(parent), []).append((int(entry), state))
    found: set[int] = set()
    todo = [root]
    while todo:
        for pid, state in children.get(todo.pop(), ()):
            if state != "Z":
                found.add(pid)
                todo.append(pid)
            elif _is_orphan(pid, root, children):
                _reap(pid)
    return found


def _is_orphan(pid: int, root: int, children: dict[int, list[tuple[int, str]]]) -> bool:
    return any(child == pid for child, _ in children.get(root, ()))


def _reap(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)


def _describe(pid: int) -> str:
    with contextlib.suppress(OSError):
        words = (
            Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
        )
        return words or Path(f"/proc/{pid}/comm").read_text().strip()
    return "(gone by now)"


def _lines(path: str) -> list[str]:
    return Path(path).read_text().splitlines()


def _names(folder: str) -> frozenset[str]:
    try:
        return frozenset(os.listdir(folder))
    except FileNotFoundError:
        return frozenset()
