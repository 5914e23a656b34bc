"""RSTs in all forms: which end a connection, and which nobody obeys."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from capture.frames import Frame, Talk, pcap, tcp
from capture.listening import Ears, Heard, feed, reassemble
from hypothesis import given
from hypothesis import strategies as st

from netplayground.capture import records
from netplayground.capture.reassembly import HOLD_PACKETS, Limits, Reassembler
from netplayground.dump.model import Ending
from netplayground.packet.tcp import ACK, FIN, PSH, RST, SYN

MILLISECOND = 1_000_000
SECOND = 1000 * MILLISECOND
BY_CLIENT, BY_SERVER = Ending.RESET_BY_CLIENT, Ending.RESET_BY_SERVER


def others(after: Talk) -> list[Frame]:
    """So much of another connection, so long after, that every moment is over."""
    return Talk(port=2, time_ns=after.time_ns + 3 * SECOND).open().say(0, b"x" * 100, 1).frames


def heard_of(played: Talk) -> Heard:
    end = bytes([10, 1, 2, 3]), bytes([10, 1, 2, 4])
    found = [each for each in reassemble([*played.frames, *others(played)]) if each.client in end]
    assert len(found) == 2
    return next(each for each in found if each.streams[0] != b"x" * 100)


def asked() -> Talk:
    return Talk().open().say(0, b"question").say(1, b"answer")


def number_of_the_fin(played: Talk) -> None:
    """macOS ends a closed connection so, and Linux obeys it (tcp_reset_check)."""
    played.send(0, FIN | ACK)
    played.send(0, RST, shift=-1, counts=False)


def data_meets_a_closed_socket(played: Talk) -> None:
    """RFC 9293, 3.10.7.1: the RST has the number that the data acknowledges."""
    number = played.next[0]
    played.send(0, FIN | ACK)
    late = tcp(("10.1.2.4", 80), ("10.1.2.3", played.port), played.next[1], number, ACK | PSH, b"late")
    played.frames.append(Frame(late, played.time_ns))
    played.frames.append(Frame(tcp(("10.1.2.3", played.port), ("10.1.2.4", 80), number, 0, RST)))


def firewall(played: Talk) -> None:
    """It speaks in the server's name, while the server's own answer is on its way."""
    played.send(1, RST | ACK, counts=False)
    played.send(1, ACK | PSH, b"on the way")


def lost_behind_the_capture(played: Talk) -> None:
    """The receiver has not heard what was captured: the RST has the number that it expects."""
    number = played.next[0]
    played.send(0, PSH | ACK, b"lost")
    played.frames.append(Frame(tcp(("10.1.2.3", played.port), ("10.1.2.4", 80), number, 0, RST)))


def a_guess_before_it(played: Talk) -> None:
    played.send(0, RST, shift=700, counts=False)
    played.send(1, PSH | ACK, b"more")
    played.send(1, RST | ACK)
    played.send(0, ACK)


def pipelined(played: Talk) -> None:
    for _ in range(3):
        played.send(1, RST, counts=False)


@pytest.mark.parametrize(
    ("end", "ending"),
    [
        (number_of_the_fin, BY_CLIENT),
        (data_meets_a_closed_socket, BY_CLIENT),
        (firewall, BY_SERVER),
        (lost_behind_the_capture, BY_CLIENT),
        (a_guess_before_it, BY_SERVER),
        (pipelined, BY_SERVER),
    ],
)
def test_resets_that_are_obeyed(end: Callable[[Talk], None], ending: Ending) -> None:
    played = asked()
    end(played)
    heard = heard_of(played)
    assert heard.ending is ending
    assert heard.streams[0] == bytes(played.said[0]) and heard.streams[1].startswith(bytes(played.said[1]))


@given(
    st.sampled_from([RST, RST | ACK]),
    st.sampled_from([0, 1]),
    st.sampled_from([None, 0, 1]),
    st.integers(0, 12),
)
def test_a_reset_may_overtake_what_was_sent_before_it(
    flags: int, side: int, only: int | None, places: int
) -> None:
    """Also where one direction alone was captured."""
    played = asked().say(0, b"one").say(1, b"two")
    played.send(0, PSH | ACK, b"three")
    played.send(1, PSH | ACK, b"four")
    reset = played.send(side, flags)
    frames = played.frames[:-1]
    frames.insert(len(frames) - min(places, len(frames) - 3), reset)
    ends = (b"\x0a\1\2\3", b"\x0a\1\2\4")
    kept = [each for each in frames if only is None or each.packet[12:16] == ends[only]]
    heard = reassemble([*kept, *others(played)])[0]
    if only is None or only == side:
        assert heard.ending is (BY_SERVER if side else BY_CLIENT)
    assert all(heard.streams[each] == bytes(played.said[each]) for each in (0, 1) if only in (None, each))


@given(st.integers(0, 1 << 32), st.integers(2, HOLD_PACKETS - 4))
def test_a_shuffled_conversation_that_was_reset(seed: int, window: int) -> None:
    chance = random.Random(seed)
    played = Talk().open()
    for _ in range(20):
        played.say(chance.randrange(2), chance.randbytes(chance.randrange(1, 3000)))
    side = chance.randrange(2)
    played.abort(side)
    order = sorted(range(len(played.frames)), key=lambda at: at + chance.random() * window)
    heard = reassemble([*(played.frames[at] for at in order), *others(played)])[0]
    assert heard.ending is (BY_SERVER if side else BY_CLIENT)
    assert heard.streams == (bytes(played.said[0]), bytes(played.said[1]))


def test_a_reset_that_was_dismissed_does_not_hasten_the_next() -> None:
    """What crosses with a RST may come until a moment after it."""
    played = Talk(step_ns=MILLISECOND).open().say(0, b"question")
    played.send(1, RST, shift=700, counts=False)
    for _ in range(24):
        played.say(1, b"more").say(0, b"and more")
    played.send(1, RST | ACK)
    played.send(0, PSH | ACK, b"crossing")
    heard = reassemble(played.frames)[0]
    assert heard.ending is BY_SERVER
    assert heard.streams[0] == bytes(played.said[0])


def test_resets_that_are_waited_for_stay_bounded() -> None:
    """Of each something is missing before it, and all come at once."""
    ears = Ears()
    reassembler = Reassembler(ears, limits=Limits(connections=50))
    for number in range(2000):
        played = Talk(port=1024 + number).open()
        played.send(0, RST | ACK, shift=10)
        for frame in played.frames:
            feed(reassembler, replace(frame, time_ns=1))
    reassembler.finish()
    assert [each.ending for each in ears.heard] == [BY_CLIENT] * 2000


@pytest.mark.parametrize("size", [1 << 12, 1 << 23])
def test_both_ways_agree_on_two_syn_acks_and_on_acknowledgements_of_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    pytest.importorskip("numpy")
    from capture.test_fast import both_ways

    twice = Talk()
    twice.send(0, SYN)
    twice.frames.append(Frame(tcp(("10.1.2.4", 80), ("10.1.2.3", twice.port), 77, 1001, SYN | ACK)))
    twice.send(1, SYN | ACK)
    twice.send(0, ACK)
    twice.send(0, PSH | ACK, b"question")
    far = Talk(port=9, time_ns=twice.time_ns).open()
    for _ in range(2):
        for _ in range(20):
            far.say(0, b"q" * 100).say(1, b"a" * 100)
        wrong = tcp(("10.1.2.3", 9), ("10.1.2.4", 80), far.next[0], far.next[1] + (1 << 30), ACK)
        far.frames.append(Frame(wrong, far.time_ns))
    old = tcp(("10.1.2.4", 80), ("10.1.2.3", 9), far.next[1] + (1 << 30), far.next[0], PSH | ACK, b"old")
    far.frames.append(Frame(old, far.time_ns))
    far.say(1, b"the end").close()
    twice.time_ns = far.time_ns
    twice.say(1, b"answer " * 90, 100).close()
    before = 5
    frames = [*twice.frames[:before], *far.frames, *twice.frames[before:]]
    monkeypatch.setattr(records.Records.__init__, "__defaults__", (size,))
    short, _ = both_ways(tmp_path, pcap(frames))
    assert (short.missing, short.written.bytes) == (
        0,
        (len(twice.said[0]) + len(far.said[0]), len(twice.said[1]) + len(far.said[1])),
    )
