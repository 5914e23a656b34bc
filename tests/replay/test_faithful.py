"""Processes that do as recorded have a clean replay; one that does anything otherwise has not."""

from __future__ import annotations

import random
from itertools import combinations
from typing import Any

from hypothesis import HealthCheck, assume, given, note, settings
from hypothesis import strategies as st
from replay.faithful import faithful, shown
from replay.world import CLIENT, MS, SECOND, SERVER, TapeWriter, World

from netplayground.replay.options import Pace, ReplayOptions
from netplayground.replay.tape import NONE, Outcome, Tape
from netplayground.replay.verdict import Verdict

PORTS = (80, 81, 40000)
OUTCOMES = (Outcome.REFUSED, Outcome.UNREACHABLE, Outcome.UNANSWERED)


@st.composite
def tapes(draw: st.DrawFn, most: int = 14, alphabet: int = 3, whole: bool = False) -> Tape:
    """A recording of two or three processes, as it may have been."""
    names = ("one", "two", "three")[: draw(st.integers(2, 3))]
    writer = TapeWriter(*names)
    open_sides: dict[int, set[int]] = {}
    for _ in range(draw(st.integers(1, most))):
        writer.after(draw(st.sampled_from((0.0, 0.1, 1.5, 7.0, 60.0))))
        ongoing = [number for number, sides in open_sides.items() if sides]
        what = draw(st.sampled_from(("connect", "say", "say", "say", "fin", "rst", "refused")))
        if what in ("connect", "refused") or not ongoing:
            client, server = draw(st.permutations(range(len(names))))[:2]
            is_accepted = what != "refused"
            outcome = Outcome.ACCEPTED if is_accepted else draw(st.sampled_from(OUTCOMES))
            number = writer.connect(client, server, draw(st.sampled_from(PORTS)), outcome)
            if is_accepted:
                open_sides[number] = {CLIENT, SERVER}
            continue
        number = draw(st.sampled_from(ongoing))
        side = draw(st.sampled_from(sorted(open_sides[number])))
        if what == "say":
            size = draw(st.integers(1, 5))
            writer.say(number, side, bytes(draw(st.integers(97, 96 + alphabet)) for _ in range(size)))
        elif what == "fin":
            writer.fin(number, side)
            open_sides[number].discard(side)
        else:
            writer.rst(number, side)
            open_sides[number].clear()
    has_mark = not whole and draw(st.booleans())
    if not has_mark:  # then all end by themselves, and their kernels close what they leave
        for number, sides in open_sides.items():
            writer.after(1).fin(number, *sorted(sides))
    ended = draw(st.sets(st.sampled_from(range(len(names))), min_size=1)) if has_mark else set()
    return writer.after(1).end(*ended)


def takes_part(tape: Tape, live: tuple[int, ...]) -> bool:
    return any(set(record.processes) & set(live) for record in tape.records)


def subsets(tape: Tape) -> list[tuple[int, ...]]:
    every = range(len(tape.lives))
    return [live for size in range(1, len(tape.lives) + 1) for live in combinations(every, size)]


paces = st.sampled_from(
    (
        ReplayOptions(),
        ReplayOptions(speed=3.7),
        ReplayOptions(speed=0.5),
        ReplayOptions(pace=Pace.MAX),
    )
)


def assert_clean(world: World, verdict: Verdict) -> None:
    assert not verdict.has_diverged, [each.describe() for each in verdict.divergences]
    assert verdict.connection_share == verdict.byte_share == 1.0, verdict
    assert verdict.reordered == 0
    assert world.ended is None, world.ended


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow])
@given(tapes(), paces, st.data())
def test_whoever_does_as_recorded_has_a_clean_replay(tape: Tape, options: ReplayOptions, data: Any) -> None:
    note(shown(tape))
    live = data.draw(st.sampled_from(subsets(tape)))
    world = World(tape, {process: faithful(tape, process) for process in live}, options)
    verdict = world.run()
    assert_clean(world, verdict)
    assert set(world.signalled) <= {n for n in live if tape.lives[n].was_ended_by_plg}
    assert world.looks < 100 + 20 * len(tape)
    if options.pace is Pace.TIMED:
        off = world.now - world.began - tape.time[len(tape) - 1] / options.speed
        assert off < SECOND


@settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(tapes(), paces, st.data(), st.integers(0, 1 << 30))
def test_some_jitter_changes_nothing(tape: Tape, options: ReplayOptions, data: Any, seed: int) -> None:
    note(shown(tape))
    live = data.draw(st.sampled_from(subsets(tape)))
    dice = random.Random(seed)
    pause = lambda: dice.random() * 30  # noqa: E731
    scripts: Any = {process: faithful(tape, process, pause=pause) for process in live}
    world = World(tape, scripts, options, delay=lambda: dice.randrange(5 * MS))
    assert_clean(world, world.run())


@settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow])
@given(tapes(), st.data())
def test_a_flood_is_clean_where_nobody_aborts(tape: Tape, data: Any) -> None:
    """Each hears everything at once, and says what it had said."""
    assume(not any(record.rsts != [NONE, NONE] for record in tape.records))
    note(shown(tape))
    live = data.draw(st.sampled_from(subsets(tape)))
    scripts: Any = {process: faithful(tape, process) for process in live}
    world = World(tape, scripts, ReplayOptions(pace=Pace.FLOOD))
    verdict = world.run(most_s=60)
    assert not verdict.has_diverged, [each.describe() for each in verdict.divergences]
    assert verdict.connection_share == verdict.byte_share == 1.0
