"""One direction's queue: what waits, however it came, and what it costs."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from netplayground.capture.stream import PIECE_COST, Overlap, Stream, count_differing

TEXT = bytes(range(256)) * 4


def pieces() -> st.SearchStrategy[list[tuple[int, int, bool]]]:
    """Places and lengths in TEXT, and whether the bytes are others."""
    return st.lists(st.tuples(st.integers(1, 900), st.integers(1, 120), st.booleans()), max_size=40)


@given(pieces(), st.sampled_from(Overlap))
def test_what_waits_is_what_the_policy_says_byte_by_byte(
    segments: list[tuple[int, int, bool]], policy: Overlap
) -> None:
    stream, expected, differing = Stream(), dict[int, int](), 0
    stream.begin(0)
    for begin, length, is_other in segments:
        data = TEXT[begin : begin + length]
        data = bytes(octet ^ 0xFF for octet in data) if is_other else data
        found = stream.insert(begin, data, policy)
        there = {at: octet for at, octet in enumerate(data, begin) if at in expected}
        assert found == sum(expected[at] != octet for at, octet in there.items())
        differing += found
        kept = there if policy is Overlap.FIRST_WINS else {}
        expected.update((at, octet) for at, octet in enumerate(data, begin) if at not in kept)
    waiting = {
        at: octet
        for begin, piece in zip(stream.starts, stream.pieces, strict=True)
        for at, octet in enumerate(piece, begin)
    }
    assert waiting == expected and stream.differing == differing
    assert stream.starts == sorted(stream.starts)
    assert stream.held == len(expected) + PIECE_COST * len(stream.starts)


@given(pieces(), st.lists(st.tuples(st.integers(0, 900), st.integers(1, 50)), max_size=9))
def test_what_is_taken_and_skipped_comes_to_all_and_then_nothing_is_held(
    segments: list[tuple[int, int, bool]], holes: list[tuple[int, int]]
) -> None:
    stream, taken = Stream(), 0
    stream.begin(0)
    for begin, length, _ in segments:
        stream.insert(begin, TEXT[begin : begin + length], Overlap.FIRST_WINS)
    for begin, length in holes:
        stream.hole(begin, begin + length)
    end = max([begin + length for begin, length, *_ in (*segments, *holes)], default=0)
    while stream.waiting >= 0:
        stream.skip(stream.waiting)
        while (some := stream.take_next()) or stream.take_hole():
            taken += sum(map(len, some))
    assert (stream.next, stream.held) == (end, 0)
    assert taken + stream.missing == end


def test_pieces_that_a_segment_overlaps_become_one() -> None:
    stream = Stream()
    stream.begin(0)
    for at in range(1, 1001, 2):
        stream.insert(at, TEXT[at : at + 1], Overlap.FIRST_WINS)
    assert len(stream.starts) == 500
    stream.insert(1, TEXT[1:1001], Overlap.LAST_WINS)
    assert (stream.starts, stream.pieces) == ([1], [TEXT[1:1001]])


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_places_that_differ(one: bytes, other: bytes) -> None:
    length = min(len(one), len(other))
    one, other = one[:length], other[:length]
    assert count_differing(one, other) == sum(a != b for a, b in zip(one, other, strict=True))
