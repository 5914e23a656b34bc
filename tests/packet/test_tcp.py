"""TCP segments, and the reset by which a host without a listener answers."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.packet import MalformedPacket, ip, tcp
from netplayground.packet.checksum import internet_checksum, pseudo_header_sum

port = st.integers(0, 65535)
number = st.integers(0, 2**32 - 1)
four = st.binary(min_size=4, max_size=4)
sixteen = st.binary(min_size=16, max_size=16)
pairs = st.tuples(four, four) | st.tuples(sixteen, sixteen)


def segment(
    ports: tuple[int, int], sequence: int, ack: int, flags: int, options: bytes = b"", data: bytes = b""
) -> bytes:
    offset = (20 + len(options)) << 2
    return struct.pack(">HHIIBBHHH", *ports, sequence, ack, offset, flags, 1000, 0, 0) + options + data


def in_ip(ends: tuple[bytes, bytes], payload: bytes) -> bytes:
    return ip.emit_header(*ends, ip.TCP, len(payload)) + payload


@given(st.tuples(port, port), number, number, st.integers(0, 255), st.integers(0, 10), st.binary(max_size=30))
def test_parse(ports: tuple[int, int], sequence: int, ack: int, flags: int, words: int, data: bytes) -> None:
    found = tcp.parse_segment(segment(ports, sequence, ack, flags, bytes(4 * words), data))
    assert (found.source_port, found.destination_port) == ports
    assert (found.sequence, found.acknowledgement, found.flags, found.window) == (sequence, ack, flags, 1000)
    assert found.payload == data


@given(st.binary(max_size=60))
def test_any_octets_are_a_segment_or_malformed(data: bytes) -> None:
    try:
        assert len(tcp.parse_segment(data).payload) <= len(data) - tcp.HEADER_LENGTH
    except MalformedPacket:
        assert len(data) < 20 or not 20 <= (data[12] >> 4) * 4 <= len(data)


def assert_reset(packet: bytes, ends: tuple[bytes, bytes], ports: tuple[int, int]) -> tcp.Segment:
    found = ip.parse_packet(packet)
    assert (found.source, found.destination, found.protocol) == (ends[1], ends[0], ip.TCP)
    start = pseudo_header_sum(found.source, found.destination, ip.TCP, len(found.payload))
    assert internet_checksum(found.payload, start) == 0
    if found.version == 4:
        assert internet_checksum(packet[:20]) == 0
    answer = tcp.parse_segment(found.payload)
    assert (answer.source_port, answer.destination_port) == (ports[1], ports[0])
    return answer


@given(ends=pairs, ports=st.tuples(port, port), sequence=number, data=st.binary(max_size=9))
def test_a_syn_is_refused_with_the_number_after_it(
    ends: tuple[bytes, bytes], ports: tuple[int, int], sequence: int, data: bytes
) -> None:
    syn = in_ip(ends, segment(ports, sequence, 0, tcp.SYN, bytes(8), data))
    answer = assert_reset(tcp.emit_reset_to_syn(memoryview(syn)), ends, ports)
    assert answer.flags == tcp.RST | tcp.ACK
    assert answer.sequence == 0
    assert answer.acknowledgement == (sequence + 1 + len(data)) % 2**32


@given(ends=pairs, ports=st.tuples(port, port), ack=number)
def test_a_segment_that_acknowledges_is_reset_where_it_expects(
    ends: tuple[bytes, bytes], ports: tuple[int, int], ack: int
) -> None:
    stray = in_ip(ends, segment(ports, 7, ack, tcp.ACK))
    answer = assert_reset(tcp.emit_reset_to_syn(memoryview(stray)), ends, ports)
    assert (answer.flags, answer.sequence) == (tcp.RST, ack)


def test_what_is_not_tcp_is_not_answered() -> None:
    datagram = ip.emit_header(bytes(4), bytes(4), ip.UDP, 8) + bytes(8)
    with pytest.raises(MalformedPacket, match="protocol 17"):
        tcp.emit_reset_to_syn(datagram)


def test_sequence_length_counts_syn_and_fin() -> None:
    for flags, expected in (
        (0, 3),
        (tcp.SYN, 4),
        (tcp.FIN, 4),
        (tcp.SYN | tcp.FIN, 5),
        (tcp.ACK | tcp.PSH, 3),
    ):
        assert tcp.parse_segment(segment((1, 2), 0, 0, flags, b"", b"abc")).sequence_length == expected
