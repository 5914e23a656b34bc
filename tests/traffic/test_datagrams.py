"""Datagrams through the router: in the dump before they are heard, intact, and to nobody whom they are not
for, whatever a process puts into its device."""

from __future__ import annotations

import os
import random
import tempfile
from collections.abc import Iterator
from ipaddress import IPv4Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from traffic.playground import A6, B6, C6, NOBODY, NOBODY6, A, Address, B, C, Playground, cut, fragment

from netplayground.dump.check import check_dump
from netplayground.dump.model import Datagram
from netplayground.dump.reader import open_dump
from netplayground.packet import MalformedPacket, icmp, ip, tcp, udp, virtio
from netplayground.packet.carried import assert_intact
from netplayground.packet.checksum import pseudo_header_sum
from netplayground.traffic.link import Link

FAMILIES = [(A, B, NOBODY), (A6, B6, NOBODY6)]
SIZES = (0, 1, 2, 1000, 1472)
ECHO = {4: 8, 6: 128}
UNSPECIFIED = ip_address("::")
GROUP = ip_address("ff02::fb")


@pytest.fixture
def playground(tmp_path: Path) -> Iterator[Playground]:
    made = Playground(tmp_path / "d")
    yield made
    made.close()


def datagram(source: Address, target: Address, payload: bytes = b"hello", port: int = 5000) -> bytes:
    return udp.emit_packet(source.packed, 4000, target.packed, port, payload)


def unfinished(packet: bytes) -> tuple[bytes, bytes]:
    """A datagram as a kernel gives it to a device that finishes checksums, with its virtio header."""
    parsed = ip.parse_packet(packet)
    at = parsed.header_length
    start = pseudo_header_sum(parsed.source, parsed.destination, parsed.protocol, len(parsed.payload))
    seed = (start % 65535 or 65535).to_bytes(2, "big")
    header = virtio.VirtioHeader(virtio.NEEDS_CHECKSUM, checksum_start=at, checksum_offset=6)
    return virtio.emit_header(header), packet[: at + 6] + seed + packet[at + 8 :]


def recorded(playground: Playground) -> list[tuple[Datagram, bytes]]:
    """End the run; what the dump has, each with its whole packet."""
    playground.close()
    check_dump(playground.path)
    with open_dump(playground.path) as dump:
        return [(each, dump.source.read(each.packet_offset, each.packet_length)) for each in dump.datagrams()]


@pytest.mark.parametrize(("source", "target", "_nobody"), FAMILIES)
@pytest.mark.parametrize("size", SIZES)
def test_an_unfinished_checksum_is_finished_for_dump_and_receiver(
    playground: Playground, source: Address, target: Address, _nobody: Address, size: int
) -> None:
    whole = datagram(source, target, random.Random(size).randbytes(size))
    header, given_out = unfinished(whole)
    assert playground.say(0, given_out, header=header) == [[], [whole], [], []]
    [(told, packet)] = recorded(playground)
    assert packet == whole
    assert (told.sender, told.receiver, told.length) == ("a", "b", size)


@pytest.mark.parametrize(("source", "target", "_nobody"), FAMILIES)
def test_a_sum_of_nothing_is_not_told_as_no_checksum(
    playground: Playground, source: Address, target: Address, _nobody: Address
) -> None:
    """A datagram whose checksum comes to 0 has 65,535 (RFC 768)."""
    bare = datagram(source, target, b"\0\0")
    at = ip.parse_packet(bare).header_length + 6
    payload = bare[at : at + 2]
    whole = datagram(source, target, payload)
    assert whole[at : at + 2] == b"\xff\xff"
    header, given_out = unfinished(whole)
    assert playground.say(0, given_out, header=header)[1] == [whole]


@pytest.mark.parametrize("target", ["255.255.255.255", "10.0.0.255", "224.0.0.251", "ff02::fb", "ff05::2"])
def test_what_is_for_all_is_recorded_once_and_heard_by_all_others(
    playground: Playground, target: str
) -> None:
    address = ip_address(target)
    whole = datagram(B if address.version == 4 else B6, address)
    header, given_out = unfinished(whole)
    assert playground.say(1, given_out, header=header) == [[whole], [], [whole], []]
    [(told, _packet)] = recorded(playground)
    assert (told.sender, told.receiver, told.destination) == ("b", None, address)


