"""Processes that leave the tape: the run ends soon, and the place shown is the true one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from replay.faithful import faithful
from replay.world import CLIENT, MS, SECOND, SERVER, Actor, TapeWriter, World

from netplayground.replay.options import OnDivergence, Pace, ReplayOptions
from netplayground.replay.tape import Tape
from netplayground.replay.verdict import DivergenceKind

Script = Iterator[Any]
STALL = 10 * SECOND


def transfer(cookie: bytes = b"cookie-of-then") -> Tape:
    """A control connection and one of bulk, as iperf3 has them."""
    writer = TapeWriter("client", "server")
    control = writer.connect(0, 1, 5201)
    writer.after(1).say(control, CLIENT, cookie).after(1).say(control, SERVER, b"\x09")
    data = writer.after(1).connect(0, 1, 5201)
    writer.after(1).say(data, CLIENT, cookie).after(1).say(control, SERVER, b"\x01")
    for _ in range(50):
        writer.after(20).say(data, CLIENT, b"x" * 1000)
    writer.after(1).say(control, CLIENT, b"\x04").after(1).say(control, SERVER, b"\x0d")
    writer.fin(data, CLIENT, SERVER).fin(control, CLIENT, SERVER)
    return writer.end(1)


def floods(actor: Actor, seconds: float) -> Script:
    """Its cookie is another one, and what it sends has no end."""
    control = actor.connect(1, 5201)
    actor.say(control, b"cookie-of-now!")
    yield actor.hear(control, 1)
    data = actor.connect(1, 5201)
    actor.say(data, b"cookie-of-now!")
    yield actor.hear(control, 2)
    for _ in range(int(seconds * 500)):
        yield actor.sleep(2)
        actor.say(data, b"y" * 100)
    yield lambda: False


@pytest.mark.parametrize("pace", Pace)
def test_a_flood_of_other_bytes_does_not_keep_the_run_going(pace: Pace) -> None:
    tape = transfer()
    world = World(tape, {0: lambda actor: floods(actor, 60)}, ReplayOptions(pace=pace))
    verdict = world.run(most_s=60)
    assert world.ended is not None
    assert world.now - world.began < tape.time[len(tape) - 1] + STALL + 2 * SECOND
    first = verdict.first
    assert first is not None
    assert (first.process, first.record, first.offset) == ("client", 0, len(b"cookie-of-"))
    assert first.expected.startswith(b"cookie-of-then")
    assert first.actual.startswith(b"cookie-of-now!")


def test_a_handshake_with_a_nonce_ends_as_a_divergence_where_it_is() -> None:
    """TLS: the client's random follows eleven bytes of headers; it does not take the server's answer."""
    writer = TapeWriter("client", "server")
    number = writer.connect(0, 1, 443)
    writer.after(1).say(number, CLIENT, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"R" * 32)
    writer.after(1).say(number, SERVER, b"server hello").after(1).say(number, CLIENT, b"finished")
    writer.after(1).say(number, SERVER, b"data").fin(number, CLIENT, SERVER)

    def script(actor: Actor) -> Script:
        line = actor.connect(1, 443)
        actor.say(line, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"S" * 32)
        yield actor.hear(line, 12)
        actor.say(line, b"alert")
        actor.rst(line)

    world = World(writer.end(1), {0: script})
    verdict = world.run()
    assert [what for _, _, what in world.given] == [b"server hello"]
    assert verdict.divergence_count == 1
    assert verdict.first is not None
    assert (verdict.first.kind, verdict.first.offset) == (DivergenceKind.DIFFERENT, 11)
    assert world.now - world.began < SECOND


def test_a_client_that_waits_for_what_the_tape_has_not_is_ended_by_the_stall_time() -> None:
    def script(actor: Actor) -> Script:
        line = actor.connect(1, 5201)
        actor.say(line, b"who are you")
        yield lambda: False

    world = World(transfer(), {0: script})
    verdict = world.run()
    assert world.ended == "stalled"
    assert world.now - world.began < STALL + 2 * SECOND
    assert verdict.first is not None
    assert (verdict.first.kind, verdict.first.offset) == (DivergenceKind.DIFFERENT, 0)


def test_more_requests_than_recorded_on_many_connections_end() -> None:
    """As wrk's: a duration, not a number."""
    writer = TapeWriter("client", "server")
    lines = [writer.after(0.1).connect(0, 1) for _ in range(20)]
    for _ in range(5):
        for number in lines:
            writer.after(0.1).say(number, CLIENT, b"GET /\n").after(0.1).say(number, SERVER, b"page\n")
    for number in lines:
        writer.rst(number, CLIENT)
    tape = writer.end(1)

    def one(actor: Actor) -> Script:
        line = actor.connect(1)
        for index in range(100):
            actor.say(line, b"GET /\n")
            yield actor.hear(line, 5 * index + 5)
        actor.rst(line)

    def script(actor: Actor) -> Script:
        for _ in range(20):
            actor.go(one(actor))
        yield lambda: True

    for pace in (Pace.TIMED, Pace.MAX):
        world = World(tape, {0: script}, ReplayOptions(pace=pace))
        verdict = world.run(most_s=30)
        assert verdict.first is not None
        assert (verdict.first.kind, verdict.first.offset) == (DivergenceKind.EXTRA, 30)
        assert world.now - world.began < STALL + 2 * SECOND
        assert world.looks < 3000


def test_after_a_divergence_each_next_event_waits_for_a_word_and_then_quiet() -> None:
    writer = TapeWriter("client", "server")
    number = writer.connect(0, 1)
    writer.after(1).say(number, CLIENT, b"one").after(1).say(number, SERVER, b"1").say(number, SERVER, b"a")
    writer.after(1).say(number, CLIENT, b"two").after(1).say(number, SERVER, b"2")
    writer.fin(number, CLIENT, SERVER)

    def script(actor: Actor) -> Script:
        line = actor.connect(1)
        actor.say(line, b"ONE")
        yield actor.hear(line, 1)
        yield actor.sleep(1000)
        for _ in range(5):
            yield actor.sleep(100)
            actor.say(line, b"more")
        yield actor.hear(line, 2)
        actor.fin(line)
        yield actor.hear_fin(line)

    world = World(writer.end(1), {0: script}, ReplayOptions(on_divergence=OnDivergence.WARN))
    verdict = world.run()
    assert verdict.divergence_count == 1
    times = [when // MS for when, _, _ in world.given]
    assert 200 <= times[0] < 210
    assert 1900 <= times[1] < 1910
    assert 2100 <= times[2] < 2110
    assert [what for _, _, what in world.given] == [b"1", b"a", b"2"]


def test_the_others_go_on_when_one_has_left_the_tape() -> None:
    writer = TapeWriter("one", "two", "server")
    for _ in range(3):
        for client in (0, 1):
            number = writer.after(10).connect(client, 2)
            writer.after(1).say(number, CLIENT, b"ping").after(1).say(number, SERVER, b"pong")
            writer.fin(number, CLIENT, SERVER)
    tape = writer.end(2)

    def astray(actor: Actor) -> Script:
        for _ in range(3):
            line = actor.connect(2)
            actor.say(line, b"pint")
            yield actor.hear(line, 4)
            actor.fin(line)
            yield actor.hear_fin(line)

    world = World(tape, {0: astray, 1: faithful(tape, 1)}, ReplayOptions(on_divergence=OnDivergence.WARN))
    verdict = world.run()
    assert {each.process for each in verdict.divergences} == {"one"}
    assert (verdict.divergence_count, verdict.connections_matched) == (3, 3)
