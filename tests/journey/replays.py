"""Replays: a dump is played to some of its programs, and what they say and plg tells of it is held to it.

A process is canned where it is not named; the servers here keep silent, so a run's standard output is its
client's. A `Program` is a pair of server and client with what may differ from one run to the next.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

from journey.runs import Ended, Place, plg, python, record_command, run

DIVERGED = 3

Report = dict[str, Any]


class Mode(Enum):
    """Who runs; the rest is played from the dump."""

    ALL_LIVE = "all live"
    SERVER_CANNED = "server canned"
    CLIENT_CANNED = "client canned"

    @property
    def has_client(self) -> bool:
        return self is not Mode.CLIENT_CANNED

    @property
    def has_server(self) -> bool:
        return self is not Mode.SERVER_CANNED


def _nothing() -> None:
    """Nothing is to be done before a run."""


@dataclass(frozen=True)
class Program:
    """A server and a client, ready to be run in some place."""

    server: str
    client: str
    port: int
    options: tuple[str, ...] = ()  # of recording and replays
    replaying: tuple[str, ...] = ()  # of replays alone
    ignore: tuple[str, ...] = ()  # regular expressions: what differs from run to run
    refresh: Callable[[], None] = field(default=_nothing)
    """Brings the server's files back to what they were, before each run."""
    says_figures: bool = False  # on standard output
    deadline_s: float = 60

    def commands(self, mode: Mode = Mode.ALL_LIVE) -> list[str]:
        server, client = f"server: {self.server}", f"client: {self.client}"
        return [*([server] if mode.has_server else []), *([client] if mode.has_client else [])]

    def run_options(self) -> list[str]:
        return ["--ready", f"server:{self.port}", "--until", "client", *self.options]


@dataclass(frozen=True)
class Replayed:
    """One replay: how it ended and what its report says."""

    ended: Ended
    report: Report

    @property
    def divergences(self) -> list[Report]:
        found: list[Report] = self.report["divergences"]
        return found

    @property
    def first(self) -> Report:
        assert self.divergences, self
        return self.divergences[0]

    def __str__(self) -> str:
        return f"{self.ended}\n--- report\n{json.dumps(self.report, indent=1)}"


def record_program(place: Place, program: Program) -> Ended:
    """Record it once; its client's standard output is what every replay must say again."""
    program.refresh()
    ended = run(
        place,
        record_command(place.dump, program.run_options(), program.commands()),
        deadline_s=program.deadline_s,
    )
    assert ended.status == 0, ended
    return ended


def replay_command(
    dump: Path, commands: Sequence[str], options: Sequence[str] = (), ignore: Sequence[str] = ()
) -> list[str]:
    rules = [word for rule in ignore for word in ("--ignore", rule)]
    return plg("--replay", "-f", str(dump), *options, *rules, *commands)


def replay(
    place: Place,
    *commands: str,
    options: Sequence[str] = (),
    ignore: Sequence[str] = (),
    before: Sequence[str] = (),
    deadline_s: float = 40,
) -> Replayed:
    """Replay the place's dump from start to end, however that comes out."""
    path = place.path / "report.json"
    path.unlink(missing_ok=True)
    words = replay_command(place.dump, commands, ["--report", str(path), *options], ignore)
    ended = run(place, [*before, *words], deadline_s=deadline_s)
    assert path.exists(), ended
    return Replayed(ended, json.loads(path.read_text()))


def replay_program(
    place: Place, program: Program, mode: Mode, options: Sequence[str] = (), before: Sequence[str] = ()
) -> Replayed:
    program.refresh()
    return replay(
        place,
        *program.commands(mode),
        options=[*program.run_options(), *program.replaying, *options],
        ignore=program.ignore,
        before=before,
        deadline_s=program.deadline_s,
    )


def assert_as_recorded(replayed: Replayed) -> None:
    """Status 0, and everything was played, said and heard."""
    report = replayed.report
    assert replayed.ended.status == 0, replayed
    assert report["divergence_count"] == 0, replayed
    assert report["connections_matched"] == report["connections"], replayed
    assert report["bytes_matched"] == report["bytes"], replayed
    assert "100 % of " in replayed.ended.stderr, replayed


def check_replay(place: Place, program: Program, mode: Mode, recorded: Ended) -> Replayed:
    """Replay once: as recorded, and a live client said what it had said."""
    replayed = replay_program(place, program, mode)
    assert_as_recorded(replayed)
    if mode.has_client and not program.says_figures:
        assert replayed.ended.stdout == recorded.stdout, replayed
    return replayed


def played(place: Place, program: Program, times: int = 1, modes: Sequence[Mode] = tuple(Mode)) -> Ended:
    """Record it once and replay it some times in each mode; answers the recording."""
    recorded = record_program(place, program)
    for mode in modes:
        for _ in range(times):
            check_replay(place, program, mode, recorded)
    return recorded


def copy_folder(source: Path, target: Path) -> None:
    """As it is, owners and all, in place of what is there."""
    subprocess.run(["rm", "-rf", str(target)], check=True)
    subprocess.run(["cp", "-a", str(source), str(target)], check=True)


def assert_on_time(place: Place, seconds: float) -> None:
    """A server speaks every 50 ms for so long; played from the dump, it says the last word at its time."""
    server, client = (
        python("clients.py", "tick", 7700, seconds),
        python("clients.py", "listen", "10.0.0.1", 7700),
    )
    program = Program(server, client, 7700, says_figures=True, deadline_s=30 + 2 * seconds)
    recorded = record_program(place, program)
    replayed = check_replay(place, program, Mode.SERVER_CANNED, recorded)
    late = float(replayed.ended.stdout) - float(recorded.stdout)
    assert abs(late) < 0.05, f"{late * 1000:.1f} ms off after {seconds:g} s"
