"""A live process against what was recorded: the verdict, its place, and that it does not depend on pieces."""

from __future__ import annotations

from collections.abc import Sequence
from unittest.mock import patch

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replay.streaming import pieces, tape_of

from netplayground.dump.model import CLIENT, SERVER
from netplayground.replay.compare import MOST_MOVED, Comparison, Mismatch, heard_in, moved, new_comparison
from netplayground.replay.masks import MOST, Mask, address_masks, parse_masks

SIZES = st.lists(st.integers(1, 12), min_size=1, max_size=6)


def compared(recorded: bytes, *masks: Mask, events: Sequence[int] = (7,)) -> Comparison:
    tape = tape_of(recorded, events=events)
    return new_comparison(tape, tape.records[0], CLIENT, masks)


def say(comparison: Comparison, *said: bytes) -> Mismatch | None:
    for data in said:
        mismatch = comparison.feed(memoryview(data))
        if mismatch is not None:
            return mismatch
    return None


class TestWithoutMasks:
    def test_equal_bytes_are_settled_piece_by_piece(self) -> None:
        comparison = compared(b"one two three")
        assert say(comparison, b"one ", b"two") is None
        assert comparison.position == 7 and comparison.masked == 0
        assert say(comparison, b" three") is None and comparison.finish() is None
        assert comparison.position == 13

    def test_the_first_byte_that_differs_is_told(self) -> None:
        comparison = compared(b"one two three")
        assert say(comparison, b"one ", b"two THREE") == Mismatch(8, b"THREE")

    def test_what_differs_changes_nothing(self) -> None:
        comparison = compared(b"one two three")
        assert say(comparison, b"one ", b"two THREE") is not None
        assert comparison.position == 4
        assert say(comparison, b"two three") is None

    def test_more_than_was_recorded_is_extra(self) -> None:
        assert say(compared(b"one"), b"one more") == Mismatch(3, b" more", is_extra=True)
        assert say(compared(b""), b"x") == Mismatch(0, b"x", is_extra=True)

    def test_the_context_is_short(self) -> None:
        mismatch = say(compared(b"a" * 1000), b"a" * 10 + b"b" * 500)
        assert mismatch == Mismatch(10, b"b" * 64)

    def test_each_side_is_compared_with_its_own(self) -> None:
        tape = tape_of(b"answer", side=SERVER)
        assert say(new_comparison(tape, tape.records[0], SERVER, ()), b"answer") is None
        assert say(new_comparison(tape, tape.records[0], CLIENT, ()), b"a") == Mismatch(0, b"a", True)

    @given(st.binary(max_size=40), st.binary(max_size=40), SIZES, SIZES)
    def test_the_verdict_is_that_of_bytes(
        self, recorded: bytes, said: bytes, events: Sequence[int], sizes: Sequence[int]
    ) -> None:
        mismatch = say(compared(recorded, events=events), *pieces(said, sizes))
        both = zip(recorded, said, strict=False)
        same = next((at for at, pair in enumerate(both) if pair[0] != pair[1]), None)
        if same is None:
            same = len(recorded) if len(said) > len(recorded) else None
        assert (None if mismatch is None else mismatch.position) == same
        assert mismatch is None or mismatch.is_extra == (same == len(recorded))


DATE = parse_masks([rb"Date: .*"])
NUMBER = parse_masks([rb"[0-9]+"])


