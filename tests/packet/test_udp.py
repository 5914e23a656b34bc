"""UDP datagrams."""

from __future__ import annotations

import struct

from hypothesis import given
from hypothesis import strategies as st

from netplayground.packet import MalformedPacket, udp


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
