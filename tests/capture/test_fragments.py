"""Fragments to packets, whatever comes in whatever order, with bounded memory."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.capture import fragments
from netplayground.capture.fragments import TIMEOUT_NS, Fragments
from netplayground.capture.network import Network

ENDS = bytes([10, 1, 2, 3, 10, 1, 2, 4])


def fragment(begin: int, data: bytes, is_last: bool = False, number: int = 1) -> tuple[Network, bytes]:
    return Network(4, 17, ENDS, 0, len(data), 0, number, begin, is_last), data


def cut(whole: bytes, places: list[int], number: int = 1) -> list[tuple[Network, bytes]]:
    """Cut a payload at places that are counted in eights."""
    ends = [*sorted({8 * at for at in places if 0 < 8 * at < len(whole)}), len(whole)]
    begins = [0, *ends[:-1]]
    return [
        fragment(begin, whole[begin:end], end == len(whole), number)
        for begin, end in zip(begins, ends, strict=True)
    ]


@given(st.integers(1, 4000), st.lists(st.integers(1, 499), min_size=1, max_size=40), st.randoms())
def test_any_cuts_in_any_order_with_repetitions_come_to_the_whole(
    length: int, places: list[int], chance: random.Random
) -> None:
    whole = chance.randbytes(length)
    pieces = cut(whole, places)
    pieces += [chance.choice(pieces) for _ in range(3)]
    chance.shuffle(pieces)
    waiting, found = Fragments(), []
    for network, data in pieces:
        if (done := waiting.take(network, data, 0)) is not None:
            found.append(done)
    assert found[0] == whole
    # What is repeated after that is the beginning of another datagram, for all that anybody knows.
    assert all(each == whole for each in found)


@pytest.mark.parametrize(
    "wrong",
    [
        fragment(8, b"y" * 16),
        fragment(4, b"y" * 8),
        fragment(0, b"y" * 8),
        fragment(0, b"x" * 7),
        fragment(16, b"y" * 8, is_last=True),
        fragment(65_528, b"y" * 16, is_last=True),
    ],
    ids=["overlaps two", "begins in one", "other bytes", "no eights", "ends before others", "too long"],
)
def test_a_fragment_that_does_not_agree_takes_all_with_it(wrong: tuple[Network, bytes]) -> None:
    waiting = Fragments()
    whole = b"x" * 40
    for network, data in cut(whole, [1, 2, 3])[:1] + cut(whole, [1, 2, 3])[2:3]:
        assert waiting.take(network, data, 0) is None
    assert waiting.take(fragment(24, b"x" * 8)[0], b"x" * 8, 0) is None
    assert waiting.take(*wrong, 0) is None
    assert waiting.dropped == 4


def test_what_waits_too_long_is_dropped_and_counted() -> None:
    waiting = Fragments()
    first, last = cut(b"x" * 40, [2])
    waiting.take(*first, 0)
    waiting.take(*last, TIMEOUT_NS + 1)
    assert waiting.dropped == 1
    assert waiting.take(*first, TIMEOUT_NS + 2) == b"x" * 40


def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fragments, "WAITING_MOST", 10_000)
    waiting = Fragments()
    for number in range(1000):
        waiting.take(*fragment(0, b"x" * 800, number=number), 0)
    assert 985 < waiting.dropped < 1000
    assert waiting.take(*fragment(800, b"y", is_last=True, number=999), 0) == b"x" * 800 + b"y"


def test_a_datagram_of_as_many_fragments_as_can_be() -> None:
    """8,190 pieces that come from the last to the first."""
    whole = random.Random(1).randbytes(65_515)
    pieces = cut(whole, list(range(1, 8190)))
    waiting = Fragments()
    *early, last = [waiting.take(network, data, 0) for network, data in reversed(pieces)]
    assert last == whole and not any(early) and len(pieces) == 8190
