"""Recordings of the same programs, compared with one another: good runs say the same."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

from journey import programs
from journey.runs import Ended, Place, plg, record_command, run


def recorded(place: Place, name: str, server: str, client: str, *options: str) -> Path:
    """A good run."""
    dump = place.path / name
    words = record_command(dump, [*options, "--until", "client"], [f"server: {server}", f"client: {client}"])
    ended = run(place, words, deadline_s=60)
    assert ended.status == 0, ended
    return dump


def diff(place: Place, *words: object) -> Ended:
    """`plg diff` with these words."""
    return run(place, plg("diff", *map(str, words)))


def learned(place: Place, *dumps: Path) -> Path:
    """The rules for what differs between good runs, which are enough."""
    rules = place.path / "rules"
    ended = diff(place, "--learn", "-o", rules, *dumps)
    assert ended.status == 0 and "under them the recordings say the same" in ended.stderr, ended
    return rules


def compared(place: Place, name: str, times: int) -> None:
    """Record a program so many times; any two runs say the same, under its rules and under learned ones."""
    program = programs.make(name, place)
    dumps = []
    for number in range(times):
        program.refresh()
        options = ["--ready", f"server:{program.port}", *program.options]
        dumps.append(recorded(place, f"run-{number}", program.server, program.client, *options))
    ignored = [word for rule in program.ignore for word in ("--ignore", rule)]
    for pair in permutations(dumps, 2) if times > 2 else [dumps]:
        found = diff(place, *ignored, *pair)
        assert found.status == 0 and "say the same: 100 % of" in found.stdout, found
    rules = learned(place, *dumps)
    assert diff(place, "--ignore-file", rules, *dumps[:2]).status == 0
