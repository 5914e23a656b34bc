"""Masks, and the segments into which they cut a recorded stream."""

from __future__ import annotations

import pytest
from replay.streaming import tape_of

from netplayground.dump.model import CLIENT
from netplayground.errors import UsageError
from netplayground.replay.masks import Mask, address_masks, parse_masks, segments
from netplayground.replay.streams import TapeStream


def cut(recorded: bytes, *masks: Mask, event: int = 7) -> list[tuple[bytes, bool]]:
    tape = tape_of(recorded, events=(event,))
    stream = TapeStream(tape, tape.records[0], CLIENT)
    return [(segment.data, segment.mask is not None) for segment in segments(stream, masks)]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"(", "missing ), unterminated subpattern at position 0"),
        (b"a{2,1}", "min repeat greater than max repeat at position 2"),
        (b"", "it matches the empty string only"),
        (b"^", "it matches the empty string only"),
        (b"(?=Date)", "it matches the empty string only"),
    ],
)
def test_what_is_no_mask_is_refused_in_one_line(text: bytes, reason: str) -> None:
    with pytest.raises(UsageError) as refused:
        parse_masks([b"good", text])
    assert str(refused.value) == f"cannot use --ignore {text.decode()!r}: {reason}"


def test_no_mask_is_needed_where_no_address_changed() -> None:
    assert address_masks({"10.0.0.1": "10.0.0.1", "fd00::1": "fd00::1"}) == ()


def test_a_stream_is_cut_into_literals_and_spans() -> None:
    assert cut(b"id 12 and 345", *parse_masks([rb"[0-9]+"])) == [
        (b"id ", False),
        (b"12", True),
        (b" and ", False),
        (b"345", True),
    ]


def test_spans_begin_at_the_leftmost_match_and_do_not_overlap() -> None:
    masks = parse_masks([rb"b+c?", rb"abc", rb"cd"])
    assert cut(b"abcd bbcd", *masks) == [(b"abc", True), (b"d ", False), (b"bbc", True), (b"d", False)]


def test_empty_matches_are_no_spans() -> None:
    assert cut(b"aab", *parse_masks([rb"b*"])) == [(b"aa", False), (b"b", True)]
    assert cut(b"aab", *parse_masks([rb"b*?"])) == [(b"aab", False)]


def test_an_empty_stream_has_no_segments() -> None:
    assert cut(b"", *parse_masks([rb"x"])) == []