class TestPosition:
    """A give may wait for the position: it shows at once what was said."""

    def test_a_span_at_the_end_is_settled_at_once(self) -> None:
        comparison = compared(b"id 123", *NUMBER)
        assert say(comparison, b"id 4") is None
        assert comparison.position == 6 and comparison.masked == 3

    def test_a_span_that_grows_stays_settled(self) -> None:
        comparison = compared(b"id 123\nid 7", *NUMBER)
        assert say(comparison, b"id 4", b"5", b"6", b"78") is None
        assert comparison.position == 6
        assert say(comparison, b"\n", b"id ") is None
        assert comparison.position == 10 and comparison.masked == 3

    def test_a_span_that_has_not_begun_to_match_waits(self) -> None:
        comparison = compared(b"Date: Mon\r\n\r\n", *DATE)
        assert say(comparison, b"Da") is None
        assert comparison.position == 0
        assert say(comparison, b"te: Tuesday\r\n") is None
        assert comparison.position == 11

    def test_spans_next_to_one_another(self) -> None:
        masks = parse_masks([rb"[0-9]+", rb"[a-z]+"])
        comparison = compared(b"12ab34.", *masks)
        assert say(comparison, b"1", b"x") is None
        assert comparison.position == 4
        assert say(comparison, b"y", b"5") is None
        assert comparison.position == 6
        assert say(comparison, b".") is None and comparison.finish() is None
        assert comparison.position == 7 and comparison.masked == 6

    def test_a_span_may_be_said_as_nothing_where_its_mask_allows(self) -> None:
        masks = parse_masks([rb"(?<=name=)\w*"])
        comparison = compared(b"name=joe;", *masks)
        assert say(comparison, b"name=", b";") is None
        assert comparison.position == 9

    def test_nothing_said_at_the_end_is_settled_when_no_more_comes(self) -> None:
        comparison = compared(b"name=joe", *parse_masks([rb"(?<=name=)\w*"]))
        assert say(comparison, b"name=") is None
        assert comparison.position == 5
        assert comparison.finish() is None
        assert comparison.position == 8

    def test_bytes_missing_in_a_span_are_not_settled_when_no_more_comes(self) -> None:
        comparison = compared(b"x Date: Mon", *DATE)
        assert say(comparison, b"x Dat") is None and comparison.finish() is None
        assert comparison.position == 2


class TestMasks:
    def test_what_no_mask_matches_is_a_mismatch_at_the_span(self) -> None:
        assert say(compared(b"id 123.", *NUMBER), b"id ", b"x23.") == Mismatch(3, b"x23.")

    def test_literal_bytes_behind_a_span_count(self) -> None:
        assert say(compared(b"id 123, ok", *NUMBER), b"id 4567", b", OK") == Mismatch(8, b"OK")

    def test_what_differs_changes_nothing(self) -> None:
        comparison = compared(b"id 123, ok", *NUMBER)
        assert say(comparison, b"id 4", b"567, OK") is not None
        assert comparison.position == 6
        assert say(comparison, b"56, ok") is None and comparison.position == 10

    def test_more_than_was_recorded_is_extra(self) -> None:
        assert say(compared(b"id 1", *NUMBER), b"id 2", b"2x") == Mismatch(4, b"x", is_extra=True)

    def test_what_a_longer_match_may_explain_is_in_doubt(self) -> None:
        masks = parse_masks([rb"a(?:b*c)?"])
        comparison = compared(b"a.", *masks)
        assert say(comparison, b"ab", b"b") is None
        assert say(comparison, b"c.") is None and comparison.position == 2

    def test_doubt_is_decided_by_the_next_bytes_or_by_none(self) -> None:
        masks = parse_masks([rb"a(?:b*c)?"])
        comparison = compared(b"a.", *masks)
        assert say(comparison, b"ab") is None
        assert say(comparison, b"x") == Mismatch(1, b"bx")
        assert comparison.finish() == Mismatch(1, b"b")

    def test_a_match_that_failed_behind_bytes_that_fit_takes_the_position_back(self) -> None:
        masks = parse_masks([rb"a(?:b*c)?"])
        comparison = compared(b"abb", *masks)
        assert say(comparison, b"abb") is None
        assert comparison.position == 3
        assert say(comparison, b"c") is None
        assert comparison.position == 1
        assert say(comparison, b"bb") is None and comparison.finish() is None
        assert comparison.position == 3

    def test_anchors_see_the_line_before(self) -> None:
        masks = parse_masks([rb"(?m)^id .*$"])
        comparison = compared(b"x\nid 1\nid 22\nend id 3", *masks)
        assert say(comparison, b"x\n", b"id 777\n", b"id 8", b"\nend id 3") is None
        assert comparison.position == 21 and comparison.masked == 9
        assert say(compared(b"end id 3", *masks), b"end id 4") == Mismatch(7, b"4")

    def test_the_first_mask_given_wins_where_two_begin(self) -> None:
        masks = parse_masks([rb"ab", rb"a[a-z]*"])
        assert say(compared(b"abc", *masks), b"abx") == Mismatch(2, b"x")
        assert say(compared(b"abc", *reversed(masks)), b"abx") is None

    def test_a_match_ends_after_64_kib(self) -> None:
        masks = parse_masks([rb"(?s)BEGIN.*"])
        comparison = compared(b"BEGIN" + b"x" * MOST + b"y" * 100, *masks, events=(60000,))
        assert say(comparison, b"BEGIN" + b"z" * (MOST - 5) + b"xxxxx" + b"y" * 100) is None
        assert comparison.masked == MOST
        assert comparison.position == MOST + 105

    def test_a_match_beyond_a_window_is_found(self) -> None:
        recorded = b"".join(b"%d: %s\n" % (number, b"x" * 999) for number in range(1000))
        said = recorded.replace(b"9", b"10")
        comparison = compared(recorded, *NUMBER, events=(65495,))
        assert say(comparison, *pieces(said, (100_000, 3))) is None
        assert comparison.finish() is None and comparison.position == len(recorded)
        assert comparison.masked == sum(len(str(number)) for number in range(1000))


