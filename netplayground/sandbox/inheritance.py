"""What plg was started with and hands on to the commands: signals, limits, umask, descriptors.

Take it first of all, before plg installs handlers or raises its limits. Python itself ignores SIGPIPE and
SIGXFSZ from its start on, so of these two nobody can tell any more: they count as default.
"""

from __future__ import annotations

import fcntl
import os
import resource
import signal
from dataclasses import dataclass
from pathlib import Path

_HIDDEN_BY_PYTHON = {signal.SIGPIPE, signal.SIGXFSZ}
_LIMITS = tuple(value for name, value in sorted(vars(resource).items()) if name.startswith("RLIMIT_"))


@dataclass(frozen=True, slots=True)
class Inheritance:
    """The state of a process that its commands are to find as if plg were not there."""

    ignored: frozenset[int]
    blocked: frozenset[int]
    umask: int
    limits: tuple[tuple[int, tuple[int, int]], ...]
    descriptors: frozenset[int]

    @classmethod
    def of_this_process(cls) -> Inheritance:
        status = read_status()
        return cls(
            ignored=signals_of(int(status["SigIgn"], 16)) - _HIDDEN_BY_PYTHON,
            blocked=signals_of(int(status["SigBlk"], 16)),
            umask=int(status["Umask"], 8),
            limits=tuple((limit, resource.getrlimit(limit)) for limit in dict.fromkeys(_LIMITS)),
            descriptors=frozenset(filter(_survives_exec, _open_descriptors())),
        )

    def restore(self) -> None:
        """Make the calling process, which is about to exec, as plg was when it started."""
        for limit, values in self.limits:
            if resource.getrlimit(limit) != values:
                resource.setrlimit(limit, values)
        os.umask(self.umask)
        # Handlers end with exec; what is ignored stays so.
        ignored = signals_of(int(read_status()["SigIgn"], 16))
        for number in ignored - self.ignored:
            signal.signal(number, signal.SIG_DFL)
        for number in self.ignored - ignored:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked)


def handled_signals() -> frozenset[int]:
    """Signals for which this process has a handler."""
    return signals_of(int(read_status()["SigCgt"], 16))


def read_status() -> dict[str, str]:
    """The fields of this process's /proc/self/status."""
    return parse_status(Path("/proc/self/status").read_text(encoding="utf-8", errors="replace"))


def parse_status(text: str) -> dict[str, str]:
    """The fields of a /proc/PID/status."""
    pairs = (line.partition(":") for line in text.splitlines() if ":" in line)
    return {name: value.strip() for name, _, value in pairs}


def signals_of(bits: int) -> frozenset[int]:
    """The signal numbers in a mask as the kernel prints it: bit 0 is signal 1."""
    return frozenset(number for number in range(1, 65) if bits >> (number - 1) & 1)


def _open_descriptors() -> list[int]:
    return [int(name) for name in os.listdir("/proc/self/fd")]


def _survives_exec(descriptor: int) -> bool:
    try:
        return not fcntl.fcntl(descriptor, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    except OSError:
        # The one by which the directory itself was listed.
        return False
