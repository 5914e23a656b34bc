"""Captures that lack more than any window: whoever captured was too slow, and the streams are elsewhere."""

from __future__ import annotations

import pytest
from capture.frames import Talk
from capture.listening import Heard, reassemble

from netplayground.capture.stream import AHEAD_MOST
from netplayground.dump.model import Ending
from netplayground.packet.tcp import ACK, PSH

DISTANCES = [AHEAD_MOST + 1000, 1 << 30, (1 << 31) + 5, (1 << 32) - 2 * AHEAD_MOST]
BEFORE, AFTER = b"before", b"and after it, in segments. "


def leap(played: Talk, side: int, distance: int) -> None:
    """Let a side say so much that was not captured, and its peer hear it."""
    played.next[side] += distance


def heard_of(played: Talk) -> Heard:
    (heard,) = reassemble(played.frames)
    return heard


@pytest.mark.parametrize("distance", DISTANCES)
def test_a_stream_is_found_again_where_its_receiver_acknowledges_it(distance: int) -> None:
    played = Talk().open().say(0, BEFORE)
    leap(played, 0, distance)
    heard = heard_of(played.say(0, AFTER * 40, len(AFTER)).say(1, b"fine").close())
    to_server, to_client = heard.streams
    assert to_server.startswith(BEFORE) and (BEFORE + AFTER * 40).endswith(to_server[len(BEFORE) :])
    # The first segments there could have been anybody's: they are missing too.
    assert len(to_server) + heard.missing[0] == len(BEFORE) + distance + len(AFTER) * 40
    assert len(AFTER) * 36 <= len(to_server) - len(BEFORE)
    assert (to_client, heard.missing[1], heard.ending) == (b"fine", 0, Ending.CLOSED)


@pytest.mark.parametrize("distance", DISTANCES)
def test_both_streams_are_found_again(distance: int) -> None:
    played = Talk().open().say(0, BEFORE).say(1, BEFORE)
    leap(played, 0, distance)
    leap(played, 1, distance)
    for _ in range(20):
        played.send(0, PSH | ACK, AFTER)
        played.send(1, PSH | ACK, AFTER)
    heard = heard_of(played.close())
    for side in (0, 1):
        assert len(heard.streams[side]) + heard.missing[side] == len(BEFORE) + distance + len(AFTER) * 20
        assert heard.streams[side].endswith(AFTER * 15)
    assert heard.ending is Ending.CLOSED


def test_what_waited_before_a_leap_is_told_before_it() -> None:
    played = Talk().open().say(0, BEFORE)
    leap(played, 0, 100)
    played.send(0, PSH | ACK, b"waits")
    leap(played, 0, 1 << 30)
    heard = heard_of(played.say(0, AFTER * 10, len(AFTER)).close())
    assert heard.streams[0].startswith(BEFORE + b"waits" + AFTER)
    assert heard.missing[0] == 100 + (1 << 30) + len(AFTER) * 10 + len(BEFORE) + 5 - len(heard.streams[0])


def test_far_segments_that_nobody_acknowledges_are_strays() -> None:
    played = Talk().open().say(0, BEFORE)
    for number in range(20):
        played.send(0, PSH | ACK, b"forged", shift=(1 << 30) + 6 * number, counts=False)
    heard = heard_of(played.say(0, AFTER).close())
    assert heard.streams[0] == BEFORE + AFTER
    assert heard.missing[0] == 0 and heard.ending is Ending.CLOSED


def test_far_segments_between_near_ones_are_strays_though_somebody_forges_their_acknowledgements() -> None:
    played = Talk().open().say(0, BEFORE)
    for number in range(10):
        played.send(0, PSH | ACK, b"forged", shift=(1 << 30) + 6 * number, counts=False)
        played.next[0] += 1 << 30
        played.send(1, ACK)
        played.next[0] -= 1 << 30
        played.send(0, PSH | ACK, AFTER)
    heard = heard_of(played.close())
    assert heard.streams[0] == BEFORE + AFTER * 10
    assert heard.missing[0] == 0