ADDRESSES = {"10.0.0.1": "192.168.7.1", "10.0.0.2": "192.168.7.2", "fd00::1": "fd01::1"}


class TestAddresses:
    @pytest.mark.parametrize(
        ("recorded", "said"),
        [
            (b"http://10.0.0.1:80/", b"http://192.168.7.1:80/"),
            (b"PORT 10,0,0,2,195,80\r\n", b"PORT 192,168,7,2,195,80\r\n"),
            (b"[fd00::1]:80", b"[fd01::1]:80"),
            (b"at 10.0.0.1, 10.0.0.2.", b"at 192.168.7.1, 10.0.0.2."),
        ],
    )
    def test_an_address_may_be_said_as_that_of_the_replay(self, recorded: bytes, said: bytes) -> None:
        masks = address_masks(ADDRESSES)
        for sizes in ((1,), (4,), (100,)):
            for told in (said, recorded):
                comparison = compared(recorded, *masks)
                assert say(comparison, *pieces(told, sizes)) is None and comparison.finish() is None
                assert comparison.position == len(recorded) and comparison.masked == 0

    def test_no_address_is_said_for_another(self) -> None:
        assert say(compared(b"to 10.0.0.1 ", *address_masks(ADDRESSES)), b"to 192.168.7.2 ") is not None

    def test_part_of_a_longer_number_is_no_address(self) -> None:
        for text in (b"110.0.0.1 ", b"10.0.0.12 ", b"10.0.0.1.3 ", b"1.10.0.0.1 "):
            said = text.replace(b"10.0.0.1", b"192.168.7.1")
            assert say(compared(text, *address_masks(ADDRESSES)), said) is not None


class TestMoved:
    def test_what_was_said_goes_on_along_another_record(self) -> None:
        tape = tape_of(b"hello one", b"hello two")
        one, two = tape.records
        comparison = new_comparison(tape, one, CLIENT, ())
        assert say(comparison, b"hello ") is None
        there = moved(tape, (), comparison, one, two, CLIENT)
        assert there is not None and there.position == 6
        assert say(there, b"two") is None
        assert say(comparison, b"one") is None

    def test_what_does_not_fit_is_not_moved(self) -> None:
        tape = tape_of(b"hello one", b"hallo two", b"he")
        one, two, short = tape.records
        comparison = new_comparison(tape, one, CLIENT, ())
        assert say(comparison, b"hello") is None
        assert moved(tape, (), comparison, one, two, CLIENT) is None
        assert moved(tape, (), comparison, one, short, CLIENT) is None

    def test_spans_are_moved_as_they_were_said(self) -> None:
        tape = tape_of(b"id 1, name joe 5", b"id 22, name ann", b"id 1; name")
        one, two, three = tape.records
        comparison = new_comparison(tape, one, CLIENT, NUMBER)
        assert say(comparison, b"id 333, name ") is None
        there = moved(tape, NUMBER, comparison, one, two, CLIENT)
        assert there is not None and there.position == 12 and there.masked == 2
        assert say(there, b"ann") is None
        assert moved(tape, NUMBER, comparison, one, three, CLIENT) is None
        assert say(comparison, b"joe 6") is None and comparison.position == 16

    def test_an_open_span_is_moved_open(self) -> None:
        tape = tape_of(b"id 1,", b"id 22;")
        one, two = tape.records
        comparison = new_comparison(tape, one, CLIENT, NUMBER)
        assert say(comparison, b"id 3") is None
        there = moved(tape, NUMBER, comparison, one, two, CLIENT)
        assert there is not None and there.position == 5
        assert say(there, b"4;") is None and there.position == 6

    @pytest.mark.parametrize("masks", [(), NUMBER])
    def test_no_more_than_a_mebibyte_is_moved(self, masks: tuple[Mask, ...]) -> None:
        stream = b"x" * (MOST_MOVED + 1)
        tape = tape_of(stream, stream, events=(65495,))
        one, two = tape.records
        comparison = new_comparison(tape, one, CLIENT, masks)
        assert say(comparison, stream[:-1]) is None
        assert moved(tape, masks, comparison, one, two, CLIENT) is not None
        assert say(comparison, b"x") is None
        assert moved(tape, masks, comparison, one, two, CLIENT) is None


