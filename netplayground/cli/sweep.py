"""`plg replay --sweep`: each process of a recording alone, live, against the rest played from the dump.

A replay moves the process that runs it into namespaces of its own for good: so each one is a plg of its own,
with the same options, one after another. A signal that would end plg goes to the one that runs, which ends in
order, and is the last.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import click
from click.core import ParameterSource

from netplayground.cli.report_file import write_json
from netplayground.cli.verdict import percent
from netplayground.cli.words import columns, printable, tell
from netplayground.dump.model import Process
from netplayground.errors import UsageError
from netplayground.replay.casting import CANNED, cast
from netplayground.session.outcome import signal_name
from netplayground.session.plan import are_named, name_commands

_OWN = frozenset({"dump_path", "procfile", "report_path", "sweep"})
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of one process alone."""

    process: str
    status: int
    report: dict[str, object] | None

    def row(self) -> tuple[str, str, str, str]:
        """A line of the table."""
        if self.report is None:
            return self.process, str(self.status), "-", "could not be replayed"
        divergences = self.report["divergences"]
        assert isinstance(divergences, list)
        share = percent(min(_share(self.report, what) for what in ("connections", "bytes", "datagrams")))
        if divergences:
            first = divergences[0]
            words = f"diverged at byte {first['offset']} of {first['connection']}"
        elif self.status:
            words = f"as recorded, but {self.report['reason']}"
        else:
            words = "as recorded"
        return self.process, str(self.status), share, printable(words)


def sweep_through(
    dump_path: Path,
    recorded: Sequence[Process],
    commands: Sequence[str],
    options: Sequence[str],
    report_path: Path | None,
) -> int:
    """Replay once for each process; the status is that of the first turn that has one. Without `commands`
    those of the recording run. `options` are the words that each turn gets as well."""
    chosen = _commands(recorded, commands)
    live = [
        (process, command) for process, command in zip(recorded, chosen, strict=True) if command != CANNED
    ]
    turns: list[Turn] = []
    with _Runner.waiting_for_signals() as runner:
        for process, command in live:
            tell(f"{process.name} alone")
            words = _words_for(recorded, process, command)
            turns.append(runner.take_turn(dump_path, process.name, [*options, "--", *words]))
            if runner.interrupted_by is not None:
                break
    for line in columns([("process", "status", "matched", "verdict"), *(turn.row() for turn in turns)]):
        tell(line)
    if report_path is not None:
        write_json(
            report_path, {turn.process: {"status": turn.status, "report": turn.report} for turn in turns}
        )
    if runner.interrupted_by is not None:
        left = ", ".join(process.name for process, _ in live[len(turns) :])
        tell(f"ended by {signal_name(runner.interrupted_by)}" + (f", not replayed: {left}" if left else ""))
        return 128 + runner.interrupted_by
    return next((turn.status for turn in turns if turn.status), 0)


def _commands(recorded: Sequence[Process], commands: Sequence[str]) -> list[str]:
    if commands:
        return cast(recorded, name_commands(commands), are_named(commands))
    if not any(process.command for process in recorded):
        raise UsageError("cannot sweep: the recording has no commands, give them")
    return [process.command or CANNED for process in recorded]


def _words_for(recorded: Sequence[Process], process: Process, command: str) -> list[str]:
    """The commands of a turn; by name where it can be one, for a command may itself look like a named one."""
    named = f"{process.name}: {command}"
    if are_named([named]):
        return [named]
    return [command if each.name == process.name else CANNED for each in recorded]


class _Runner:
    """Runs one plg after another."""

    def __init__(self) -> None:
        self.interrupted_by: int | None = None
        self._child: subprocess.Popen[bytes] | None = None

    @classmethod
    @contextmanager
    def waiting_for_signals(cls) -> Iterator[_Runner]:
        """A runner whose turn ends in order when plg is asked to end."""
        runner = cls()
        former = {
            number: signal.signal(number, runner._on_signal)
            for number in _ENDING
            if signal.getsignal(number) is not signal.SIG_IGN
        }
        try:
            yield runner
        finally:
            for number, handler in former.items():
                signal.signal(number, handler)

    def _on_signal(self, number: int, _frame: FrameType | None) -> None:
        self.interrupted_by = number
        if self._child is not None and self._child.returncode is None:
            self._child.send_signal(number)

    def take_turn(self, dump_path: Path, process: str, words: Sequence[str]) -> Turn:
        """One replay; its report comes back through memory that has no name."""
        report = os.memfd_create("report")
        try:
            status = self._run(
                [*_plg(), "replay", f"--file={dump_path}", f"--report=/proc/self/fd/{report}", *words], report
            )
            text = os.pread(report, os.fstat(report).st_size, 0)
        finally:
            os.close(report)
        return Turn(process, status, json.loads(text) if text else None)

    def _run(self, command: Sequence[str], descriptor: int) -> int:
        self._child = child = subprocess.Popen(command, pass_fds=(descriptor,))
        if self.interrupted_by is not None:
            child.send_signal(self.interrupted_by)  # it came before there was anybody to tell
        status = child.wait()
        return 128 - status if status < 0 else status


def _plg() -> list[str]:
    """How plg was started: the script, or the package."""
    script = sys.argv[0]
    return [sys.executable, script] if Path(script).name == "plg" else [sys.executable, "-m", "netplayground"]


def _share(report: dict[str, object], what: str) -> float:
    whole, matched = report[what], report[f"{what}_matched"]
    assert isinstance(whole, int) and isinstance(matched, int)
    return matched / whole if whole else 1.0


def given_words(context: click.Context) -> list[str]:
    """The options of a command line as they were given, but for those that each turn has of its own."""
    words: list[str] = []
    for option in context.command.params:
        is_given = context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
        if is_given and isinstance(option, click.Option) and option.name not in _OWN:
            words += _words_of(option, context.params.get(option.name or ""))
    return words


def _words_of(option: click.Option, value: object) -> Iterator[str]:
    word = max(option.opts, key=len)
    if option.is_flag:
        yield word if value or not option.secondary_opts else max(option.secondary_opts, key=len)
    elif option.count:
        yield from [word] * int(str(value))
    else:
        for each in value if isinstance(value, tuple) else (value,):
            yield f"{word}={each}"
