"""How far a replay is on its tape, for whoever looks on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from replay.world import CLIENT, SERVER, Actor, TapeWriter, World

from netplayground.replay.options import Pace, ReplayOptions
from netplayground.replay.tape import Tape

Script = Iterator[Any]
TICKS, EVERY_MS = 10, 1000
LENGTH_NS = TICKS * EVERY_MS * 1_000_000


def ticks() -> Tape:
    writer = TapeWriter("client", "server")
    number = writer.connect(0, 1)
    for _ in range(TICKS):
        writer.after(EVERY_MS).say(number, SERVER, b"tick")
    writer.fin(number, CLIENT, SERVER)
    return writer.end(1)


def positions(pace: Pace) -> list[tuple[int, int]]:
    """Where the tape is when each tick is heard, and at the end."""
    seen: list[tuple[int, int]] = []

    def listener(actor: Actor) -> Script:
        line = actor.connect(1)
        for tick in range(TICKS):
            yield actor.hear(line, 4 * (tick + 1))
            seen.append(world.player.position(world.now))
        actor.fin(line)
        yield actor.hear_fin(line)

    world = World(ticks(), {0: listener}, ReplayOptions(pace=pace))
    assert not world.run().has_diverged
    return [*seen, world.player.position(world.now)]


@pytest.mark.parametrize("pace", list(Pace))
def test_it_grows_up_to_the_length(pace: Pace) -> None:
    seen = positions(pace)
    assert [length for _, length in seen] == [LENGTH_NS] * len(seen)
    shares = [position for position, _ in seen]
    assert shares == sorted(shares) and shares[-1] == LENGTH_NS


def test_in_time_it_is_that_of_the_recording() -> None:
    for tick, (position, _) in enumerate(positions(Pace.TIMED)[:TICKS], 1):
        assert abs(position - tick * EVERY_MS * 1_000_000) < 50_000_000


def test_an_empty_tape_is_at_its_end() -> None:
    world = World(TapeWriter("client", "server").end(1), {0: lambda actor: iter(())})
    assert world.player.position(0) == (0, 0)
