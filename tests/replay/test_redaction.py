"""What was redacted, in a replay: any bytes do, but as many."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay.streaming import pieces, tape_of

from netplayground.dump.model import CLIENT, SERVER, Fact
from netplayground.replay.compare import Mismatch, heard_in, moved, new_comparison
from netplayground.replay.content import Content
from netplayground.replay.exchange import Exchange, Said
from netplayground.replay.flows import UDP, Letter
from netplayground.replay.masks import MOST, parse_masks
from netplayground.replay.options import Strictness
from netplayground.replay.redaction import (
    REDACTED_FACT,
    Redactions,
    Span,
    cover,
    emit_redactions,
    merged,
    parse_redactions,
)
from netplayground.replay.tape import Tape

SPANS = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=5)


def redacted(*streams: bytes, spans: dict[int, list[Span]], events: tuple[int, ...] = (7,)) -> Tape:
    tape = tape_of(*streams, events=events)
    for number, told in spans.items():
        tape.redactions.streams[number, CLIENT] = told
    return tape


def verdict(tape: Tape, said: bytes, *ignore: bytes, sizes: tuple[int, ...] = (5,)) -> Mismatch | None:
    comparison = new_comparison(tape, tape.records[0], CLIENT, parse_masks(ignore))
    for piece in pieces(said, sizes):
        mismatch = comparison.feed(memoryview(piece))
        if mismatch is not None:
            return mismatch
    mismatch = comparison.finish()
    return mismatch if mismatch or comparison.position == len(b"user xxxx!") else Mismatch(-1, b"too short")


def test_any_bytes_do_where_something_was_redacted() -> None:
    tape = redacted(b"user xxxx!", spans={0: [(5, 9)]})
    assert verdict(tape, b"user joe\n!") is None
    assert verdict(tape, b"user xxxx!") is None


def test_more_or_fewer_bytes_do_not() -> None:
    tape = redacted(b"user xxxx!", spans={0: [(5, 9)]})
    assert verdict(tape, b"user hannah!") == Mismatch(9, b"a")  # as far as its piece goes
    assert verdict(tape, b"user jo!") is not None


def test_what_stands_beside_it_is_compared() -> None:
    tape = redacted(b"user xxxx!", spans={0: [(5, 9)]})
    assert verdict(tape, b"User joe\n!") == Mismatch(0, b"User ")
    assert verdict(tape, b"user joe\n?") == Mismatch(9, b"?")


def test_only_the_side_that_was_redacted_may_differ() -> None:
    tape = tape_of(b"user xxxx!")
    tape.redactions.streams[0, SERVER] = [(5, 9)]
    assert verdict(tape, b"user joe\n!") is not None


def test_a_mask_of_ignore_that_begins_earlier_goes_first() -> None:
    tape = redacted(b"user xxxx!", spans={0: [(6, 9)]})
    assert verdict(tape, b"user 1234abc!", rb"\d+|x(?=xxx)") is None


@settings(max_examples=60)
@given(gaps=SPANS, sizes=st.lists(st.integers(1, 12), min_size=1, max_size=4), data=st.data())
def test_the_verdict_does_not_depend_on_pieces(
    gaps: list[tuple[int, int]], sizes: list[int], data: st.DataObject
) -> None:
    spans, at = [], 0
    for gap, length in gaps:
        spans.append((at + gap, at + gap + length))
        at += gap + length
    true = data.draw(st.binary(min_size=at + 3, max_size=at + 3))
    tape = redacted(cover(true, spans, b"x"), spans={0: spans}, events=tuple(sizes))
    comparison = new_comparison(tape, tape.records[0], CLIENT, ())
    for piece in pieces(true, sizes[::-1]):
        assert comparison.feed(memoryview(piece)) is None
    assert comparison.finish() is None and comparison.position == len(true)


def test_a_connection_may_turn_out_to_be_another_redacted_one() -> None:
    tape = redacted(b"xxx one", b"xxx two", spans={0: [(0, 3)], 1: [(0, 3)]})
    one, two = tape.records
    comparison = new_comparison(tape, one, CLIENT, ())
    assert comparison.feed(memoryview(b"joe ")) is None
    assert comparison.feed(memoryview(b"two")) is not None
    other = moved(tape, (), comparison, one, two, CLIENT)
    assert other is not None and other.feed(memoryview(b"two")) is None
    assert heard_in(tape, (), one, two, CLIENT, 4) == 4


def test_a_redacted_datagram_is_found_by_what_stands_beside() -> None:
    held = b"key=xxx;1key=xxx;2"
    tape = Tape((), lambda offset, length: held[offset : offset + length])
    events = [
        tape.add_datagram(Letter(UDP, 0, 1, b"", 40000, 53, held[at : at + 9]), 4, 0, at, 9) for at in (0, 9)
    ]
    tape.redactions.datagrams.update({0: [(4, 7)], 9: [(4, 7)]})
    play = Exchange(tape, Strictness.STRICT, Content((), ()))

    def take(payload: bytes) -> tuple[Said, int]:
        said, _flow, event = play.take(Letter(UDP, 0, 1, b"", 40000, 53, payload), 4)
        return said, event

    assert take(b"key=abc;1") == (Said.FOUND, events[0])
    assert take(b"key=xyz;3")[0] is Said.UNKNOWN
    assert take(b"key=abc;22")[0] is not Said.FOUND


def test_facts_tell_what_they_were_told() -> None:
    many = [(10 * at, 10 * at + 5) for at in range(10_000)]
    told = Redactions({(3, 1): many, (0, 0): [(0, MOST)]}, {4096: [(1, 2), (3, 4)]})
    facts = [Fact(REDACTED_FACT, 0, None, _as_json(fields)) for fields in emit_redactions(told)]
    assert len(facts) == 5
    assert parse_redactions(facts) == told


def test_spans_are_merged_and_not_too_long() -> None:
    assert merged([(5, 7), (0, 3), (3, 4), (6, 9)]) == [(0, 4), (5, 9)]
    assert merged([(0, 100_000)]) == [(0, MOST), (MOST, 100_000)]


def _as_json(fields: dict[str, object]) -> dict[str, object]:
    spans = fields["spans"]
    assert isinstance(spans, list)
    return {**fields, "spans": [list(span) for span in spans]}


@pytest.mark.parametrize(
    "spans",
    [
        None,
        7,
        [7],
        [[1]],
        [[1, 2, 3]],
        [["1", 2]],
        [[2, 1]],
        [[1, 1]],
        [[-1, 2]],
        [[0, MOST + 1]],
        [[True, 2]],
    ],
)
def test_a_span_that_cannot_be_tells_nothing(spans: object) -> None:
    fact = Fact(REDACTED_FACT, 0, None, {"of": 0, "side": 0, "spans": spans})
    assert not parse_redactions([fact])
