"""How long processes are waited for: patience, the stall time, and the end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from replay.faithful import faithful
from replay.world import CLIENT, MS, SECOND, SERVER, Actor, TapeWriter, World

from netplayground.replay.options import OnDivergence, Pace, ReplayOptions
from netplayground.replay.tape import Tape
from netplayground.replay.verdict import DivergenceKind
from netplayground.replay.waiting import Activity

Script = Iterator[Any]


def two_connections() -> Tape:
    """One is to be asked on before the other one's answer."""
    writer = TapeWriter("client", "server")
    slow, fast = writer.connect(0, 1), writer.connect(0, 1)
    writer.after(1).say(slow, CLIENT, b"slow").after(1).say(fast, SERVER, b"first")
    writer.after(1).fin(slow, CLIENT, SERVER).fin(fast, CLIENT, SERVER)
    return writer.end(1)


def hears_first(actor: Actor) -> Script:
    slow, fast = actor.connect(1), actor.connect(1)
    yield actor.hear(fast, 5)
    actor.say(slow, b"slow")
    for line in (slow, fast):
        actor.fin(line)
        yield actor.hear_fin(line)


@pytest.mark.parametrize("activity", [Activity.BUSY, Activity.STOPPED])
def test_patience_stands_still_while_the_process_computes_or_is_stopped(activity: Activity) -> None:
    def look(process: int, since: int) -> Activity:
        return activity if since < 3 * SECOND else Activity.IDLE

    world = World(two_connections(), {0: hears_first}, activity=look)
    verdict = world.run()
    assert not verdict.has_diverged
    assert verdict.reordered == 1
    assert 3 * SECOND < world.given[0][0] < 3500 * MS
    assert world.looks < 500


@pytest.mark.parametrize("patience_ms", [1, 50, 1000])
def test_patience_is_what_it_was_set_to(patience_ms: int) -> None:
    world = World(two_connections(), {0: hears_first}, ReplayOptions(patience_ns=patience_ms * MS))
    assert not world.run().has_diverged
    assert patience_ms * MS <= world.given[0][0] < patience_ms * MS + 60 * MS


def question(pause_ms: float = 1) -> Tape:
    writer = TapeWriter("client", "server")
    number = writer.connect(0, 1)
    writer.after(pause_ms).say(number, CLIENT, b"ping").after(1).say(number, SERVER, b"pong")
    writer.after(1).fin(number, CLIENT, SERVER)
    return writer.after(1).end(1)


def says_nothing(actor: Actor) -> Script:
    actor.connect(1)
    yield lambda: False


def test_the_stall_time_begins_where_the_recording_went_on() -> None:
    world = World(question(30_000), {0: says_nothing})
    verdict = world.run()
    assert world.ended == "stalled"
    assert verdict.first is not None and "was to say 4 bytes more" in verdict.first.text
    assert 40 * SECOND < world.now - world.began < 41 * SECOND


def test_a_process_that_only_spins_is_not_waited_for_without_end() -> None:
    world = World(question(), {0: says_nothing}, activity=lambda process, since: Activity.BUSY)
    assert world.run().has_diverged
    assert 100 * SECOND < world.now - world.began < 120 * SECOND


def test_without_a_stall_time_the_tape_waits() -> None:
    def script(actor: Actor) -> Script:
        yield actor.sleep(1_000_000)
        yield from faithful(question(), 0)(actor)

    world = World(question(), {0: script}, ReplayOptions(stall_ns=0))
    assert not world.run().has_diverged
    assert world.looks < 50


def test_a_stall_time_shorter_than_the_patience_leaves_it_its_time() -> None:
    options = ReplayOptions(stall_ns=50 * MS)
    verdict = World(two_connections(), {0: hears_first}, options).run()
    assert not verdict.has_diverged
    assert verdict.reordered == 1


