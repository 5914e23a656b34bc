"""What a process sees of the file system: the host's files, a /proc of its own, names that lead to its peers.

Everything happens in the process's private mount namespace and ends with it. A command cannot undo it: it has
no power over mounts, and in a namespace that it makes for itself the kernel locks what it got from here.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from netplayground.sandbox import kernel
from netplayground.sandbox.refusals import Step, attempting

# File systems that are a door to the kernel. Files in them belong to root, and root in a user namespace that
# maps it is root to most of them.
_KERNEL_FILE_SYSTEMS: Final = frozenset(
    {"proc", "sysfs", "cgroup", "cgroup2", "debugfs", "tracefs", "securityfs", "configfs", "pstore", "bpf"}
    | {"efivarfs", "selinuxfs", "smackfs", "binfmt_misc", "fusectl", "resctrl"}
)
# Read-only in any case, and with them whatever else in /proc can be written and is no process (on most
# machines bus, fs, irq, mtrr, acpi). Writing to /proc/pressure only sets an alarm for the writer.
_PROC_READ_ONLY: Final = ("/proc/sys", "/proc/sysrq-trigger")
_PROC_HARMLESS: Final = frozenset({"pressure"})
# Daemons of the host that would answer the process's questions for names.
_NAME_SERVICES: Final = (
    "/run/nscd/socket",
    "/var/run/nscd/socket",
    "/run/systemd/resolve/io.systemd.Resolve",
    "/run/systemd/resolve/io.systemd.Resolve.Monitor",
)
_STAGE: Final = "/proc"
_RESOLV_CONF = "# Names of this playground are in /etc/hosts; there is no name server.\n"


@dataclass(frozen=True, slots=True)
class FileView:
    """What is to be arranged; the same for every process of a run."""

    hosts: str
    read_only: tuple[str, ...]
    read_only_in_proc: tuple[str, ...]
    covered: tuple[str, ...]

    @classmethod
    def of_this_machine(cls, hosts: str) -> FileView:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
        covered = dict.fromkeys(os.path.realpath(path) for path in _NAME_SERVICES if os.path.exists(path))
        doors = dict.fromkeys((*_PROC_READ_ONLY, *doors_to_the_kernel("/proc")))
        return cls(hosts, tuple(kernel_mounts(mounts)), tuple(doors), tuple(covered))


def emit_hosts(names: Iterable[tuple[str, Sequence[str]]]) -> str:
    """An /etc/hosts with the localhost lines and every process's name at each of its addresses."""
    lines = ["127.0.0.1\tlocalhost", "::1\tlocalhost ip6-localhost ip6-loopback"]
    lines += [f"{address}\t{name}" for name, addresses in names for address in addresses]
    return "\n".join(lines) + "\n"


def kernel_mounts(mountinfo: str) -> list[str]:
    """Where kernel file systems are mounted, but for /proc, which is replaced, and what is below another."""
    found: list[str] = []
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        point = _unescape(fields.split()[4])
        is_below = any(point.startswith(f"{above}/") for above in ("/proc", *found))
        if rest.split()[0] in _KERNEL_FILE_SYSTEMS and point != "/proc" and not is_below:
            found.append(point)
    return list(dict.fromkeys(found))


def doors_to_the_kernel(proc: str) -> list[str]:
    """What stands in a /proc beside processes and can be written, or be a directory of such."""
    with os.scandir(proc) as entries:
        return [
            entry.path
            for entry in entries
            if not (entry.name.isdigit() or entry.is_symlink() or entry.name in _PROC_HARMLESS)
            and (entry.is_dir() or entry.stat().st_mode & 0o222)
        ]


def _unescape(path: str) -> str:
    """A mount point with the kernel's octal escapes of white space and backslash undone."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


def arrange(view: FileView) -> None:
    """Give the calling process, which is PID 1 of fresh mount and PID namespaces, its view of the files."""
    with attempting(Step.MOUNTS):
        kernel.mount("none", "/", None, kernel.MS_REC | kernel.MS_SLAVE)
        _replace_names(view)
    with attempting(Step.PROC):
        flags = kernel.MS_NOSUID | kernel.MS_NODEV | kernel.MS_NOEXEC
        kernel.mount("proc", "/proc", "proc", flags)
    with attempting(Step.READ_ONLY):
        _protect_kernel(view)


def _replace_names(view: FileView) -> None:
    """Put our files over the host's, from a tmpfs that the new /proc then hides.

    Taking it out of the tree instead would wait for an RCU grace period in each process.
    """
    kernel.mount("tmpfs", _STAGE, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV, "mode=755,size=1m")
    for target, text in (("/etc/hosts", view.hosts), ("/etc/resolv.conf", _RESOLV_CONF)):
        source = f"{_STAGE}/{os.path.basename(target)}"
        Path(source).write_text(text, encoding="utf-8")
        os.chmod(source, 0o644)
        # Followed to its end: a dangling link, or no file at all, has nothing to cover.
        if os.path.exists(target):
            kernel.bind(source, os.path.realpath(target))
    empty = f"{_STAGE}/empty"
    Path(empty).touch()
    for target in view.covered:
        kernel.bind(empty, target)


def _protect_kernel(view: FileView) -> None:
    for path in view.read_only:
        try:
            kernel.make_read_only(path, recursive=True)
        except OSError as error:
            # Hidden under another mount, or behind a directory closed to this user: out of reach.
            if error.errno not in (errno.ENOENT, errno.EINVAL, errno.EACCES):
                raise
    present = [path for path in view.read_only_in_proc if os.path.exists(path)]
    for path in present:
        kernel.bind(path, path)
    kernel.bind("/proc/sys/net", "/proc/sys/net")
    for path in present:
        kernel.make_read_only(path, recursive=False)
