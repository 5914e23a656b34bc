"""Who is who: which process of the recording each command of a replay stands for, and who is canned."""

from __future__ import annotations

from collections.abc import Sequence

from netplayground.dump.model import Process
from netplayground.errors import UsageError

CANNED = "-"


def cast(recorded: Sequence[Process], commands: Sequence[tuple[str, str]], are_named: bool) -> list[str]:
    """The command of each recorded process, CANNED for one that is played from the dump; UsageError where the
    words do not fit the recording.

    `commands` are (name, command). By name: a process that is not named is canned. By position: as many as
    the recording has, `-` counted.
    """
    listed = ", ".join(process.name for process in recorded)
    if are_named:
        chosen = _by_name(recorded, dict(commands), listed)
    elif len(commands) != len(recorded):
        count = f"{len(commands)} command{'s' if len(commands) != 1 else ''}"
        raise UsageError(
            f"cannot replay {count}: the recording has {len(recorded)} processes ({listed}), "
            f"'{CANNED}' plays one from the dump"
        )
    else:
        chosen = [command for _, command in commands]
    if all(command == CANNED for command in chosen):
        raise UsageError(f"cannot replay {listed}: all are canned, one at least must run")
    return chosen


def _by_name(recorded: Sequence[Process], commands: dict[str, str], listed: str) -> list[str]:
    names = {process.name for process in recorded}
    unknown = [name for name in commands if name not in names]
    if unknown:
        raise UsageError(
            f"cannot replay {', '.join(unknown)}: no such process in the recording, there is {listed}"
        )
    return [commands.get(process.name, CANNED) for process in recorded]
