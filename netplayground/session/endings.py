"""How the processes of a recording ended, as far as it tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from netplayground.session.outcome import ENDED_FACT, ProcessOutcome, parse_ending

if TYPE_CHECKING:
    from netplayground.dump.recording import Recording  # heavy: not for --help


def endings_of(recording: Recording) -> list[ProcessOutcome]:
    """The end of each process, by position; of one that the recording does not tell of there is none."""
    outcomes = {
        process.name: ProcessOutcome(process.name, process.position, process.command)
        for process in recording.processes
    }
    for fact in recording.facts():
        name = fact.fields.get("process")
        if fact.kind == ENDED_FACT and isinstance(name, str) and name in outcomes:
            outcomes[name] = parse_ending(outcomes[name], fact.fields)
    return list(outcomes.values())