class TestHeard:
    def test_equal_bytes_are_heard_up_to_the_same_position(self) -> None:
        tape = tape_of(b"hello one", b"hello two")
        one, two = tape.records
        assert [heard_in(tape, (), one, two, CLIENT, given) for given in (0, 6, 7)] == [0, 6, None]

    def test_spans_of_another_length_are_heard_whole(self) -> None:
        tape = tape_of(b"id 1, x", b"id 333, y")
        one, two = tape.records
        heard = [heard_in(tape, NUMBER, one, two, CLIENT, given) for given in range(8)]
        assert heard == [0, 1, 2, 3, 6, 7, 8, None]

    def test_the_middle_of_a_span_is_known_by_equal_bytes_only(self) -> None:
        tape = tape_of(b"id 123, x", b"id 145, y")
        one, two = tape.records
        heard = [heard_in(tape, NUMBER, one, two, CLIENT, given) for given in (4, 5, 6)]
        assert heard == [4, None, 6]

    def test_no_more_than_a_mebibyte_is_looked_at(self) -> None:
        stream = b"x" * (MOST_MOVED + 1)
        tape = tape_of(stream, stream, events=(65495,))
        one, two = tape.records
        assert heard_in(tape, (), one, two, CLIENT, MOST_MOVED) == MOST_MOVED
        assert heard_in(tape, (), one, two, CLIENT, MOST_MOVED + 1) is None