@pytest.mark.parametrize(("source", "target", "_nobody"), FAMILIES)
def test_messages_of_icmp_are_recorded(
    playground: Playground, source: Address, target: Address, _nobody: Address
) -> None:
    ping = icmp.emit_message(source.packed, target.packed, ECHO[source.version], 0, b"id56data")
    refused = icmp.emit_unreachable(datagram(target, source))
    refusal = icmp.emit_message(source.packed, target.packed, refused[20], 3, bytes(4) + refused[28:])
    assert playground.say(0, ping, refusal) == [[], [ping, refusal], [], []]
    told = recorded(playground)
    assert [packet for _told, packet in told] == [ping, refusal]
    assert {each.sender for each, _packet in told} == {"a"}


@pytest.mark.parametrize(("source", "_target", "nobody"), FAMILIES)
def test_what_nobody_hears_is_recorded_with_its_answer(
    playground: Playground, source: Address, _target: Address, nobody: Address
) -> None:
    asked, large = datagram(source, nobody), datagram(source, nobody, bytes(3000))
    [heard, *others] = playground.say(0, asked, *cut(large))
    assert len(heard) == 2 and others == [[], [], []]
    told = recorded(playground)
    assert [packet for _told, packet in told][1::2] == heard
    assert [each.sender for each, _packet in told] == ["a", None] * 2
    assert [each.length for each, _packet in told][::2] == [5, 3000]


@pytest.mark.parametrize(("source", "target", "_nobody"), FAMILIES)
@pytest.mark.parametrize("size", [1473, 65_507])
def test_fragments_go_on_and_the_datagram_is_one_packet_of_the_dump(
    playground: Playground, source: Address, target: Address, _nobody: Address, size: int
) -> None:
    whole = datagram(source, target, random.Random(size).randbytes(size))
    pieces = cut(whole)
    heard = [packet for piece in pieces for packet in playground.say(0, piece)[1]]
    assert heard == pieces
    [(told, packet)] = recorded(playground)
    assert (told.sender, told.receiver, told.length) == ("a", "b", size)
    assert packet[20:] == whole[20:] if source.version == 4 else packet == whole


def test_the_dump_has_what_a_process_hears(playground: Playground, monkeypatch: pytest.MonkeyPatch) -> None:
    """At every write to a device that makes something whole, it is in the file."""
    said = [random.Random(number).randbytes(size) for number, size in enumerate((40, 1472, 4000, 9000) * 3)]
    missing: list[bytes] = []
    write = Link.write

    def checking(link: Link, frame: bytes | memoryview) -> None:
        packet = ip.parse_packet(frame[virtio.HEADER_LENGTH :])
        if packet.fragment_offset and packet.more_fragments:
            return write(link, frame)
        tail = bytes(packet.payload[-32:])
        if not packet.more_fragments and tail not in playground.path.read_bytes():
            missing.append(tail)
        return write(link, frame)

    monkeypatch.setattr(Link, "write", checking)
    for payload in said:
        for piece in cut(datagram(A6, B6, payload)) if len(payload) > 1472 else [datagram(A, C, payload)]:
            playground.say(0, piece)
    assert not missing
    with open_dump(playground.path) as dump:
        assert [dump.payload(each) for each in dump.datagrams()] == said


