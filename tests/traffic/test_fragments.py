"""Fragments: whole in any order, never from octets that disagree, and no more kept than there is room for."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traffic.playground import A6, B6, A, B, cut, fragment

from netplayground.packet import MalformedPacket, ip, udp
from netplayground.packet.checksum import internet_checksum
from netplayground.traffic import fragments as room
from netplayground.traffic.fragments import Fate, Fragments
from netplayground.traffic.link import Link

ENDS = {4: (A.packed, B.packed), 6: (A6.packed, B6.packed)}


class Sender:
    """One sender's fragments, on a clock that the test turns."""

    def __init__(self) -> None:
        self.link = Link("a", -1, ())
        self.now = 0
        self.fragments = Fragments(self.link, lambda: self.now)

    def say(self, octets: bytes) -> Fate | bytes:
        view = memoryview(octets)
        return self.fragments.add(ip.parse_packet(view), view)


def whole(family: int, size: int, seed: int = 1) -> bytes:
    source, target = ENDS[family]
    return udp.emit_packet(source, 4000, target, 5000, random.Random(seed).randbytes(size))


def same(made: Fate | bytes, packet: bytes) -> bool:
    """Whether a packet is what was cut, but for what a fragment's header says of itself."""
    if not isinstance(made, bytes) or len(made) != len(packet):
        return False
    if packet[0] >> 4 == 6:
        return made == packet
    return (
        made[20:] == packet[20:]
        and made[12:20] == packet[12:20]
        and made[6:8] == bytes(2)
        and internet_checksum(made[:20]) == 0
    )


@settings(max_examples=80)
@given(
    family=st.sampled_from((4, 6)),
    size=st.integers(1481, 65_507) | st.sampled_from([1473, 65_507]),
    mtu=st.sampled_from([1280, 1500, 9000]),
    dice=st.randoms(use_true_random=False),
)
def test_fragments_in_any_order_give_the_packet(
    family: int, size: int, mtu: int, dice: random.Random
) -> None:
    packet, sender = whole(family, size), Sender()
    pieces = cut(packet, mtu)
    dice.shuffle(pieces)
    fates = [sender.say(piece) for piece in pieces]
    if len(pieces) > 1:
        assert fates[:-1] == [Fate.PASSED] * (len(pieces) - 1)
    assert same(fates[-1], packet) or pieces == [packet]
    sender.fragments.close()
    assert sender.link.dropped_fragments == 0


@pytest.mark.parametrize("family", [4, 6])
def test_datagrams_that_are_mixed_are_told_apart(family: int) -> None:
    sender, packets = Sender(), [whole(family, 4000, seed) for seed in range(20)]
    ways = [cut(packet, identification=number) for number, packet in enumerate(packets)]
    for step in zip(*ways, strict=True):
        fates = [sender.say(piece) for piece in step]
    assert all(map(same, fates, packets))


@pytest.mark.parametrize("family", [4, 6])
def test_the_same_fragment_once_more_goes_nowhere_and_harms_nothing(family: int) -> None:
    sender, packet = Sender(), whole(family, 4000)
    first, second, last = cut(packet)
    fates = [sender.say(piece) for piece in (first, first, second, first)]
    assert fates == [Fate.PASSED, Fate.REFUSED, Fate.PASSED, Fate.REFUSED]
    assert same(sender.say(last), packet)
    assert sender.link.dropped_fragments == 2


@settings(max_examples=200)
@given(
    family=st.sampled_from((4, 6)),
    start=st.integers(0, 500).map(lambda n: 8 * n),
    length=st.integers(1, 200).map(lambda n: 8 * n),
    more=st.booleans(),
    before=st.integers(1, 2),
)
def test_octets_that_overlap_end_their_datagram(
    family: int, start: int, length: int, more: bool, before: int
) -> None:
    """RFC 5722: neither the two nor anything after them."""
    sender, packet = Sender(), whole(family, 4000)
    pieces = cut(packet)
    header = packet[:20] if family == 4 else packet[:40]
    taken = sum(len(ip.parse_packet(piece).payload) if family == 4 else 1448 for piece in pieces[:before])
    disagrees = start < taken or (not more and start + length < taken)
    for piece in pieces[:before]:
        assert sender.say(piece) is Fate.PASSED
    other = fragment(header, b"\xaa" * length, start, more)
    if not disagrees:
        return
    assert sender.say(other) is Fate.REFUSED
    assert [sender.say(piece) for piece in pieces[before:]] == [Fate.REFUSED] * len(pieces[before:])
    assert sender.link.dropped_fragments == before + 1 + len(pieces[before:])