class TestAnyMasksAnyPieces:
    """Against the plain definition: cut what was recorded where masks match, measure what was said whole."""

    TEXTS = (
        rb"[0-9]+",
        rb"[0-9]{2}",
        rb"a.*",
        rb"a[ab]*?b",
        rb"a(?:b*0)?",
        rb"(?m)^b.*$",
        rb"(?s)a.*?1",
        rb"(?<=0)[ab]*",
        rb"(?<![01])b+",
        rb"(a|b)0\1",
        rb"(?:a|ab)(?:0|b01)?",
        rb"\bab?\b",
        rb"b(?=[01]*\n)",
        rb"a(?!b)1?",
        rb"[ab]+$",
        rb"(?i)A|1\Z",
    )
    BYTES = st.text("aabb001\n", max_size=24).map(str.encode)
    SHORT_SIGHTED = st.lists(
        st.sampled_from(TEXTS[:5] + TEXTS[7:11]), min_size=1, max_size=3, unique=True
    ).map(parse_masks)
    """See one byte before a match and none behind."""
    MASKS = st.lists(st.sampled_from(TEXTS), min_size=1, max_size=3, unique=True).map(parse_masks)

    @staticmethod
    def edited(recorded: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
        for at, length, instead in edits:
            recorded = recorded[:at] + instead + recorded[at + length :]
        return recorded

    EDITS = st.lists(
        st.tuples(st.integers(0, 12), st.integers(0, 2), BYTES.map(lambda data: data[:2])), max_size=3
    )

    @staticmethod
    def verdict(recorded: bytes, said: bytes, masks: Sequence[Mask], most: int) -> tuple[str, int]:
        at = position = 0
        for data, mask in cut(recorded, masks, most):
            if mask is None:
                for byte in data:
                    if at == len(said):
                        return "missing", position
                    if said[at] != byte:
                        return "mismatch", position
                    at, position = at + 1, position + 1
            else:
                found = mask.pattern.match(said, at, at + most)
                if found is None:
                    return "unmatched", position
                at, position = found.end(), position + len(data)
        return ("extra" if at < len(said) else "equal"), position

    def check(
        self,
        recorded: bytes,
        said: bytes,
        masks: Sequence[Mask],
        events: Sequence[int],
        sizes: Sequence[int],
        most: int = MOST,
    ) -> None:
        expected, where = self.verdict(recorded, said, masks, most)
        comparison = compared(recorded, *masks, events=events)
        mismatch = say(comparison, *pieces(said, sizes)) or comparison.finish()
        if mismatch is None:
            assert comparison.position == where
            assert expected in ("equal" if where == len(recorded) else "missing", "unmatched")
        else:
            assert mismatch.position == where
            assert expected in ("extra" if mismatch.is_extra else "mismatch", "unmatched")

    @settings(max_examples=500)
    @given(BYTES, EDITS, MASKS, SIZES, SIZES)
    def test_the_verdict_is_that_of_all_bytes_at_once(
        self,
        recorded: bytes,
        edits: list[tuple[int, int, bytes]],
        masks: Sequence[Mask],
        events: Sequence[int],
        sizes: Sequence[int],
    ) -> None:
        self.check(recorded, self.edited(recorded, edits), masks, events, sizes)

    @settings(max_examples=300)
    @given(BYTES, EDITS, SHORT_SIGHTED, SIZES, SIZES)
    def test_the_verdict_is_that_of_a_stream_held_whole(
        self,
        recorded: bytes,
        edits: list[tuple[int, int, bytes]],
        masks: Sequence[Mask],
        events: Sequence[int],
        sizes: Sequence[int],
    ) -> None:
        said = self.edited(recorded, edits)
        with (
            patch.multiple("netplayground.replay.masks", MOST=5, _WINDOWS=(2, 1), LOOKBACK=1),
            patch("netplayground.replay.compare.LOOKBACK", 1),
        ):
            self.check(recorded, said, masks, events, sizes, most=5)

    @given(BYTES, MASKS, SIZES, SIZES)
    def test_what_was_recorded_fits_itself(
        self, recorded: bytes, masks: Sequence[Mask], events: Sequence[int], sizes: Sequence[int]
    ) -> None:
        comparison = compared(recorded, *masks, events=events)
        assert say(comparison, *pieces(recorded, sizes)) is None and comparison.finish() is None
        assert comparison.position == len(recorded)
        assert comparison.masked == sum(len(data) for data, mask in cut(recorded, masks) if mask)

    @given(BYTES, EDITS, EDITS, MASKS, SIZES)
    def test_what_is_moved_goes_on_as_if_said_there(
        self,
        recorded: bytes,
        edits: list[tuple[int, int, bytes]],
        other_edits: list[tuple[int, int, bytes]],
        masks: Sequence[Mask],
        sizes: Sequence[int],
    ) -> None:
        said = self.edited(recorded, edits)
        tape = tape_of(recorded, self.edited(recorded, other_edits))
        one, two = tape.records
        here, there = (new_comparison(tape, record, CLIENT, masks) for record in (one, two))
        for data in pieces(said, sizes):
            if say(here, data) is not None:
                break
            mismatch = say(there, data)
            gone = moved(tape, masks, here, one, two, CLIENT)
            assert (gone is None) == (mismatch is not None)
            if gone is None:
                break
            assert (gone.position, gone.masked) == (there.position, there.masked)


def cut(recorded: bytes, masks: Sequence[Mask], most: int = MOST) -> list[tuple[bytes, Mask | None]]:
    """The segments, one literal byte each."""
    segments: list[tuple[bytes, Mask | None]] = []
    at = 0
    while at < len(recorded):
        found = ((mask.pattern.match(recorded, at, at + most), mask) for mask in masks)
        data, which = next(
            ((match.group(), mask) for match, mask in found if match and match.group()),
            (recorded[at : at + 1], None),
        )
        segments.append((data, which))
        at += len(data)
    return segments
