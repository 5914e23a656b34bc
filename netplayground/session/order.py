"""What a program asks plg, its child, to do: one value, handed over on stdin when plg starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from netplayground.errors import UsageError
from netplayground.session.plan import RecordOptions, are_named
from netplayground.session.replay_plan import ReplayWords

Commands = Mapping[str, str] | Iterable[str]
"""Lines as the command takes them, or lines by name; one string is one line."""


@dataclass(frozen=True, slots=True)
class Order:
    """One run. Descriptors are numbers that plg inherits.

    `replay`: how the dump of the options is to be played; None: it is recorded. `keeps_addresses`: a replay
    has those of its recording. `outputs`: files for what a process says on stdout and stderr; one that is not
    among them has those of plg. `inherited`: further descriptors, for a dump without a name. `seat`: the
    process that the leader plays; its agent's channel.
    """

    leader: int
    control: int
    options: RecordOptions
    commands: tuple[str, ...]
    replay: ReplayWords | None = None
    keeps_addresses: bool = True
    names: tuple[str, ...] = ()
    outputs: Mapping[str, tuple[int, int]] = field(default_factory=dict)
    inherited: tuple[int, ...] = ()
    seat: str | None = None
    seat_channel: int = -1
    folder: str = "/"

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All that plg is to inherit."""
        files = [file for pair in self.outputs.values() for file in pair]
        return tuple(fd for fd in (self.control, self.seat_channel, *files, *self.inherited) if fd >= 0)


def words_of(words: Iterable[str]) -> tuple[str, ...]:
    """Several words, or one: a text is not taken for its letters, each of which could be a mask."""
    return (words,) if isinstance(words, str) else tuple(words)


def lines_of(commands: Commands) -> tuple[str, ...]:
    """Commands as the command line has them; UsageError for a name that cannot be."""
    if not isinstance(commands, Mapping):
        return words_of(commands)
    lines = tuple(f"{name}: {command}" for name, command in commands.items())
    for name, line in zip(commands, lines, strict=True):
        if not are_named([line]):
            raise UsageError(
                f"cannot name a process {name!r}: not a letter with letters, digits, '_', '-' after it"
            )
    return lines