@pytest.mark.parametrize("family", [4, 6])
def test_two_ends_are_one_too_many(family: int) -> None:
    sender, packet = Sender(), whole(family, 4000)
    header = packet[:20] if family == 4 else packet[:40]
    assert sender.say(fragment(header, bytes(8), 800, False)) is Fate.PASSED
    assert sender.say(fragment(header, bytes(8), 1600, False)) is Fate.REFUSED
    assert sender.say(fragment(header, bytes(800), 0, True)) is Fate.REFUSED


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize(
    ("size", "start", "more"), [(0, 8, True), (0, 8, False), (9, 0, True), (16, 65_528, False)]
)
def test_what_is_no_fragment_is_malformed(family: int, size: int, start: int, more: bool) -> None:
    header = whole(family, 0)[: 20 if family == 4 else 40]
    with pytest.raises(MalformedPacket):
        Sender().say(fragment(header, bytes(size), start, more))


def test_a_head_that_makes_it_too_long_is_malformed() -> None:
    """The first fragment has options, the others have none."""
    sender, header = Sender(), whole(4, 0)[:20]
    long = bytearray(fragment(header, bytes(40 + 1024), 0, True))
    long[0] = 0x4F
    long[10:12] = bytes(2)
    long[10:12] = internet_checksum(long[:60]).to_bytes(2, "big")
    assert sender.say(bytes(long)) is Fate.PASSED
    for start in range(1024, 64_512, 1024):
        assert sender.say(fragment(header, bytes(1024), start, True)) is Fate.PASSED
    with pytest.raises(MalformedPacket, match="behind a head of 60"):
        sender.say(fragment(header, bytes(65_515 - 64_512), 64_512, False))


@pytest.mark.parametrize("family", [4, 6])
def test_what_never_comes_whole_is_forgotten_after_every_kernel(family: int) -> None:
    sender, packet = Sender(), whole(family, 4000)
    first, second, last = cut(packet)
    sender.say(first)
    sender.now = 74_000_000_000
    sender.say(second)
    sender.now = 76_000_000_000
    assert sender.say(last) is Fate.PASSED
    assert sender.link.dropped_fragments == 2
    sender.fragments.close()
    assert sender.link.dropped_fragments == 3


def test_an_identification_of_ipv4_comes_again_after_many_fragments() -> None:
    sender, lost, packet = Sender(), whole(4, 4000, 2), whole(4, 4000)
    sender.say(cut(lost)[0])
    for number in range(40):
        for piece in cut(whole(4, 4000), identification=100 + number):
            sender.say(piece)
    *others, last = cut(packet)
    assert [sender.say(piece) for piece in others] == [Fate.PASSED, Fate.PASSED]
    assert same(sender.say(last), packet)


def test_what_is_kept_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_MOST_OCTETS", 100_000)
    monkeypatch.setattr(room, "_MOST_DATAGRAMS", 200)
    sender = Sender()
    for number in range(1000):
        first, _second, _last = cut(whole(6, 4000), identification=number)
        assert sender.say(first) is Fate.PASSED
        assert sender.fragments._cost <= 100_000
        assert len(sender.fragments._partial) <= 200
    # What had to go is refused from then on, for a kernel may still have its first part.
    _first, second, last = cut(whole(6, 4000), identification=850)
    assert [sender.say(second), sender.say(last)] == [Fate.REFUSED] * 2
    first, second, last = cut(whole(6, 4000), identification=999)
    assert [sender.say(second), same(sender.say(last), whole(6, 4000))] == [Fate.PASSED, True]
    sender.fragments.close()
    assert sender.fragments._cost == 0


@given(data=st.data())
@settings(max_examples=150)
def test_any_fragments_are_passed_refused_or_malformed(data: st.DataObject) -> None:
    """Whatever a receiver's kernel could put together from what is passed on, we have put together."""
    sender, header = Sender(), whole(data.draw(st.sampled_from((4, 6))), 0)
    header = header[:20] if header[0] >> 4 == 4 else header[:40]
    passed: set[int] = set()
    for _ in range(data.draw(st.integers(1, 12))):
        start, length = 8 * data.draw(st.integers(0, 6)), data.draw(st.integers(0, 24))
        more = data.draw(st.booleans())
        try:
            fate = sender.say(fragment(header, bytes(length), start, more))
        except MalformedPacket:
            continue
        octets = set(range(start, start + length))
        if fate is Fate.PASSED:
            assert not passed & octets
            passed |= octets
        elif isinstance(fate, bytes):
            assert passed | octets == set(range(len(fate) - len(header)))
            passed.clear()
