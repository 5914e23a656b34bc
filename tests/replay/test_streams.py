"""One side of a record, read as a stream."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from replay.streaming import tape_of

from netplayground.dump.model import CLIENT, SERVER
from netplayground.replay.streams import TapeStream, begin_alike, window_of

SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=6)


@given(st.binary(max_size=60), SIZES, st.integers(0, 70), st.integers(0, 70))
def test_a_window_is_a_part_of_the_stream(
    data: bytes, events: Sequence[int], start: int, length: int
) -> None:
    tape = tape_of(b"before", data, b"behind", events=events)
    assert window_of(tape, tape.records[1], CLIENT, start, length) == data[start : start + length]


@given(st.binary(max_size=60), SIZES, SIZES)
def test_reading_gives_the_stream_and_then_nothing(
    data: bytes, events: Sequence[int], sizes: Sequence[int]
) -> None:
    tape = tape_of(data, events=events)
    stream = TapeStream(tape, tape.records[0], CLIENT)
    read = b"".join(iter(lambda: stream.read(sizes[0]), b""))
    assert read == data
    assert stream.read_exactly(10) == b""


def test_a_side_that_said_nothing_has_an_empty_stream() -> None:
    tape = tape_of(b"question")
    assert window_of(tape, tape.records[0], SERVER, 0, 10) == b""


def test_an_event_without_bytes_is_not_the_end() -> None:
    tape = tape_of(b"one")
    tape.add(0, 2 | CLIENT, 0, 0, 0)
    tape.add(0, 2 | CLIENT, 0, 0, 3)
    assert window_of(tape, tape.records[0], CLIENT, 0, 10) == b"oneone"


@pytest.mark.parametrize(("length", "alike"), [(0, True), (300, True), (301, False), (1000, False)])
def test_streams_begin_alike_up_to_the_first_byte_that_differs(length: int, alike: bool) -> None:
    tape = tape_of(b"x" * 300 + b"yy", b"x" * 300 + b"zz", events=(90, 7))
    one, two = tape.records
    assert begin_alike(tape, one, two, CLIENT, length) is alike


def test_a_stream_begins_like_itself_as_far_as_it_goes() -> None:
    tape = tape_of(b"one")
    record = tape.records[0]
    assert begin_alike(tape, record, record, CLIENT, 3)
    assert not begin_alike(tape, record, record, CLIENT, 4)
