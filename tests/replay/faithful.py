"""Processes that do what they did in the recording, each next thing as soon as all before it has happened to
them; and such that do one thing otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from replay.world import CLIENT, MS, SERVER, Actor, Line

from netplayground.replay.tape import CHUNK, ESTABLISHED, FIN, RST, SYN, Outcome, Tape

Script = Iterator[Any]
Says = Callable[[bytes], bytes]


@dataclass
class Change:
    """What a process does otherwise. Events are those of the tape."""

    says: Mapping[int, Says] = field(default_factory=dict)  # in place of what it had said
    omitted: frozenset[int] = frozenset()  # events that it does not do
    aborts: frozenset[int] = frozenset()  # FINs in place of which it aborts
    closes: frozenset[int] = frozenset()  # RSTs in place of which it closes in order
    connects_before: int | None = None  # an event before which it opens one more, and speaks
    to: tuple[int, int] = (0, 0)  # of that one: the server, and its port


NO_CHANGE = Change()
_WORDS = {0: "connects", 1: "stands", CHUNK: "says", FIN: "closes", RST: "aborts"}


def shown(tape: Tape) -> str:
    """A tape, for people who look at a test that failed."""
    lines = []
    for event in range(len(tape)):
        record, code = tape.records[tape.record[event]], tape.code[event]
        side = 0 if code < CHUNK else code & 1
        what = _WORDS[code if code < CHUNK else code & ~1]
        data = tape.read(tape.offset[event], tape.length[event])
        lines.append(
            f"{event}: {tape.time[event] / MS:g} ms, connection {record.number} {record.processes}:"
            f"{record.port} {record.outcome.name}: {record.processes[side]} {what} {data!r}"
        )
    lines += [f"mark {tape.mark_ns}", *(f"by plg: {life.was_ended_by_plg}" for life in tape.lives)]
    return "\n".join(lines)


def faithful(
    tape: Tape, process: int, change: Change = NO_CHANGE, pause: Callable[[], float] | None = None
) -> Callable[[Actor], Script]:
    """The script of a process. `pause` gives milliseconds that pass before what it does."""

    def script(actor: Actor) -> Script:
        lines: dict[int, Line] = {}
        for event in range(len(tape)):
            number, code = tape.record[event], tape.code[event]
            record = tape.records[number]
            if process not in record.processes:
                continue
            side = record.processes.index(process)
            if event == change.connects_before:
                actor.say(actor.connect(*change.to), b"~")
            if side == SERVER and record.outcome is not Outcome.ACCEPTED:
                continue
            is_own = code == SYN if side == CLIENT else code == ESTABLISHED
            if code not in (SYN, ESTABLISHED):
                is_own = code & 1 == side
            if is_own and pause is not None and not (side == SERVER and code == ESTABLISHED):
                yield actor.sleep(pause())
            if code == SYN:
                if side == CLIENT and event not in change.omitted:
                    lines[number] = actor.connect(record.processes[SERVER], record.port)
            elif code == ESTABLISHED:
                if side == SERVER:
                    yield lambda r=record: any(_is_of(line, r) for line in actor.accepted)
                    line = next(line for line in actor.accepted if _is_of(line, record))
                    actor.accepted.remove(line)
                    lines[number] = line
            elif number not in lines:
                continue
            elif is_own:
                _do(tape, actor, lines[number], event, change)
            else:
                yield _has_heard(tape, lines[number], event)
        if tape.lives[process].was_ended_by_plg:
            yield lambda: False

    return script


def _is_of(line: Line, record: Any) -> bool:
    return (line.client, line.port) == (record.processes[CLIENT], record.port)


def _do(tape: Tape, actor: Actor, line: Line, event: int, change: Change) -> None:
    if event in change.omitted:
        return
    what = tape.code[event] & ~1
    if what == CHUNK:
        data = tape.read(tape.offset[event], tape.length[event])
        data = change.says.get(event, bytes)(data)
        if data:
            actor.say(line, data)
    elif (what == FIN) != (event in change.aborts | change.closes):
        actor.fin(line)
    else:
        actor.rst(line)


def _has_heard(tape: Tape, line: Line, event: int) -> Callable[[], bool]:
    what, upto = tape.code[event] & ~1, tape.upto[event]
    if what == CHUNK:
        return lambda: len(line.heard) >= upto or not line.is_open
    return lambda: line.hears_fin or not line.is_open


__all__ = ["MS", "NO_CHANGE", "Change", "faithful", "shown"]
