"""From packets to events: any octets give an event, nothing, or the one documented error."""

from __future__ import annotations

import tempfile
from pathlib import Path

from dump.making import FAMILIES, every_ending, writing
from hypothesis import given, settings
from hypothesis import strategies as st

from netplayground.dump import blocks
from netplayground.dump.index import NO_CONNECTION, RECORD
from netplayground.dump.model import EventKind
from netplayground.dump.source import Source, Walk
from netplayground.dump.tracker import Tracker
from netplayground.packet import MalformedPacket


def packets(path: Path) -> list[bytes]:
    with writing(path) as writer:
        for family in FAMILIES:
            every_ending(writer, family)
    source = Source(path)
    walk = Walk(source, 0, source.size)
    found = [
        walk.buffer[place : place + length] for _at, kind, length, place in walk if kind == blocks.PACKET
    ]
    source.close()
    return found


def test_records_are_made_at_each_end_and_nothing_is_kept_of_what_ended(tmp_path: Path) -> None:
    ended: list[int] = []
    tracker = Tracker(lambda identity, record: ended.append(identity) if len(record) == RECORD.size else None)
    for block in packets(tmp_path / "d"):
        tracker.packet(block, 0, 0, len(block))
    # No answer is told by a fact, and the last connection of each family stays open.
    assert ended == [0, 1, 2, 3, 4, 5, 7, 9, 10, 11, 12, 13, 14, 16]
    assert sorted(tracker.open) == [6, 8, 15, 17]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_packets_are_events_or_nothing_or_malformed(data: st.DataObject) -> None:
    changed = [bytearray(block) for block in KNOWN]
    for _ in range(data.draw(st.integers(1, 20))):
        block = data.draw(st.sampled_from(changed))
        block[data.draw(st.integers(8, len(block) - 1))] = data.draw(st.integers(0, 255))
    tracker = Tracker(lambda _identity, _record: None)
    for block in data.draw(st.permutations(changed)):
        length = data.draw(st.sampled_from([len(block), len(block) & ~7, 32]))
        try:
            tracker.packet(bytes(block), 0, 0, min(length, len(block)))
        except MalformedPacket:
            continue


@given(st.binary(min_size=32, max_size=220))
def test_any_octets_are_nothing_or_malformed(octets: bytes) -> None:
    tracker = Tracker(lambda _identity, _record: None)
    try:
        told = tracker.packet(octets, 0, 0, len(octets))
    except MalformedPacket:
        return
    assert told is None or told[0] == 0 or told[:2] == (NO_CONNECTION, EventKind.DATAGRAM)


def _known() -> list[bytes]:
    with tempfile.TemporaryDirectory() as place:
        return packets(Path(place) / "d")


KNOWN = _known()
