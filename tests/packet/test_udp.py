"""UDP datagrams."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from netplayground.packet import MalformedPacket, ip, udp
from netplayground.packet.checksum import internet_checksum, pseudo_header_sum


@given(st.integers(0, 65535), st.integers(0, 65535), st.binary(max_size=40), st.binary(max_size=4))
def test_parse_whatever_follows(source: int, destination: int, data: bytes, rest: bytes) -> None:
    header = struct.pack(">HHHH", source, destination, 8 + len(data), 0)
    found = udp.parse_datagram(header + data + rest)
    assert (found.source_port, found.destination_port, bytes(found.payload)) == (source, destination, data)


@given(st.binary(max_size=30))
def test_any_octets_are_a_datagram_or_malformed(data: bytes) -> None:
    try:
        assert len(udp.parse_datagram(data).payload) <= len(data) - udp.HEADER_LENGTH
    except MalformedPacket:
        assert len(data) < 8 or not 8 <= int.from_bytes(data[4:6], "big") <= len(data)


@given(st.sampled_from([4, 16]), st.integers(0, 65535), st.integers(0, 65535), st.binary(max_size=40))
def test_an_emitted_packet_is_parsed_again_and_its_checksum_is_right(
    size: int, port: int, target: int, payload: bytes
) -> None:
    ends = bytes([10] * size), bytes([20] * size)
    packet = ip.parse_packet(udp.emit_packet(ends[0], port, ends[1], target, payload))
    assert (packet.source, packet.destination, packet.protocol) == (*ends, ip.UDP)
    found = udp.parse_datagram(packet.payload)
    assert (found.source_port, found.destination_port, bytes(found.payload)) == (port, target, payload)
    assert internet_checksum(packet.payload, pseudo_header_sum(*ends, ip.UDP, len(packet.payload))) == 0
    assert bytes(packet.payload[6:8]) != bytes(2)


def test_a_sum_of_nothing_is_not_told_as_no_checksum() -> None:
    bare = udp.emit_packet(bytes(4), 0, bytes(4), 0, b"")
    wanted = (0xFFFF - int.from_bytes(bare[26:28], "big")) ^ 0xFFFF
    packet = udp.emit_packet(bytes(4), wanted, bytes(4), 0, b"")
    assert packet[26:28] == b"\xff\xff"