def test_a_turn_of_many_is_one_write_to_the_dump(
    playground: Playground, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []
    writev = os.writev

    def counting(fd: int, pieces: list[bytes]) -> int:
        calls.append(fd)
        return writev(fd, pieces)

    monkeypatch.setattr(os, "writev", counting)
    packets = [datagram(A, B, b"%d" % number) for number in range(9)]
    for each in packets:
        playground.devices[0].ours.send(virtio.PLAIN + each)
    assert playground.hear(9)[1] == packets
    assert 0 < len(calls) < 9


def test_tcp_among_datagrams_keeps_its_place(playground: Playground) -> None:
    """The SYN is in the dump behind what was said before it."""
    syn = b"\x9c\x40\0\x50" + bytes(8) + bytes((5 << 4, tcp.SYN)) + bytes(6)
    packets = [datagram(A, B, b"%d" % number) for number in range(6)]
    packets.insert(3, ip.emit_header(A.packed, NOBODY.packed, ip.TCP, len(syn)) + syn)
    playground.say(0, *packets)
    assert [packet[20 + 8 :] for _told, packet in recorded(playground)] == [b"%d" % n for n in range(6)]


def _broken() -> dict[str, bytes]:
    """Packets that no kernel sends."""
    plain, plain6 = datagram(A, B), datagram(A6, B6)
    ping6 = icmp.emit_message(A6.packed, B6.packed, 128, 0, b"id56data")
    options = plain6[:6] + b"\x3c" + plain6[7:40] + b"\x11\xff" + bytes(6) + plain6[40:]
    return {
        "a wrong UDP checksum": plain[:-1] + b"x",
        "a wrong UDP checksum, IPv6": plain6[:-1] + b"x",
        "a wrong ICMPv6 checksum": ping6[:-1] + b"x",
        "a wrong IPv4 header checksum": plain[:10] + bytes(2) + plain[12:],
        "a UDP length beyond the packet": plain[:24] + b"\0\xff" + plain[26:],
        "a UDP length below its header": plain6[:44] + b"\0\7" + plain6[46:],
        "half a UDP header": ip.emit_header(A.packed, B.packed, ip.UDP, 4) + bytes(4),
        "half an ICMP header": ip.emit_header(A.packed, B.packed, ip.ICMP, 2) + b"\x08\0",
        "cut off": plain[:24],
        "cut off, IPv6": plain6[:44],
        "extension headers without end": options,
        "to its own sender": datagram(A, A),
        "version 5": b"\x55" + plain[1:],
        "a header below 20 octets": b"\x44" + plain[1:],
        "a fragment of TCP": fragment(ip.emit_header(A.packed, B.packed, ip.TCP, 0), bytes(8), 0, True),
        "a fragment of nothing": fragment(plain[:20], b"", 8, True),
    }


@pytest.mark.parametrize("packet", _broken().values(), ids=_broken().keys())
def test_what_no_kernel_sends_is_dropped_and_counted(playground: Playground, packet: bytes) -> None:
    assert playground.say(0, packet) == [[], [], [], []]
    assert playground.links[0].dropped_malformed == 1
    assert recorded(playground) == []


@pytest.mark.parametrize(
    "header",
    [
        virtio.VirtioHeader(virtio.NEEDS_CHECKSUM, checksum_start=20, checksum_offset=500),
        virtio.VirtioHeader(virtio.NEEDS_CHECKSUM, checksum_start=65_535, checksum_offset=6),
        virtio.VirtioHeader(virtio.NEEDS_CHECKSUM, checksum_start=0, checksum_offset=10),
        virtio.VirtioHeader(virtio.NEEDS_CHECKSUM, checksum_start=16, checksum_offset=0),
        virtio.VirtioHeader(virtio.NEEDS_CHECKSUM, virtio.GSO_TCPV4, 28, 1000, 20, 6),
        virtio.VirtioHeader(0, 5, 28, 1000),
    ],
)
def test_a_virtio_header_that_lies_is_dropped_and_counted(
    playground: Playground, header: virtio.VirtioHeader
) -> None:
    assert playground.say(0, datagram(A, B), header=virtio.emit_header(header)) == [[], [], [], []]
    assert playground.links[0].dropped_malformed == 1


def test_a_wrong_checksum_of_a_whole_is_found_where_its_fragments_meet(playground: Playground) -> None:
    pieces = cut(datagram(A, B, bytes(4000)))
    pieces[1] = pieces[1][:-1] + b"x"
    heard = [packet for piece in pieces for packet in playground.say(0, piece)[1]]
    assert heard == pieces[:2]
    assert playground.links[0].dropped_malformed == 1
    assert recorded(playground) == []


@pytest.mark.parametrize("extension", [0, 43, 60])
def test_extension_headers_of_ipv6_pass_and_are_read(playground: Playground, extension: int) -> None:
    plain = datagram(A6, B6, b"behind it")
    length = int.from_bytes(plain[4:6], "big") + 16
    header = plain[:4] + length.to_bytes(2, "big") + bytes((extension,)) + plain[7:40]
    extended = header + b"\x3c\0\1\4" + bytes(4) + b"\x11\0\1\4" + bytes(4) + plain[40:]
    assert playground.say(0, extended) == [[], [extended], [], []]
    [(told, packet)] = recorded(playground)
    assert (packet, told.is_udp, told.length, told.destination_port) == (extended, True, 9, 5000)


def test_a_neighbour_without_an_address_asks_all_and_is_named(playground: Playground) -> None:
    ask = icmp.emit_message(UNSPECIFIED.packed, GROUP.packed, 135, 0, bytes(20))
    assert playground.say(2, ask) == [[ask], [ask], [], []]
    assert [each.sender for each, _packet in recorded(playground)] == ["c"]


# Whatever a process puts into its device.

OWN: list[Address] = [A, A6]
FOREIGN: list[Address] = [B, C, NOBODY, B6, C6, NOBODY6, UNSPECIFIED]
TARGETS: list[Address] = [
    *(A, B, C, A6, B6, C6, NOBODY, NOBODY6, GROUP, UNSPECIFIED),
    *map(IPv4Address, ("255.255.255.255", "10.0.0.255", "224.0.0.1", "127.0.0.1", "0.0.0.0")),
]


@st.composite
def packets(draw: st.DrawFn) -> bytes:
    """A packet that is nearly one: any source, target and protocol, cut, changed, lengthened, in pieces."""
    version = draw(st.sampled_from((4, 6)))
    source = draw(st.sampled_from([each for each in OWN * 4 + FOREIGN if each.version == version]))
    target = draw(st.sampled_from([each for each in TARGETS if each.version == version]))
    payload = draw(st.binary(max_size=64))
    kind = draw(st.sampled_from(("udp", "icmp", "any")))
    if kind == "udp":
        made = datagram(source, target, payload)
    elif kind == "icmp":
        made = icmp.emit_message(source.packed, target.packed, draw(st.integers(0, 255)), 3, payload)
    else:
        protocol = draw(st.integers(0, 255))
        made = ip.emit_header(source.packed, target.packed, protocol, len(payload)) + payload
    for _ in range(draw(st.integers(0, 2)) if version == 6 else 0):
        made = _extended(draw, made)
    if draw(st.booleans()) and len(made) > 48:
        made = draw(st.sampled_from(cut(made, 72, draw(st.integers(0, 3)))))
    changed = bytearray(made)
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 2]))):
        changed[draw(st.integers(0, len(changed) - 1))] = draw(st.integers(0, 255))
    return bytes(changed[: draw(st.sampled_from([len(changed)] * 4 + [len(changed) // 2, 21, 1, 0]))])


def _extended(draw: st.DrawFn, packet: bytes) -> bytes:
    """With one more extension header, whose length may be wrong."""
    size = draw(st.sampled_from([0, 0, 0, 1, 255]))
    length = (len(packet) - 40 + 8).to_bytes(2, "big")
    kind = draw(st.sampled_from([0, 43, 44, 60]))
    extension = bytes((packet[6], size)) + draw(st.binary(min_size=6, max_size=6))
    return packet[:4] + length + bytes((kind,)) + packet[7:40] + extension + packet[40:]


HEADERS = st.just(virtio.PLAIN) | st.builds(
    lambda *fields: virtio.emit_header(virtio.VirtioHeader(*fields)),
    st.sampled_from((0, 1, 2, 3)),
    st.sampled_from((0, 1, 3, 4, 5)),
    *[st.sampled_from((0, 6, 20, 40, 60, 1448, 65_535))] * 4,
)


@settings(max_examples=150)
@given(said=st.lists(st.tuples(HEADERS, packets()), min_size=1, max_size=6))
def test_whatever_a_process_says_comes_to_whom_it_is_for_or_is_counted(
    said: list[tuple[bytes, bytes]],
) -> None:
    with tempfile.TemporaryDirectory() as place:
        playground = Playground(Path(place) / "d")
        for header, octets in said:
            before = _dropped(playground)
            heard = playground.say(0, octets, header=header)
            _assert_heard_by_the_right_ones(octets, heard)
            if any(heard) and heard[0] == [] and heard[3] == []:
                assert _dropped(playground) == before
        told = recorded(playground)
        for each, packet in told:
            _assert_whole(each, packet)


def _dropped(playground: Playground) -> int:
    return sum(playground.links[0].drops.values())


def _assert_heard_by_the_right_ones(octets: bytes, heard: list[list[bytes]]) -> None:
    for device, own in enumerate(((A, A6), (B, B6), (C, C6))):
        for packet in heard[device]:
            parsed = ip.parse_packet(packet)
            if device == 0:  # an answer of the playground's own
                assert parsed.destination in (A.packed, A6.packed)
                continue
            assert octets.startswith(packet[:20])  # behind it a checksum may have been finished
            assert parsed.source in (A.packed, A6.packed, UNSPECIFIED.packed)
            is_mine = parsed.destination in {each.packed for each in own}
            assert is_mine or _is_for_all(parsed.destination)


def _is_for_all(packed: bytes) -> bool:
    address = ip_address(packed)
    return address.is_multicast or packed in (b"\xff" * 4, b"\x0a\0\0\xff")


def _assert_whole(told: Datagram, packet: bytes) -> None:
    parsed = ip.parse_packet(packet)
    assert not parsed.more_fragments and not parsed.fragment_offset
    assert parsed.protocol != ip.TCP
    assert_intact(memoryview(packet), parsed)
    assert told.sender == "a" or (told.sender is None and told.receiver == "a")


def test_the_checker_of_this_file_finds_what_is_not_intact() -> None:
    packet = datagram(A, B)[:-1] + b"x"
    with pytest.raises(MalformedPacket):
        assert_intact(memoryview(packet), ip.parse_packet(packet))
