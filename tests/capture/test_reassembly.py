"""Segments in whatever order a capture has them, and the connections that they were."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest
from capture.frames import START_NS, Frame, Talk, in_time, tcp
from capture.listening import Ears, Heard, feed, reassemble
from hypothesis import example, given
from hypothesis import strategies as st

from netplayground.capture.connection import Gaps
from netplayground.capture.reassembly import Full, Limits, Reassembler
from netplayground.capture.stream import AHEAD_MOST, Overlap
from netplayground.dump.model import Ending
from netplayground.errors import CaptureError
from netplayground.packet.tcp import ACK, FIN, PSH, RST, SYN

QUESTION, ANSWER = b"question " * 30, b"the answer " * 50
SECOND = 1_000_000_000


def talk(**changes: object) -> Talk:
    """Give a whole conversation in small segments."""
    played = Talk(**changes).open()  # type: ignore[arg-type]
    return played.say(0, QUESTION, 70).say(1, ANSWER, 90).say(0, b"bye", 1).close()


def only(heard: Sequence[Heard]) -> Heard:
    assert len(heard) == 1, heard
    return heard[0]


def assert_whole(heard: Heard, played: Talk, ending: Ending = Ending.CLOSED) -> None:
    assert heard.streams == (bytes(played.said[0]), bytes(played.said[1]))
    assert (heard.ending, heard.missing, heard.has_start) == (ending, [0, 0], True)


def shuffled(frames: Sequence[Frame], window: int, seed: int) -> list[Frame]:
    """Move each frame by less than `window` places; each keeps its time."""
    chance = random.Random(seed)
    order = sorted(range(len(frames)), key=lambda at: at + chance.random() * window)
    return [frames[at] for at in order]


def test_a_conversation_in_order() -> None:
    played = talk()
    heard = only(reassemble(played.frames))
    assert_whole(heard, played)
    assert heard.fins == [0, 1]


@given(st.integers(0, 1 << 32), st.integers(2, 40), st.data())
def test_any_order_and_duplication_within_a_window_reassembles_alike(
    seed: int, window: int, data: st.DataObject
) -> None:
    played = talk()
    again = data.draw(st.lists(st.integers(0, len(played.frames) - 1), max_size=20))
    frames = list(played.frames)
    for at in sorted(again, reverse=True):
        frames.insert(at, frames[at])
    assert_whole(only(reassemble(shuffled(frames, window, seed))), played)


@given(st.permutations(list(range(12))))
def test_every_order_of_a_short_conversation_reassembles_alike(order: list[int]) -> None:
    played = Talk().open().say(0, b"abcdef", 3).say(1, b"uvwxyz", 6).close()
    assert len(played.frames) == 12
    heard = only(reassemble([played.frames[at] for at in order]))
    assert heard.streams == (b"abcdef", b"uvwxyz")
    assert heard.ending is Ending.CLOSED


@given(st.integers(0, 300), st.integers(0, 600))
def test_sequence_numbers_wrap(client: int, server: int) -> None:
    played = talk(initial=((1 << 32) - client, (1 << 32) - server))
    assert_whole(only(reassemble(played.frames)), played)
    assert_whole(only(reassemble(shuffled(played.frames, 20, client))), played)


@given(st.lists(st.tuples(st.integers(0, 299), st.integers(1, 120)), min_size=1, max_size=40), st.booleans())
def test_equal_overlaps_change_nothing(cuts: list[tuple[int, int]], last: bool) -> None:
    played = Talk().open()
    data = random.Random(len(cuts)).randbytes(300)
    for at, length in [*cuts, (0, 300)]:
        played.send(0, PSH | ACK, data[at : at + length], shift=at, counts=False)
    heard = only(reassemble(played.frames, Overlap.LAST_WINS if last else Overlap.FIRST_WINS))
    assert heard.streams[0] == data
    assert heard.differing == [0, 0]


@pytest.mark.parametrize(
    ("overlap", "expected"), [(Overlap.FIRST_WINS, b"ab1111gh"), (Overlap.LAST_WINS, b"ab1222gh")]
)
def test_where_waiting_segments_disagree_the_policy_decides(overlap: Overlap, expected: bytes) -> None:
    played = Talk().open()
    played.send(0, PSH | ACK, b"1111", shift=2, counts=False)
    played.send(0, PSH | ACK, b"222gh", shift=3, counts=False)
    played.send(0, PSH | ACK, b"ab", counts=False)
    heard = only(reassemble(played.frames, overlap))
    assert heard.streams[0] == expected
    assert heard.differing == [3, 0]


def test_delivered_bytes_stay_what_they_were_and_another_repetition_is_reported() -> None:
    """RFC 9293, 3.10.7.4: what lies before RCV.NXT is trimmed; so whatever the policy."""
    for overlap in Overlap:
        played = Talk().open()
        played.send(0, PSH | ACK, b"password", counts=False)
        played.send(0, PSH | ACK, b"PASSword and more", counts=False)
        heard = only(reassemble(played.frames, overlap))
        assert heard.streams[0] == b"password and more"
        assert heard.differing == [4, 0]


def test_a_connection_whose_start_was_not_captured_begins_where_the_capture_does() -> None:
    played = talk()
    heard = only(reassemble(played.frames[8:]))
    whole = bytes(played.said[0])
    assert not heard.has_start and heard.established
    assert heard.streams == (whole[-len(heard.streams[0]) :], bytes(played.said[1]))
    assert heard.ending is Ending.CLOSED and heard.missing == [0, 0]


def test_without_a_syn_the_known_server_or_the_lower_port_is_the_server() -> None:
    answer = Talk(port=50000, server_port=8080).open().say(1, b"x").frames[3:]
    assert only(reassemble(answer)).client == bytes([10, 1, 2, 3])
    known = Talk(port=9000, server_port=20000).open().frames
    later = Talk(port=9001, server_port=20000).open().say(1, b"x").frames[3:]
    assert reassemble([*known, *later])[1].client == bytes([10, 1, 2, 3])


def test_missing_bytes_are_counted_and_skipped_once_they_were_acknowledged() -> None:
    played = Talk(step_ns=SECOND // 10).open().say(0, b"a" * 100, 10)
    del played.frames[5]
    for _ in range(100):
        played.say(1, b"b")
    played.say(0, b"c" * 10)
    ears = Ears()
    reassembler = Reassembler(ears)
    for frame in played.frames:
        feed(reassembler, frame)
    heard = only(ears.heard)
    assert heard.missing == [10, 0]
    assert heard.streams[0] == b"a" * 90 + b"c" * 10


def test_with_wait_a_gap_is_given_up_only_at_the_end() -> None:
    played = Talk(step_ns=SECOND).open().say(0, b"a" * 100, 10)
    del played.frames[5]
    for _ in range(100):
        played.say(1, b"b")
    ears = Ears()
    reassembler = Reassembler(ears, gaps=Gaps.WAIT)
    for frame in played.frames:
        feed(reassembler, frame)
    heard = only(ears.heard)
    assert (heard.streams[0], heard.missing) == (b"a" * 10, [0, 0])
    reassembler.finish()
    assert (heard.streams[0], heard.missing) == (b"a" * 90, [10, 0])


def test_bytes_that_only_an_acknowledgement_tells_of_are_missing() -> None:
    played = Talk().open().say(0, b"question").say(1, b"answer")
    frames = [frame for frame in played.frames if b"answer" not in frame.packet]
    heard = only(reassemble(frames))
    assert (heard.streams, heard.missing) == ((b"question", b""), [0, 6])


@given(st.sets(st.integers(0, 60), min_size=1, max_size=30))
@example({*range(8), 20, 28, 29})
def test_what_is_told_and_what_is_missing_come_to_what_was_said(lost: set[int]) -> None:
    played = talk()
    frames = [frame for at, frame in enumerate(played.frames) if at < 3 or at - 3 not in lost]
    heard = only(reassemble(frames))
    acknowledged = [0, 0]
    for frame in frames[2:]:
        side, ack = int(frame.packet[15] == 3), int.from_bytes(frame.packet[28:32], "big")
        acknowledged[side] = max(acknowledged[side], ack - played.initial[side] - 1)
    for side in (0, 1):
        whole, got = bytes(played.said[side]), heard.streams[side]
        known = len(got) + heard.missing[side]
        # The last of what nobody has seen may be a FIN or a byte. It counts as a byte where nobody is seen to
        # close; else it is said to be missing.
        least = min(acknowledged[side], len(whole)) - (side in heard.ends_missing)
        assert least <= known <= len(whole) + (not heard.fins)
        if side not in heard.fins and acknowledged[side] > len(got):
            assert side in heard.ends_missing or heard.missing[side]
        if heard.ending is Ending.CLOSED:
            assert known == len(whole)


def test_an_end_that_only_an_acknowledgement_tells_of_is_missing() -> None:
    """RFC 9293, 3.4: a FIN is acknowledged as an octet is. Nobody knows which of them it was."""
    played = talk()
    frames = [frame for frame in played.frames if not (frame.packet[33] & FIN and frame.packet[15] == 4)]
    heard = only(reassemble(frames))
    assert (heard.missing, heard.ends_missing, heard.ending) == ([0, 0], [1], Ending.OPEN)
    assert heard.streams == (bytes(played.said[0]), bytes(played.said[1]))


def test_a_snap_length_leaves_holes_that_nobody_waits_for() -> None:
    ears = Ears()
    reassembler = Reassembler(ears)
    for frame in Talk().open().frames:
        feed(reassembler, frame)
    ends = ("10.1.2.3", 40000), ("10.1.2.4", 80)
    for at in range(3):
        whole = tcp(*ends, 1001 + 10 * at, 5001, PSH | ACK, b"0123456789")
        feed(reassembler, Frame(whole[:-6]))
    heard = only(ears.heard)
    assert (heard.streams[0], heard.missing[0]) == (b"0123" * 3, 18)


@pytest.mark.parametrize("side", [0, 1])
def test_a_reset_ends_a_connection_after_what_crossed_with_it(side: int) -> None:
    played = Talk().open().say(0, b"question").abort(side)
    other = Talk().open().say(0, b"question").say(1 - side, b"crossing")
    heard = only(reassemble([*played.frames, *other.frames[5:]]))
    assert heard.ending is (Ending.RESET_BY_SERVER if side else Ending.RESET_BY_CLIENT)
    assert heard.streams[1 - side].endswith(b"crossing")


def test_a_reset_before_the_window_is_nobodys() -> None:
    """RFC 5961, 3.2."""
    played = Talk().open().say(0, b"question")
    played.send(0, RST, shift=-3)
    played.say(1, b"answer").close()
    assert_whole(only(reassemble(played.frames)), played)


def test_refused_aborted_unanswered() -> None:
    refused = Talk(port=1)
    refused.send(0, SYN)
    refused.frames.append(Frame(tcp(("10.1.2.4", 80), ("10.1.2.3", 1), 0, 1001, RST | ACK)))
    aborted = Talk(port=2)
    aborted.send(0, SYN)
    aborted.send(0, RST)
    unanswered = Talk(port=3, step_ns=SECOND)
    for _ in range(3):
        unanswered.send(0, SYN, counts=False)
    later = Frame(refused.frames[0].packet, unanswered.time_ns + 4 * SECOND)
    heard = reassemble([*refused.frames, *aborted.frames, *unanswered.frames, later])
    assert [each.ending for each in heard] == [Ending.REFUSED, Ending.ABORTED, Ending.UNANSWERED]


@pytest.mark.parametrize(
    ("asked_s", "waited_s", "ending"),
    [
        ([0], 2.9, Ending.OPEN),
        ([0], 3.1, Ending.UNANSWERED),
        ([0, 1, 3, 7], 13.9, Ending.OPEN),
        ([0, 1, 3, 7], 14.1, Ending.UNANSWERED),
    ],
)
def test_a_syn_is_unanswered_once_its_client_would_have_asked_again(
    asked_s: list[int], waited_s: float, ending: Ending
) -> None:
    """RFC 6298, 5.5. Before that the capture may have ended sooner than the answer came."""
    played = Talk()
    for at in asked_s:
        played.time_ns = START_NS + at * SECOND
        played.send(0, SYN, counts=False)
    stray = Frame(tcp(("10.9.9.9", 1), ("10.9.9.8", 2), 1, 1, ACK))
    end = replace(stray, time_ns=START_NS + int((asked_s[-1] + waited_s) * SECOND))
    assert only(reassemble([*played.frames, end])).ending is ending


def test_a_port_pair_that_is_used_again_is_another_connection() -> None:
    first = Talk().open().say(0, b"first").close()
    second = Talk(initial=(70000, 90000)).open().say(0, b"second")
    third = Talk(initial=(170000, 190000)).open().say(0, b"third").abort(1)
    heard = reassemble(in_time([*first.frames, *second.frames, *third.frames]))
    assert [each.streams[0] for each in heard] == [b"first", b"second", b"third"]
    assert [each.ending for each in heard] == [Ending.CLOSED, Ending.OPEN, Ending.RESET_BY_SERVER]


def test_what_an_earlier_connection_of_the_ports_sent_again_is_not_taken() -> None:
    old = Talk().open().say(0, b"old").close()
    new = Talk(initial=(1 << 31, 3 << 30)).open()
    late = [*old.frames, *new.frames, *old.frames[3:5], *new.say(0, b"new").close().frames[3:]]
    heard = reassemble(in_time(late))
    assert [each.streams for each in heard] == [(b"old", b""), (b"new", b"")]
    assert heard[1].missing == [0, 0]


def test_a_syn_that_comes_again_is_no_other_connection() -> None:
    played = talk()
    heard = only(reassemble([*played.frames[:9], played.frames[0], *played.frames[9:], played.frames[1]]))
    assert_whole(heard, played)


def test_keep_alives_say_nothing() -> None:
    played = Talk().open().say(0, b"question")
    played.send(0, ACK, b"\0", shift=-1, counts=False)
    played.send(0, ACK, shift=-1, counts=False)
    played.send(1, ACK, shift=-1, counts=False)
    played.say(1, b"answer").close()
    heard = only(reassemble(played.frames))
    assert_whole(heard, played)
    assert heard.differing == [0, 0]


def test_a_probe_of_a_zero_window_that_comes_again_counts_once() -> None:
    played = Talk().open().say(0, b"abc")
    played.send(0, ACK, b"d", counts=False)
    played.send(0, ACK, b"d", counts=False)
    played.send(0, PSH | ACK, b"def")
    played.close()
    assert only(reassemble(played.frames)).streams[0] == b"abcdef"


def test_simultaneous_open() -> None:
    """RFC 9293, 3.5, figure 8."""
    played = Talk()
    played.send(0, SYN)
    played.send(1, SYN)
    played.send(0, SYN | ACK, shift=-1, counts=False)
    played.send(1, SYN | ACK, shift=-1, counts=False)
    played.say(0, b"hello").say(1, b"you too").close()
    assert_whole(only(reassemble(played.frames)), played)


def test_data_on_the_syn_is_told_once_it_was_accepted() -> None:
    """RFC 7413: fast open."""
    played = Talk()
    played.send(0, SYN, b"early")
    played.send(1, SYN | ACK)
    played.send(0, ACK)
    played.say(1, b"answer").close()
    assert_whole(only(reassemble(played.frames)), played)


def test_one_direction_alone_is_told_and_the_other_is_missing() -> None:
    played = talk()
    outward = [frame for frame in played.frames if frame.packet[12:16] == bytes([10, 1, 2, 3])]
    heard = only(reassemble(outward))
    assert heard.streams == (bytes(played.said[0]), b"")
    inward = [frame for frame in played.frames if frame not in outward]
    heard = only(reassemble(inward))
    assert heard.streams == (b"", bytes(played.said[1]))
    assert heard.missing[0] == len(played.said[0])


def test_nothing_is_said_after_a_fin() -> None:
    played = Talk().open().say(0, b"all")
    played.send(0, FIN | ACK)
    played.send(0, PSH | ACK, b"more", counts=False)
    played.say(1, b"answer")
    played.send(1, FIN | ACK)
    heard = only(reassemble(played.frames))
    assert heard.streams == (b"all", b"answer")
    assert heard.fins == [0, 1]


@pytest.mark.parametrize("when_full", [Full.SKIP, Full.CUT])
def test_what_waits_is_bounded_and_what_then_happens_is_the_persons_choice(when_full: Full) -> None:
    played = Talk().open()
    played.send(0, PSH | ACK, b"first ")
    played.send(0, PSH | ACK, b"lost")
    lost = played.frames.pop()
    for _ in range(100):
        played.send(0, PSH | ACK, b"x" * 1000)
    ears = Ears()
    reassembler = Reassembler(ears, limits=Limits(connection=20_000, when_full=when_full))
    most = 0
    for frame in [*played.frames, lost]:
        feed(reassembler, frame)
        most = max(most, reassembler.held)
    assert 15_000 < most <= 20_000
    reassembler.finish()
    heard = only(ears.heard)
    if when_full is Full.SKIP:
        assert (heard.streams[0], heard.missing) == (b"first " + b"x" * 100_000, [4, 0])
    else:
        assert heard.streams[0] == b"first "
        assert reassembler.cut == 1


def test_too_much_waiting_can_be_an_error() -> None:
    played = Talk().open()
    for at in range(100):
        played.send(0, PSH | ACK, b"x" * 1000, shift=1, counts=at > 0)
    with pytest.raises(CaptureError, match="wait for what is missing"):
        reassemble(played.frames, limits=Limits(connection=20_000, when_full=Full.FAIL))


def test_all_connections_together_are_bounded_too() -> None:
    talks = [Talk(port=1000 + at).open() for at in range(50)]
    for played in talks:
        played.send(0, PSH | ACK, b"x" * 1000, shift=7, counts=False)
    frames = in_time([frame for played in talks for frame in played.frames])
    ears = Ears()
    reassembler = Reassembler(ears, limits=Limits(all=10_000))
    for frame in frames:
        feed(reassembler, frame)
        assert reassembler.held <= 10_000
    assert sum(heard.missing[0] for heard in ears.heard) > 7 * 30


def test_the_number_of_connections_is_bounded() -> None:
    talks = [Talk(port=1000 + at, time_ns=START_NS + at).open().say(0, b"x") for at in range(100)]
    heard = reassemble([frame for played in talks for frame in played.frames], limits=Limits(connections=10))
    assert [each.streams[0] for each in heard] == [b"x"] * 100


def test_the_gaps_of_a_connection_that_was_silent_for_long_are_given_up() -> None:
    played = Talk().open()
    played.send(0, PSH | ACK, b"after a gap", shift=5)
    ears = Ears()
    reassembler = Reassembler(ears)
    for frame in played.frames:
        feed(reassembler, frame)
    assert only(ears.heard).streams[0] == b""
    reassembler.flush_older(reassembler.now)
    assert only(ears.heard).streams[0] == b""
    reassembler.flush_older(reassembler.now + 1)
    assert only(ears.heard).streams[0] == b"after a gap"
    assert only(ears.heard).ending is None


def test_silence_of_the_captures_time_gives_gaps_up_by_itself_and_a_connection_goes_on_after_it() -> None:
    played = Talk().open().say(0, b"question")
    played.send(1, PSH | ACK, b"after a gap", shift=5, counts=False)
    late = replace(Talk(port=7).open().frames[0], time_ns=START_NS + 8000 * SECOND)
    ears = Ears()
    reassembler = Reassembler(ears, limits=Limits(idle_ns=3600 * SECOND))
    for frame in [*played.frames, late]:
        feed(reassembler, frame)
    assert ears.heard[0].streams == (b"question", b"after a gap")
    played.time_ns, played.frames = late.time_ns + SECOND, []
    for frame in played.say(0, b", and another").close().frames:
        feed(reassembler, frame)
    assert ears.heard[0].streams[0] == b"question, and another"
    assert len(ears.heard) == 2


def test_a_reset_of_another_number_that_everybody_ignores_ends_nothing() -> None:
    """RFC 5961, 3.2: it must be the very next number, and is answered by an ACK otherwise."""
    for side in (0, 1):
        played = Talk(step_ns=SECOND // 100).open().say(0, b"question").say(1, b"answer")
        played.send(side, RST, shift=700, counts=False)
        for _ in range(200):
            played.say(0, b"more").say(1, b"and more")
        assert_whole(only(reassemble(played.close().frames)), played)


def test_a_reset_behind_what_was_not_captured_ends_its_connection_a_second_later() -> None:
    played = Talk(step_ns=SECOND // 100).open().say(0, b"question")
    played.send(0, RST, shift=700)
    others = [Talk(port=2, time_ns=played.time_ns, step_ns=SECOND // 100).open().say(0, b"other " * 200, 6)]
    heard = reassemble([*played.frames, *others[0].frames])
    assert heard[0].ending is Ending.RESET_BY_CLIENT and heard[1].ending is Ending.OPEN
    ears = Ears()
    reassembler = Reassembler(ears)
    ended_at = 0
    for frame in [*played.frames, *others[0].frames]:
        feed(reassembler, frame)
        if not ended_at and ears.heard[0].ending is not None:
            ended_at = frame.time_ns
    assert SECOND <= ended_at - played.frames[-1].time_ns < 2 * SECOND


def asked(played: Talk, number: int) -> Talk:
    """Ask in vain: what comes for the SYN has sequence number and acknowledgement `number`."""
    played.send(0, SYN, counts=False)
    ends = ("10.1.2.4", 80), ("10.1.2.3", played.port)
    for flags in (SYN | ACK, ACK):
        played.frames.append(Frame(tcp(*ends, number, number, flags), played.time_ns))
    played.frames.append(Frame(tcp(ends[1], ends[0], number, 0, RST), played.time_ns))
    return played


@pytest.mark.parametrize("number", [5, 1001 + (1 << 20), 1 << 31, (1 << 32) - 1])
def test_what_does_not_answer_the_syn_is_of_an_older_connection(number: int) -> None:
    """RFC 9293, 3.10.7.3 and 3.5.1: its sender resets it, and asks again."""
    played = asked(Talk(), number).open().say(0, b"question").say(1, b"answer").close()
    assert_whole(only(reassemble(played.frames)), played)


@pytest.mark.parametrize("heard_first", [False, True])
def test_of_two_syn_acks_that_counts_which_the_client_acknowledges(heard_first: bool) -> None:
    played = Talk()
    played.send(0, SYN)
    played.send(1, SYN | ACK)
    other = tcp(("10.1.2.4", 80), ("10.1.2.3", played.port), 7, 1001, SYN | ACK)
    played.frames.insert(2 if heard_first else 1, Frame(other, played.time_ns))
    played.send(0, ACK)
    played.say(0, b"question").say(1, b"answer").close()
    assert_whole(only(reassemble(played.frames)), played)


def test_a_stream_that_goes_on_behind_a_gap_for_longer_than_any_window_is_not_lost() -> None:
    """Only one direction was captured, with a snap length, and one packet is missing."""
    played = Talk().open()
    whole, each, count = 60_000, 40, 3 * AHEAD_MOST // 60_000
    ears = Ears()
    reassembler = Reassembler(ears)
    for frame in played.frames:
        feed(reassembler, frame)
    for number in range(count):
        if number != 10:
            reassembler.advance(START_NS + number * 1000, 1)
            at = 1001 + number * whole & 0xFFFFFFFF
            key = bytes([10, 1, 2, 3, 10, 1, 2, 4]) + played.port.to_bytes(2, "big") + b"\0P"
            reassembler.segment(key, at, 5001, ACK, bytes(each), whole - each)
    reassembler.finish()
    heard = only(ears.heard)
    assert len(heard.streams[0]) == (count - 1) * each
    assert heard.missing[0] == count * whole - (count - 1) * each


@given(
    st.lists(
        st.tuples(
            st.integers(0, 1),
            st.one_of(st.integers(0, 3000), st.integers(0, (1 << 32) - 1)),
            st.one_of(st.integers(0, 3000), st.integers(0, (1 << 32) - 1)),
            st.integers(0, 63),
            st.binary(max_size=40),
            st.integers(0, 30),
            st.integers(0, 3 * SECOND),
        ),
        max_size=60,
    ),
    st.sampled_from(list(Overlap)),
    st.sampled_from([Full.SKIP, Full.CUT]),
)
def test_any_segments_at_all_are_told_somehow_and_nothing_is_left_waiting(
    segments: list[tuple[int, int, int, int, bytes, int, int]], overlap: Overlap, when_full: Full
) -> None:
    ears = Ears()
    reassembler = Reassembler(ears, overlap, limits=Limits(connection=600, when_full=when_full))
    keys = b"\1\1\1\1\2\2\2\2\0\1\0\2", b"\2\2\2\2\1\1\1\1\0\2\0\1"
    for side, sequence, ack, flags, data, missing, step in segments:
        reassembler.advance(reassembler.now + step, 1)
        reassembler.segment(keys[side], sequence, ack, flags, data, missing)
        assert reassembler.held <= 600
    reassembler.finish()
    assert reassembler.held == 0
    assert all(heard.ending is not None for heard in ears.heard)


def test_a_segment_far_ahead_of_all_that_is_known_is_not_of_this_connection() -> None:
    played = Talk().open().say(0, b"here")
    played.send(0, PSH | ACK, b"far away", shift=AHEAD_MOST + 1, counts=False)
    played.close()
    heard = only(reassemble(played.frames))
    assert (heard.streams[0], heard.missing) == (b"here", [0, 0])
