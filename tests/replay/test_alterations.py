"""A clean end with anything missing, extra or different does not exist: each event of a recording is altered
in turn on the process's side."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st
from replay.faithful import Change, faithful, shown
from replay.test_faithful import paces, subsets, tapes
from replay.world import CLIENT, SERVER, World

from netplayground.replay.judge import LATE, UNUSED
from netplayground.replay.options import ReplayOptions
from netplayground.replay.tape import CHUNK, FIN, NONE, RST, SYN, Outcome, Tape
from netplayground.replay.verdict import DivergenceKind, Verdict

Alteration = tuple[str, int, Change]  # what, in which event, and what the process does then


def other_byte(at: int) -> Any:
    return lambda data: data[:at] + bytes([data[at] ^ 0x20]) + data[at + 1 :]


def alterations(tape: Tape, process: int) -> Iterator[Alteration]:
    """Whatever one process can do otherwise, once."""
    for event in range(len(tape)):
        record, code = tape.records[tape.record[event]], tape.code[event]
        if process not in record.processes:
            continue
        side = record.processes.index(process)
        if code == SYN and side == CLIENT:
            gone = [other for other in range(len(tape)) if tape.record[other] == record.number]
            yield "no connection", event, Change(omitted=frozenset(gone))
            where = record.processes[SERVER], record.port
            yield "a connection more", event, Change(connects_before=event, to=where)
        if record.outcome is not Outcome.ACCEPTED or code < CHUNK or code & 1 != side:
            continue
        what = code & ~1
        if what == CHUNK:
            yield "another byte", event, Change(says={event: other_byte(0)})
            yield "another last byte", event, Change(says={event: other_byte(tape.length[event] - 1)})
            yield "a byte less", event, Change(says={event: lambda data: data[:-1]})
            yield "a first byte less", event, Change(says={event: lambda data: data[1:]})
            yield "a byte more", event, Change(says={event: lambda data: data + b"~"})
            yield "nothing", event, Change(omitted=frozenset({event}))
        elif what == FIN:
            yield "an abort", event, Change(aborts=frozenset({event}))
            yield "no close", event, Change(omitted=frozenset({event}))
        else:
            yield "an orderly close", event, Change(closes=frozenset({event}))
            yield "no abort", event, Change(omitted=frozenset({event}))


def is_allowed(tape: Tape, process: int, what: str, event: int) -> bool:
    """Whether the design says that this is no divergence, or may be none."""
    record = tape.records[tape.record[event]]
    side = record.processes.index(process)
    alike = [
        each
        for each in tape.records
        if each.processes == record.processes
        and (each.port == record.port or min(each.port, record.port) > 32767)
    ]
    if what in ("no connection", "a connection more"):
        # Silent ones, and refusals before a server is up, may be any number.
        accepted = [each for each in alike if each.outcome is Outcome.ACCEPTED]
        first = min((each.number for each in accepted), default=NONE)
        return any(
            each.is_silent if each.outcome is Outcome.ACCEPTED else each.number < first for each in alike
        )
    if record.is_silent:
        return True  # whoever closes it, and how
    is_unused = not tape.upto[event] + tape.against[event]
    # Another one may be this; of a server's connections only a silent one, which ends as it likes.
    is_another = side == CLIENT or any(each.is_silent for each in alike if each is not record)
    if what in ("an abort", "an orderly close") and is_unused and is_another:
        return True
    later = [
        other
        for other in range(event + 1, len(tape))
        if tape.record[other] == record.number and tape.code[other] & ~1 == CHUNK
    ]
    if what in ("an abort", "an orderly close"):
        return not later or tape.code[event] & ~1 == RST
    if what in ("no close", "no abort"):
        # Its process's end closes it, if that comes in time; after a FIN no RST is awaited.
        return tape.lives[process].ended_ns is not None or record.fins[side] not in (NONE, event)
    if what == "a byte more" and record.rsts[1 - side] != NONE:
        return tape.code[record.tails[side]] & ~1 != CHUNK or record.tails[side] == event
    if what == "a byte more" and record.is_open:
        return not later and event == max(
            other for other in range(len(tape)) if process in tape.records[tape.record[other]].processes
        )
    return False


def check(
    tape: Tape, options: ReplayOptions, live: tuple[int, ...], process: int, alteration: Alteration
) -> None:
    what, event, change = alteration
    scripts: Any = {each: faithful(tape, each, change if each == process else Change()) for each in live}
    world = World(tape, scripts, options)
    verdict = world.run(most_s=120)
    assert world.looks < 2000
    if verdict.has_diverged:
        assert_told(tape, process, alteration, verdict)
        is_about_connections = any(each.record is not None for each in verdict.divergences)
        assert verdict.connection_share < 1 or verdict.connections == 0 or not is_about_connections
    else:
        assert verdict.connection_share == 1.0
        is_late = LATE in verdict.notes and tape.lives[process].was_ended_by_plg
        # The one more was refused in place of a later one, and that one stood and was not used.
        is_unused = what == "a connection more" and UNUSED in verdict.notes
        assert is_late or is_unused or is_allowed(tape, process, what, event), (what, event, process, verdict)


def assert_told(tape: Tape, process: int, alteration: Alteration, verdict: Verdict) -> None:
    """Where the connection can be mistaken for no other, the place is the true one."""
    what, event, _ = alteration
    record = tape.records[tape.record[event]]
    is_alone = sum(each.processes == record.processes for each in tape.records) == 1
    if not is_alone or what not in ("another byte", "another last byte"):
        return
    at = tape.upto[event] - (1 if "last" in what else tape.length[event])
    first = verdict.first
    assert first is not None
    assert (first.process, first.record) == (tape.lives[process].process.name, record.identity)
    assert (first.kind, first.offset) == (DivergenceKind.DIFFERENT, at)


@settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])
@given(tapes(most=10), paces, st.data())
def test_each_alteration_is_found(tape: Tape, options: ReplayOptions, data: Any) -> None:
    note(shown(tape))
    live = data.draw(st.sampled_from(subsets(tape)))
    process = data.draw(st.sampled_from(live))
    for alteration in alterations(tape, process):
        note(f"{process} of {live}: {alteration[0]} in place of event {alteration[1]}")
        check(tape, options, live, process, alteration)
