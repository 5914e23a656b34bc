"""Destination unreachable, of both families: complete checksums, and the quoted packet as it was."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.packet import MalformedPacket, icmp, ip
from netplayground.packet.checksum import internet_checksum, pseudo_header_sum

four = st.binary(min_size=4, max_size=4)
sixteen = st.binary(min_size=16, max_size=16)
pairs = st.tuples(four, four) | st.tuples(sixteen, sixteen)


@given(ends=pairs, payload=st.binary(max_size=40) | st.integers(500, 1500).map(bytes))
def test_the_error_comes_from_the_address_that_nobody_has(ends: tuple[bytes, bytes], payload: bytes) -> None:
    asked = ip.emit_header(*ends, ip.TCP, len(payload)) + payload
    answer = icmp.emit_unreachable(memoryview(asked))
    packet = ip.parse_packet(answer)
    is_v4 = len(ends[0]) == 4
    assert (packet.source, packet.destination) == (ends[1], ends[0])
    assert tuple(packet.payload[:2]) == ((3, 1) if is_v4 else (1, 3))
    start = (
        0 if is_v4 else pseudo_header_sum(packet.source, packet.destination, ip.ICMPV6, len(packet.payload))
    )
    assert internet_checksum(packet.payload, start) == 0
    assert len(answer) <= (576 if is_v4 else 1280)
    quoted = icmp.parse_unreachable(packet)
    assert quoted is not None and asked.startswith(quoted)
    assert len(quoted) == len(asked) or len(answer) == (576 if is_v4 else 1280)


def test_other_messages_are_none() -> None:
    echo = ip.emit_header(bytes(4), bytes(4), ip.ICMP, 8) + b"\x08" + bytes(7)
    datagram = ip.emit_header(bytes(4), bytes(4), ip.UDP, 8) + b"\x03" + bytes(7)
    for packet in (echo, datagram):
        assert icmp.parse_unreachable(ip.parse_packet(packet)) is None


def test_a_message_without_a_header_is_malformed() -> None:
    packet = ip.emit_header(bytes(16), bytes(16), ip.ICMPV6, 3) + b"\x01\0\0"
    with pytest.raises(MalformedPacket, match="ICMP header of 3 octets"):
        icmp.parse_unreachable(ip.parse_packet(packet))


@given(st.binary(max_size=100))
def test_any_octets_are_answered_or_malformed(data: bytes) -> None:
    try:
        answer = icmp.emit_unreachable(data)
    except MalformedPacket:
        return
    assert ip.parse_packet(answer).protocol in (ip.ICMP, ip.ICMPV6)


@given(pairs, st.integers(0, 255), st.integers(0, 255), st.binary(max_size=40))
def test_a_message_has_its_right_checksum(
    ends: tuple[bytes, bytes], kind: int, code: int, body: bytes
) -> None:
    packet = ip.parse_packet(icmp.emit_message(*ends, kind, code, body))
    assert bytes(packet.payload[:2]) == bytes((kind, code)) and bytes(packet.payload[4:]) == body
    start = 0 if packet.version == 4 else pseudo_header_sum(*ends, ip.ICMPV6, len(packet.payload))
    assert internet_checksum(packet.payload, start) == 0