@pytest.mark.parametrize("pace", [Pace.TIMED, Pace.MAX])
def test_who_exited_in_the_recording_and_stays_is_named(pace: Pace) -> None:
    def script(actor: Actor) -> Script:
        yield from faithful(question(), 0)(actor)
        yield lambda: False

    world = World(question(), {0: script}, ReplayOptions(pace=pace))
    verdict = world.run()
    assert world.ended == "a process does not exit"
    assert verdict.first is not None
    assert (verdict.first.kind, verdict.first.process) == (DivergenceKind.STALLED, "client")
    assert verdict.connection_share == 1.0
    assert world.now - world.began < 11 * SECOND


def test_who_was_ended_by_plg_is_ended_when_all_was_heard_and_what_it_says_then_is_its_own() -> None:
    writer = TapeWriter("client", "server")
    number = writer.connect(0, 1)
    writer.after(1).say(number, CLIENT, b"ping").after(1).say(number, SERVER, b"pong")
    tape = writer.after(500).end(1)

    def script(actor: Actor) -> Script:
        yield actor.accept()
        line = actor.accepted.pop()
        yield actor.hear(line, 4)
        actor.say(line, b"pong")
        yield lambda: bool(actor.world.signalled)
        actor.say(line, b"good bye")

    def signalled(world: World) -> None:
        world.later(0, world.actors[1].resume)

    world = World(tape, {1: script})
    world.on_signal = signalled
    verdict = world.run()
    assert world.signalled == [1]
    assert not verdict.has_diverged
    assert dict(verdict.notes) == {"connections that went on after the recording's end": 1}
    assert 500 * MS < world.now - world.began < SECOND


def test_a_process_that_starts_later_is_not_ended_before() -> None:
    writer = TapeWriter("client", "server", "late")
    number = writer.connect(0, 1)
    writer.after(1).say(number, CLIENT, b"ping").fin(number, CLIENT, SERVER)
    tape = writer.after(5000).end(1, 2)
    tape.lives[2].started_ns = 3 * SECOND
    started = []

    def script(actor: Actor) -> Script:
        started.append(actor.world.now - actor.world.began)
        yield lambda: False

    world = World(tape, {0: faithful(tape, 0), 2: script})
    assert not world.run().has_diverged
    assert started == [3 * SECOND]
    assert world.signalled == [2]
    assert world.now - world.began > 5 * SECOND


def test_a_process_that_dies_has_everything_missing_and_the_others_go_on() -> None:
    writer = TapeWriter("one", "two", "server")
    for _ in range(2):
        for client in (0, 1):
            number = writer.after(10).connect(client, 2)
            writer.after(1).say(number, CLIENT, b"ping").after(1).say(number, SERVER, b"pong")
            writer.fin(number, CLIENT, SERVER)
    tape = writer.end(2)

    def dies(actor: Actor) -> Script:
        actor.connect(2)
        yield actor.sleep(1)

    options = ReplayOptions(on_divergence=OnDivergence.WARN)
    world = World(tape, {0: dies, 1: faithful(tape, 1)}, options)
    verdict = world.run(most_s=5)
    assert {each.process for each in verdict.divergences} == {"one"}
    assert [each.kind for each in verdict.divergences] == [DivergenceKind.NO_CONNECTION] * 2
    assert verdict.connections_matched == 2
    assert not verdict.is_over


@pytest.mark.parametrize(("quiet_ms", "expected_ms"), [(5, 5), (5000, 200)])
def test_without_time_who_is_to_be_ended_has_a_moment_for_what_it_heard_last(
    quiet_ms: int, expected_ms: int
) -> None:
    writer = TapeWriter("client", "server")
    number = writer.connect(0, 1)
    writer.after(100).say(number, CLIENT, b"remember this").fin(number, CLIENT, SERVER)
    tape = writer.after(quiet_ms).end(1)
    world = World(tape, {1: faithful(tape, 1)}, ReplayOptions(pace=Pace.MAX))
    assert not world.run().has_diverged
    assert world.signalled == [1]
    assert expected_ms * MS <= world.now - world.began < (expected_ms + 5) * MS
