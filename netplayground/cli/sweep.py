"""`plg replay --sweep`: each process of a recording alone, live, against the rest played from the dump.

A replay moves the process that runs it into namespaces of its own for good: so each one is a plg of its own,
with the same options, one after another.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import click
from click.core import ParameterSource

from netplayground.cli.report_file import write_json
from netplayground.cli.verdict import percent
from netplayground.cli.words import columns, printable, tell
from netplayground.dump.model import Process
from netplayground.dump.recording import Recording
from netplayground.errors import UsageError
from netplayground.replay.casting import CANNED, cast
from netplayground.session.plan import are_named, name_commands

_OWN = frozenset({"dump_path", "report_path", "sweep"})


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
        share = percent(min(_share(self.report, "connections"), _share(self.report, "bytes")))
        first = divergences[0] if divergences else None
        words = (
            "as recorded" if first is None else f"diverged at byte {first['offset']} of {first['connection']}"
        )
        return self.process, str(self.status), share, printable(words)


def sweep_through(
    recording: Recording, commands: Sequence[str], options: Sequence[str], report_path: Path | None
) -> int:
    """Replay once for each process; the status is that of the first turn that has one. Without `commands`
    those of the recording run. `options` are the words that each turn gets as well."""
    chosen = _commands(recording.processes, commands)
    turns = []
    for process, command in zip(recording.processes, chosen, strict=True):
        if command == CANNED:
            continue
        tell(f"{process.name} alone")
        turns.append(_take_turn(recording, process, command, options))
    for line in columns([("process", "status", "matched", "verdict"), *(turn.row() for turn in turns)]):
        tell(line)
    if report_path is not None:
        write_json(
            report_path,
            {turn.process: {"status": turn.status, "report": turn.report} for turn in turns},
        )
    return next((turn.status for turn in turns if turn.status), 0)


def _commands(recorded: Sequence[Process], commands: Sequence[str]) -> list[str]:
    if commands:
        return cast(recorded, name_commands(commands), are_named(commands))
    if not any(process.command for process in recorded):
        raise UsageError("cannot sweep: the recording has no commands, give them")
    return [process.command or CANNED for process in recorded]


def _take_turn(recording: Recording, process: Process, command: str, options: Sequence[str]) -> Turn:
    with tempfile.TemporaryDirectory(prefix="plg-") as folder:
        report = Path(folder, "report.json")
        words = [command if each.name == process.name else CANNED for each in recording.processes]
        finished = subprocess.run(
            [
                *(sys.executable, "-m", "netplayground", "replay", "-f", str(recording.path)),
                *("--report", str(report)),
                *options,
                "--",
                *words,
            ],
            check=False,
        )
        found = json.loads(report.read_text(encoding="utf-8")) if report.exists() else None
    return Turn(process.name, finished.returncode, found)


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
        yield word
    elif option.count:
        yield from [word] * int(str(value))
    else:
        for each in value if isinstance(value, tuple) else (value,):
            yield f"{word}={each}"
