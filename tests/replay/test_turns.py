"""Whose turn it is: who reacted first in the recording hears first."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from replay.world import CLIENT, MS, SERVER, Actor, TapeWriter, World

from netplayground.replay.options import Pace, ReplayOptions
from netplayground.replay.tape import Tape

Script = Iterator[Any]


def pool(reactions: list[int]) -> Tape:
    """Workers on kept connections: all hear at once, in order; then they ask on, in the order of
    `reactions`."""
    writer = TapeWriter("pool", "server")
    numbers = [writer.connect(0, 1) for _ in reactions]
    job = 0
    for number in numbers:
        writer.after(0.1).say(number, CLIENT, b"job %3d" % job)
        job += 1
    for _ in range(5):
        writer.after(5)
        for number in numbers:
            writer.after(0.02).say(number, SERVER, b"done")
        for worker in reactions:
            writer.after(0.02).say(numbers[worker], CLIENT, b"job %3d" % job)
            job += 1
    writer.after(5)
    for number in numbers:
        writer.fin(number, CLIENT, SERVER)
    return writer.end(1)


def workers(many: int, slowness_ms: float) -> Any:
    """Each takes the next job when it has heard of the last one, and says so a moment later."""

    def script(actor: Actor) -> Script:
        jobs = iter(range(many * 6))

        def work() -> Script:
            job = next(jobs)
            line = actor.connect(1)
            for done in range(6):
                actor.say(line, b"job %3d" % job)
                if done < 5:
                    yield actor.hear(line, 4 * (done + 1))
                    job = next(jobs)
                    yield actor.sleep(slowness_ms)
            actor.fin(line)

        for _ in range(many):
            actor.go(work())
        yield lambda: True

    return script


def test_workers_that_share_a_queue_take_from_it_in_the_order_in_which_they_did() -> None:
    for options in (ReplayOptions(), ReplayOptions(pace=Pace.MAX)):
        world = World(pool([2, 0, 3, 1]), {0: workers(4, 0.3)}, options)
        verdict = world.run()
        assert not verdict.has_diverged, verdict.first
        assert verdict.reordered == 0


def test_a_go_between_that_must_hear_first_is_not_kept_waiting_for_long() -> None:
    """It hears on one connection and says so on the other before it answers on the first."""
    writer = TapeWriter("asker", "between", "store")
    front, back = writer.connect(0, 1), writer.connect(1, 2)
    for _ in range(50):
        writer.after(1).say(front, CLIENT, b"get")
        writer.after(0.1).say(back, CLIENT, b"GET").after(0.1).say(back, SERVER, b"OK")
        writer.after(0.1).say(front, SERVER, b"ok")
    writer.fin(front, CLIENT, SERVER).fin(back, CLIENT, SERVER)

    def between(actor: Actor) -> Script:
        upstream = actor.connect(2)
        yield actor.accept()
        line = actor.accepted.pop()
        for index in range(50):
            yield actor.hear(line, 3 * (index + 1))
            actor.say(upstream, b"GET")
            yield actor.hear(upstream, 2 * (index + 1))
            actor.say(line, b"ok")
        yield actor.hear_fin(line)
        actor.fin(line)
        actor.fin(upstream)
        yield lambda: False

    world = World(writer.end(1), {1: between}, ReplayOptions(pace=Pace.MAX))
    verdict = world.run()
    assert not verdict.has_diverged, verdict.first
    assert world.now - world.began < 500 * MS
