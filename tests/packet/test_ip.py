"""IPv4 and IPv6 packets: what is emitted is read again, and nothing that is read is believed."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.packet import MalformedPacket, ip
from netplayground.packet.checksum import internet_checksum

four = st.binary(min_size=4, max_size=4)
sixteen = st.binary(min_size=16, max_size=16)
pairs = st.tuples(four, four) | st.tuples(sixteen, sixteen)
protocols = st.sampled_from([ip.TCP, ip.UDP, ip.ICMP, ip.ICMPV6])


@given(ends=pairs, protocol=protocols, payload=st.binary(max_size=60), rest=st.binary(max_size=4))
def test_round_trip_whatever_follows(
    ends: tuple[bytes, bytes], protocol: int, payload: bytes, rest: bytes
) -> None:
    packet = ip.parse_packet(ip.emit_header(*ends, protocol, len(payload)) + payload + rest)
    assert (packet.source, packet.destination, packet.protocol) == (*ends, protocol)
    assert packet.payload == payload
    assert packet.version == (4 if len(ends[0]) == 4 else 6)
    assert (packet.fragment_offset, packet.more_fragments) == (0, False)


@given(ends=st.tuples(four, four), length=st.integers(0, 65515))
def test_ipv4_header_has_its_right_checksum(ends: tuple[bytes, bytes], length: int) -> None:
    assert internet_checksum(ip.emit_header(*ends, ip.TCP, length)) == 0


@given(ends=pairs, cut=st.integers(1, 60), payload=st.binary(min_size=20, max_size=20))
def test_a_cut_packet_is_malformed(ends: tuple[bytes, bytes], cut: int, payload: bytes) -> None:
    whole = ip.emit_header(*ends, ip.TCP, len(payload)) + payload
    with pytest.raises(MalformedPacket):
        ip.parse_packet(whole[: max(0, len(whole) - cut)])


@given(st.binary(max_size=120) | st.binary(max_size=100).map(lambda data: b"\x60" + data))
def test_any_octets_are_a_packet_or_malformed(data: bytes) -> None:
    try:
        packet = ip.parse_packet(data)
    except MalformedPacket:
        return
    assert len(packet.payload) <= len(data)


def test_ipv4_options_and_fragments_are_understood() -> None:
    header = bytearray(ip.emit_header(bytes(4), bytes(4), ip.UDP, 12))
    header[0] = 0x46
    struct.pack_into(">H", header, 6, 0x2000 | 5)
    packet = ip.parse_packet(bytes(header) + b"optnpayload!")
    assert bytes(packet.payload) == b"payload!"
    assert (packet.fragment_offset, packet.more_fragments) == (40, True)


@pytest.mark.parametrize(("first", "length"), [(0x44, 20), (0x4F, 20), (0x45, 19), (0x45, 21)])
def test_ipv4_lengths_that_disagree_are_malformed(first: int, length: int) -> None:
    header = bytearray(ip.emit_header(bytes(4), bytes(4), ip.UDP, 0))
    header[0] = first
    struct.pack_into(">H", header, 2, length)
    with pytest.raises(MalformedPacket, match="lengths disagree"):
        ip.parse_packet(header)


def ipv6(following: int, payload: bytes) -> bytes:
    return ip.emit_header(bytes(16), bytes(16), following, len(payload)) + payload


def test_ipv6_extension_headers_are_skipped() -> None:
    fragment = struct.pack(">BBHI", 60, 0, 1, 77)
    packet = ip.parse_packet(
        ipv6(0, b"\x2b\0" + bytes(6) + b"\x2c\1" + bytes(14) + fragment + b"\x11\0" + bytes(6) + b"data")
    )
    assert (packet.protocol, bytes(packet.payload)) == (ip.UDP, b"data")
    assert (packet.identification, packet.fragment_offset, packet.more_fragments) == (77, 0, True)


def test_what_follows_in_a_later_ipv6_fragment_is_no_header() -> None:
    fragment = struct.pack(">BBHI", 60, 0, 8 | 1, 77)
    packet = ip.parse_packet(ipv6(44, fragment + b"\xff\xff the middle of something"))
    assert (packet.protocol, packet.fragment_offset) == (60, 8)
    assert bytes(packet.payload) == b"\xff\xff the middle of something"


@pytest.mark.parametrize("payload", [b"", b"\x06", b"\x06\1" + bytes(6), b"\0\0" + bytes(6)])
def test_ipv6_extension_headers_cut_off_are_malformed(payload: bytes) -> None:
    with pytest.raises(MalformedPacket, match="cut off"):
        ip.parse_packet(ipv6(0, payload))


@pytest.mark.parametrize("version", [0, 5, 7, 15])
def test_other_versions_are_malformed(version: int) -> None:
    with pytest.raises(MalformedPacket, match=f"IP version {version}"):
        ip.parse_packet(bytes([version << 4]) + bytes(60))
