"""Which record a connection takes, and how others make room for it."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st
from replay.world import TapeWriter

from netplayground.replay.matching import DYNAMIC, Matching
from netplayground.replay.tape import Record

RANGE = (32768, 60999)


def records(*ports: int) -> Sequence[Record]:
    writer = TapeWriter("one", "two")
    for port in ports:
        writer.connect(0, 1, port)
    return writer.tape.records


def matching(*ports: int) -> Matching[str]:
    made: Matching[str] = Matching(records(*ports), RANGE)
    for number in range(len(ports)):
        made.add(number)
    return made


def test_a_connection_takes_the_earliest_record_of_its_key() -> None:
    made = matching(80, 81, 80)
    assert made.earliest((0, 1, 80), 80) == 0
    made.take(0, "a")
    assert made.earliest((0, 1, 80), 80) == 2
    made.take(2, "b")
    assert made.earliest((0, 1, 80), 80) is None
    assert made.earliest((0, 1, 81), 81) == 1
    assert made.earliest((1, 0, 80), 80) is None


def test_a_released_record_is_there_again_and_a_spent_one_is_not() -> None:
    made = matching(80, 80)
    for number in (0, 1):
        made.take(number, "end")
    made.release(0)
    assert made.earliest((0, 1, 80), 80) == 0
    made.spend(0)
    assert made.is_gone(0)
    assert made.earliest((0, 1, 80), 80) is None


def test_of_a_dynamic_key_the_same_port_comes_before_others() -> None:
    made = matching(40000, 40001, 40002)
    key = made.key(0, 1, 50000)
    assert key == (0, 1, DYNAMIC)
    assert made.earliest(key, 40001) == 1
    assert made.earliest(key, 50000) == 0
    made.take(0, "a")
    made.take(1, "b")
    assert made.earliest(key, 40001) == 2
    made.release(1)
    assert made.earliest(key, 40001) == 1


def test_a_holder_that_can_do_with_another_record_makes_room() -> None:
    made = matching(80, 80)
    made.take(0, "says b")
    made.take(1, "has said nothing")

    def fits(end: str, record: Record) -> bool | None:
        return True if end == "has said nothing" or record.number == 1 else None

    moves = made.settle(0, "says b", fits)
    assert moves == [("has said nothing", 0, True), ("says b", 1, True)]
    made.apply(moves, 0)
    assert made.taken == {0: "has said nothing", 1: "says b"}


def test_a_fixed_record_is_not_looked_at_and_an_untaken_one_only_if_it_may() -> None:
    made = matching(80, 80, 80)
    made.take(0, "a")
    made.take(1, "b")
    made.fix(1)
    moves = made.settle(0, "a", lambda end, record: True)
    assert moves == [("a", 2, True)]
    assert made.settle(0, "a", lambda end, record: True, among_taken=True) is None


def best(choices: Sequence[frozenset[int]], size: int) -> bool:
    """Whether all can have one, by trying."""
    if not choices:
        return True
    return any(
        best([choice - {number} for choice in choices[1:]], size)
        for number in choices[0]
        if 0 <= number < size
    )


@given(st.integers(1, 6), st.data())
def test_whoever_can_be_matched_is(size: int, data: st.DataObject) -> None:
    """Ends come one after another; each takes the earliest, then learns what it can be."""
    wanted = data.draw(st.lists(st.frozensets(st.integers(0, size - 1), min_size=1), max_size=size))
    made: Matching[int] = Matching(records(*[80] * size), RANGE)
    for number in range(size):
        made.add(number)
    known: set[int] = set()

    def fits(end: int, record: Record) -> bool | None:
        return True if end not in known or record.number in wanted[end] else None

    for end, choice in enumerate(wanted):
        taken = made.earliest((0, 1, 80), 80)
        assert taken is not None
        made.take(taken, end)
        known.add(end)
        if taken in choice:
            continue
        moves = made.settle(taken, end, fits)
        assert (moves is not None) == best(wanted[: end + 1], size)
        if moves is None:
            return
        made.apply(moves, taken)
        assert sorted(made.taken.values()) == list(range(end + 1))
        assert all(place in wanted[each] for place, each in made.taken.items())
