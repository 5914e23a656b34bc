"""The tape's clock against the real one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replay.world import MS, SECOND

from netplayground.replay.clock import SLACK_NS, TapeClock


@pytest.mark.parametrize("speed", [0.25, 1, 3.7])
def test_it_runs_with_the_speed_and_says_when(speed: float) -> None:
    clock = TapeClock(speed)
    clock.start(7 * SECOND)
    assert abs(clock.advance(17 * SECOND) - 10 * SECOND * speed) < 2
    when = clock.when(int(20 * SECOND * speed))
    assert when is not None
    assert abs(when - 27 * SECOND) < 2


def test_it_stands_where_something_is_awaited_and_the_lag_is_the_time_it_stood() -> None:
    clock = TapeClock(1)
    clock.start(0)
    clock.limit = 1 * SECOND
    assert clock.when(2 * SECOND) is None
    assert clock.advance(5 * SECOND) == SECOND + SLACK_NS
    assert clock.lag == 4 * SECOND - SLACK_NS
    clock.limit = None
    assert clock.when(2 * SECOND) == 6 * SECOND - SLACK_NS


def test_who_is_a_little_late_does_not_stop_it() -> None:
    clock = TapeClock(1)
    clock.start(0)
    for step in range(1, 1000):
        clock.limit = step * 50 * MS
        assert clock.advance(step * 50 * MS + 15 * MS) == step * 50 * MS + 15 * MS
    assert clock.lag == 0


@given(
    st.floats(0.01, 100),
    st.lists(st.tuples(st.integers(0, 3 * SECOND), st.none() | st.integers(0, 10 * SECOND)), max_size=20),
)
def test_it_never_goes_back_and_keeps_its_word(speed: float, steps: list[tuple[int, int | None]]) -> None:
    """Whoever awaits what is still to come."""
    clock = TapeClock(speed)
    clock.start(0)
    now = before = 0
    for passed, ahead in steps:
        now += passed
        time = clock.advance(now)
        assert time >= before
        before = time
        clock.limit = None if ahead is None else time + ahead
        due = clock.when(time + SECOND)
        if due is not None:
            now = max(now, due)
            before = clock.advance(now)
            assert before >= time + SECOND - 1 - speed
