"""What plg was started with and hands on to the commands: signals, limits, umask, descriptors.

Take it first of all, before plg installs handlers or raises its limits. Python itself ignores SIGPIPE and SIGXFSZ
from its start on, so of these two nobody can tell any more: they count as default.
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
        status = parse_status(Path("/proc/self/status").read_text(encoding="utf-8", errors="replace"))
        return cls(
            ignored=signals_of(int(status["SigIgn"], 16)) - _HIDDEN_BY_PYTHON,
            blocked=signals_of(int(status["SigBlk"], 16)),
            umask=int(status["Umask"], 8),
            limits=tuple((limit, resource.getrlimit(limit)) for limit in dict.fromkeys(_LIMITS)),
            descriptors=frozenset(filter(_survives_exec, _open_descriptors())),
        )

    def restore(self) -> None:
        """Make the calling process as plg was when it started; its handlers are gone then."""
        for limit, values in self.limits:
            if resource.getrlimit(limit) != values:
                resource.setrlimit(limit, values)
        os.umask(self.umask)
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_IGN if number in self.ignored else signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, self.blocked)


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
