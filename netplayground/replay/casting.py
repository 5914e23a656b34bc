"""Who is who: which process of the recording is which of the replay, and which of them are live."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from netplayground.dump.model import Address, Process
from netplayground.errors import UsageError

CANNED = "-"


@dataclass(frozen=True, slots=True)
class Role:
    """One process of the recording and what becomes of it; `addresses` are those that it has in the replay."""

    process: Process
    command: str
    """`-` for a canned one."""
    addresses: tuple[Address, ...]

    @property
    def is_live(self) -> bool:
        return self.command != CANNED


def cast(recorded: Sequence[Process], commands: Sequence[tuple[str | None, str]]) -> list[str]:
    """The command of each recorded process; UsageError where the words do not fit the recording.

    `commands` are (name, command), the name None for all or for none. By name: a process that is not named is
    canned. By position: as many as the recording has, `-` counted.
    """
    listed = ", ".join(process.name for process in recorded)
    named = {name: command for name, command in commands if name is not None}
    if named:
        unknown = [name for name in named if name not in {process.name for process in recorded}]
        if unknown:
            raise UsageError(
                f"cannot replay {', '.join(unknown)}: no such process in the recording; there is {listed}"
            )
        chosen = [named.get(process.name, CANNED) for process in recorded]
    elif len(commands) != len(recorded):
        raise UsageError(
            f"cannot replay {len(commands)} commands: the recording has {len(recorded)} processes ({listed}); "
            f"'{CANNED}' plays one from the dump"
        )
    else:
        chosen = [command for _, command in commands]
    if all(command == CANNED for command in chosen):
        raise UsageError(f"cannot replay: every process is canned, none would run ({listed})")
    return chosen
