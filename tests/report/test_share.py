"""The limit to which parts are cut, so that they fit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netplayground.report.share import fair_limit

SIZES = st.lists(st.integers(0, 1000), max_size=30)


@given(SIZES, st.integers(0, 5000))
def test_the_parts_fit_and_no_larger_limit_would_do(sizes: list[int], room: int) -> None:
    limit = fair_limit(sizes, room)
    assert sum(min(size, limit) for size in sizes) <= room
    if limit < max(sizes, default=0):
        assert sum(min(size, limit + 1) for size in sizes) > room


def test_small_parts_are_not_cut_for_large_ones() -> None:
    assert fair_limit([10, 20, 1_000_000], 100) == 70
