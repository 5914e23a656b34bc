"""How a run ended: what each process did, what crossed the wire, and the one exit status that follows.

Pure. The precedence is the design's, first that applies: 2 usage (raised before there is an outcome); 125 plg
could not do its work; 126/127 a command that cannot be run or found; 124 timeout; 3 a replay diverged; the
`--until` process's own; that of the first process that failed; 0. A process that plg ended has not failed.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from netplayground.replay.casting import CANNED

ENDED_FACT = "process-ended"  # the kind of the dump's fact that holds `emit_ending`
ENDING_FACT = "ending"  # plg begins to end the run
DROPS_FACT = "drops"  # that of `Traffic.drops`, which it calls "processes"

SUCCESS = 0
DIVERGED = 3
TIMED_OUT = 124
CANNOT_WORK = 125
CANNOT_RUN = 126
NOT_FOUND = 127


@dataclass(frozen=True, slots=True)
class ProcessOutcome:
    """How one process ended: at most one of `exit_code`, `signal` and `run_errno`; none if it never ran.

    `run_errno` is the kernel's answer where even the shell could not be run. `ended_ns` gives the order in
    which processes ended. `ended_by_plg`: plg had sent it its kill signal before it ended.
    """

    name: str
    position: int
    command: str
    exit_code: int | None = None
    signal: int | None = None
    run_errno: int | None = None
    ended_by_plg: bool = False
    started_ns: int | None = None
    ended_ns: int | None = None

    @property
    def status(self) -> int:
        """As a shell says it: the exit code, 128 + the signal, 126 or 127 for a command that did not run."""
        if self.run_errno is not None:
            return NOT_FOUND if self.run_errno == errno.ENOENT else CANNOT_RUN
        if self.signal is not None:
            return 128 + self.signal
        return self.exit_code or SUCCESS

    @property
    def has_failed(self) -> bool:
        return not self.ended_by_plg and self.status != SUCCESS

    @property
    def could_not_run(self) -> bool:
        """Commands are run by `sh -c`, whose own 126 and 127 say: what they were to run cannot be."""
        return self.has_failed and self.signal is None and self.status in (CANNOT_RUN, NOT_FOUND)

    def describe(self) -> str:
        """Its end in words, without its name."""
        if self.command == CANNED:
            return "played from the dump"
        if self.run_errno is not None:
            return f"could not be run: {os.strerror(self.run_errno)}"
        if self.signal is not None:
            words = f"killed by {signal_name(self.signal)}"
        elif self.exit_code is not None:
            words = f"exited {self.exit_code}"
        else:
            return "ended by plg" if self.ended_by_plg else "never started"
        if self.ended_by_plg:
            return f"ended by plg ({words})"
        if self.could_not_run:
            return f"{words} ({'command not found' if self.status == NOT_FOUND else 'command cannot be run'})"
        return words


@dataclass(frozen=True, slots=True)
class Traffic:
    """What crossed the wire. `connections` counts every connect, also those that came to nothing; `drops` are
    by process, then by reason."""

    connections: int = 0
    refused: int = 0
    unreachable: int = 0
    unanswered: int = 0
    aborted: int = 0
    bytes_to_server: int = 0
    bytes_to_client: int = 0
    datagrams: int = 0
    drops: Mapping[str, Mapping[str, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run, over. `until_process` is the process whose exit ended it, where `--until` named it."""

    processes: tuple[ProcessOutcome, ...]
    traffic: Traffic
    dump_path: Path
    dump_bytes: int = 0
    duration_s: float = 0.0
    trouble: str | None = None
    timed_out_after_s: float | None = None
    has_diverged: bool = False
    until_process: str | None = None
    interrupted_by: int | None = None
    notes: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        return exit_status(self)[0]

    @property
    def reason(self) -> str | None:
        return exit_status(self)[1]


def exit_status(summary: RunSummary) -> tuple[int, str | None]:
    """The status of the whole run and what it comes from; None where it is 0."""
    if summary.trouble is not None:
        return CANNOT_WORK, summary.trouble
    in_order = sorted(summary.processes, key=_order_of_ending)
    for process in in_order:
        if process.could_not_run:
            return _own_status(process)
    if summary.timed_out_after_s is not None:
        return TIMED_OUT, f"timed out after {summary.timed_out_after_s:g} s"
    if summary.has_diverged:
        return DIVERGED, "diverged"
    for process in in_order:
        if process.name == summary.until_process and not process.ended_by_plg:
            return _own_status(process)
    for process in in_order:
        if process.has_failed:
            return _own_status(process)
    return SUCCESS, None


def _order_of_ending(process: ProcessOutcome) -> tuple[bool, int, int]:
    """Earliest end first; what never ended comes last, and position settles a tie."""
    return process.ended_ns is None, process.ended_ns or 0, process.position


def _own_status(process: ProcessOutcome) -> tuple[int, str | None]:
    if process.status == SUCCESS:
        return SUCCESS, None
    return process.status, f"{process.name} {process.describe()}"


def emit_ending(process: ProcessOutcome) -> dict[str, object]:
    """The fields of the fact by which the dump says how a process ended."""
    fields = {"exit_code": process.exit_code, "signal": process.signal, "run_errno": process.run_errno}
    return {
        "process": process.name,
        **{name: value for name, value in fields.items() if value is not None},
        "ended_by_plg": process.ended_by_plg,
    }


def parse_ending(process: ProcessOutcome, fields: Mapping[str, object]) -> ProcessOutcome:
    """The process with the end that the fields of a fact tell; what is no small number tells nothing."""

    def number(name: str) -> int | None:
        value = fields.get(name)
        return value if type(value) is int and 0 <= value < 256 else None

    return replace(
        process,
        exit_code=number("exit_code"),
        signal=number("signal"),
        run_errno=number("run_errno"),
        ended_by_plg=fields.get("ended_by_plg") is True,
    )


def signal_name(number: int) -> str:
    """SIGTERM for 15; a real-time signal has no name of its own in Python."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
