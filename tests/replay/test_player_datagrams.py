"""A player among processes that speak in datagrams."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from replay.world import MS, SECOND, Actor, TapeWriter, World

from netplayground.replay.options import ReplayOptions, Strictness
from netplayground.replay.tape import Tape
from netplayground.replay.verdict import DivergenceKind

Script = Iterator[Any]
HERE, THERE = 0, 1
PORT, RECORDED, NOW = 53, 40000, 45678
TO, BACK = (NOW, PORT), (PORT, RECORDED)


def rounds(count: int) -> Tape:
    """A client asks, its server answers, so many times."""
    writer = TapeWriter("client", "server")
    for number in range(count):
        writer.after(1).datagram(HERE, THERE, (RECORDED, PORT), b"ping %d" % number)
        writer.after(1).datagram(THERE, HERE, BACK, b"pong %d" % number)
    return writer.after(1).end(THERE)


def asker(*questions: bytes, most_ms: float = 1000) -> Callable[[Actor], Script]:
    """Asks one after the other, each when the one before was answered, or after a while."""

    def script(actor: Actor) -> Script:
        for number, question in enumerate(questions, 1):
            actor.send(THERE, TO, question)
            heard, late = actor.hear_datagrams(number), actor.sleep(most_ms)
            yield lambda heard=heard, late=late: heard() or late()

    return script


def pings(count: int) -> list[bytes]:
    return [b"ping %d" % number for number in range(count)]


def server(most: int = 1 << 30, altered: int = -1, up_after_ms: float = 0) -> Callable[[Actor], Script]:
    """Answers so many."""

    def script(actor: Actor) -> Script:
        yield actor.sleep(up_after_ms)
        actor.takes_datagrams_on.add(PORT)
        for number in range(most):
            yield actor.hear_datagrams(number + 1)
            words = b"PONG %d" if number == altered else b"pong %d"
            actor.send(HERE, BACK, words % number)
        yield lambda: False

    return script


def test_a_client_alone_hears_each_answer_after_its_question() -> None:
    world = World(rounds(5), {HERE: asker(*pings(5))})
    verdict = world.run()
    assert not verdict.has_diverged
    assert (verdict.datagrams, verdict.datagrams_matched) == (5, 5)
    assert [what for _, _, what in world.given] == [b"pong %d" % number for number in range(5)]
    assert [letter.port for letter in world.actors[HERE].post] == [NOW] * 5
    assert world.ended is None and not verdict.reordered


def test_a_server_alone_is_asked_and_ended_as_in_the_recording() -> None:
    world = World(rounds(5), {THERE: server()})
    verdict = world.run()
    assert not verdict.has_diverged
    assert (verdict.datagrams, verdict.datagrams_matched, world.signalled) == (5, 5, [THERE])


def test_both_live_are_played_to_each_from_the_tape() -> None:
    verdict = World(rounds(5), {HERE: asker(*pings(5)), THERE: server()}).run()
    assert not verdict.has_diverged
    assert (verdict.datagrams, verdict.datagrams_matched) == (10, 10)


def test_a_server_is_asked_when_it_is_up() -> None:
    world = World(rounds(2), {THERE: server(up_after_ms=700)})
    assert not world.run().has_diverged
    assert world.given[0][0] >= 700 * MS


def test_a_server_that_never_listens_stalls_the_tape() -> None:
    def deaf(actor: Actor) -> Script:
        yield lambda: False

    world = World(rounds(2), {THERE: deaf}, ReplayOptions(stall_ns=SECOND))
    verdict = world.run(most_s=30)
    assert DivergenceKind.STALLED in [each.kind for each in verdict.divergences]


@pytest.mark.parametrize(
    ("said", "kind", "text"),
    [
        ([], DivergenceKind.MISSING, "never said datagram 1 of 5 and 4 more"),
        (pings(4), DivergenceKind.MISSING, "never said datagram 5 of 5"),
        (
            [*pings(3), b"PING", b"ping 4"],
            DivergenceKind.DIFFERENT,
            "said other bytes than in datagram 4 of 5",
        ),
        ([*pings(5), b"ping 5"], DivergenceKind.EXTRA, "said more datagrams than it had said"),
    ],
)
def test_what_a_client_does_otherwise_is_found(said: list[bytes], kind: DivergenceKind, text: str) -> None:
    world = World(rounds(5), {HERE: asker(*said, most_ms=100)}, ReplayOptions(stall_ns=SECOND))
    verdict = world.run(most_s=60)
    first = verdict.divergences[0]
    assert (first.kind, first.text, first.process) == (kind, text, "client")
    assert first.connection == "client -> server:53/udp"
    assert not verdict.is_over or verdict.has_diverged


@pytest.mark.parametrize("wrong", [server(most=0), server(most=3), server(altered=2)])
def test_what_a_server_does_otherwise_is_found(wrong: Callable[[Actor], Script]) -> None:
    world = World(rounds(5), {THERE: wrong}, ReplayOptions(stall_ns=SECOND))
    verdict = world.run(most_s=60)
    assert {each.process for each in verdict.divergences} == {"server"}


def test_a_lost_question_holds_nothing_up_for_ever() -> None:
    """Lossy forgives it, for a later one came."""
    world = World(rounds(5), {HERE: asker(*pings(2), *pings(5)[3:], most_ms=50)})
    verdict = world.run(most_s=10)
    assert not verdict.has_diverged
    assert (verdict.datagrams, verdict.datagrams_matched) == (5, 4)
    assert verdict.notes == {"datagrams left out, where a later one of their flow came": 1}


def test_strict_forgives_nothing() -> None:
    options = ReplayOptions(udp=Strictness.STRICT, stall_ns=SECOND)
    verdict = World(rounds(5), {HERE: asker(*pings(2), *pings(5)[3:], most_ms=50)}, options).run(most_s=60)
    assert verdict.divergences[0].kind is DivergenceKind.DIFFERENT


def test_a_question_that_is_repeated_is_answered_again() -> None:
    def impatient(actor: Actor) -> Script:
        actor.send(THERE, TO, b"ping 0")
        yield actor.hear_datagrams(1)
        actor.send(THERE, TO, b"ping 0")
        yield actor.hear_datagrams(2)

    world = World(rounds(1), {HERE: impatient})
    verdict = world.run(most_s=10)
    assert [what for _, _, what in world.given] == [b"pong 0"] * 2
    assert verdict.notes == {"datagrams said once more": 1}
    assert not verdict.has_diverged


def test_off_compares_nothing() -> None:
    verdict = World(rounds(5), {HERE: asker(b"else")}, ReplayOptions(udp=Strictness.OFF)).run(most_s=60)
    assert (verdict.datagrams, verdict.has_diverged) == (0, False)


def test_what_a_process_says_last_is_heard_though_it_has_exited() -> None:
    """Its packets may be read after the news of its end."""

    def leaves(actor: Actor) -> Script:
        world, process = actor.world, actor.process
        world.later(20 * MS, lambda: actor.send(THERE, TO, b"ping 0"))
        yield lambda: process != process or world.now >= world.began

    writer = TapeWriter("client", "server")
    tape = writer.after(1).datagram(HERE, THERE, (RECORDED, PORT), b"ping 0").after(1).end(THERE)
    verdict = World(tape, {HERE: leaves}).run(most_s=60)
    assert (verdict.datagrams_matched, verdict.has_diverged) == (1, False)


@pytest.mark.parametrize("tape", [TapeWriter("client", "server").after(50).end(), rounds(0)])
def test_who_said_nothing_in_the_recording_may_say_nothing(tape: Tape) -> None:
    verdict = World(tape, {HERE: asker(b"anybody?", most_ms=1)}).run(most_s=60)
    assert [each.kind for each in verdict.divergences] == [DivergenceKind.EXTRA]


def test_a_server_that_had_not_answered_may_not_answer() -> None:
    tape = TapeWriter("client", "server").datagram(HERE, THERE, (RECORDED, PORT), b"ping 0").after(900)
    verdict = World(tape.end(THERE), {THERE: server()}).run(most_s=60)
    assert [(each.kind, each.process) for each in verdict.divergences] == [(DivergenceKind.EXTRA, "server")]
