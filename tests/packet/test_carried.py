"""Checksums of what IP carries: finished where a kernel left them, found where they are wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.packet import MalformedPacket, icmp, ip, udp, virtio
from netplayground.packet.carried import assert_intact, finish_checksum
from netplayground.packet.checksum import pseudo_header_sum

four = st.binary(min_size=4, max_size=4)
sixteen = st.binary(min_size=16, max_size=16)
pairs = st.tuples(four, four) | st.tuples(sixteen, sixteen)


def intact(packet: bytes) -> None:
    assert_intact(memoryview(packet), ip.parse_packet(packet))


@given(ends=pairs, payload=st.binary(max_size=70))
def test_what_a_kernel_left_unfinished_is_finished(ends: tuple[bytes, bytes], payload: bytes) -> None:
    whole = udp.emit_packet(ends[0], 1, ends[1], 2, payload)
    packet = ip.parse_packet(whole)
    at = packet.header_length
    start = pseudo_header_sum(*ends, ip.UDP, len(packet.payload))
    given_out = bytearray(whole)
    given_out[at + 6 : at + 8] = (start % 65535 or 65535).to_bytes(2, "big")
    header = virtio.VirtioHeader(virtio.NEEDS_CHECKSUM, checksum_start=at, checksum_offset=6)
    finish_checksum(memoryview(given_out), at, header)
    assert bytes(given_out) == whole
    intact(whole)


@given(ends=pairs, payload=st.binary(min_size=4, max_size=70), data=st.data())
def test_a_changed_bit_is_found(ends: tuple[bytes, bytes], payload: bytes, data: st.DataObject) -> None:
    for whole in (
        udp.emit_packet(ends[0], 1, ends[1], 2, payload),
        icmp.emit_message(*ends, 128, 0, payload),
    ):
        changed = bytearray(whole)
        at = data.draw(st.integers(len(whole) - len(payload), len(whole) - 1))
        changed[at] ^= 1 << data.draw(st.integers(0, 7))
        intact(whole)
        with pytest.raises(MalformedPacket, match=r"a wrong (UDP|ICMP) checksum"):
            intact(bytes(changed))


def test_a_datagram_without_a_checksum_is_intact() -> None:
    whole = bytearray(udp.emit_packet(bytes(4), 1, bytes(4), 2, b"unsummed"))
    whole[26:28] = bytes(2)
    intact(bytes(whole))


@pytest.mark.parametrize(("start", "offset"), [(0, 10), (19, 0), (20, 500), (65_535, 6), (34, 0), (20, 14)])
def test_a_checksum_that_cannot_be_there_is_malformed(start: int, offset: int) -> None:
    packet = bytearray(udp.emit_packet(bytes(4), 1, bytes(4), 2, b"payload"))
    before = bytes(packet)
    header = virtio.VirtioHeader(virtio.NEEDS_CHECKSUM, checksum_start=start, checksum_offset=offset)
    with pytest.raises(MalformedPacket, match="a checksum at"):
        finish_checksum(memoryview(packet), 20, header)
    assert packet == before


@given(st.binary(max_size=80))
def test_any_packet_is_intact_or_malformed(octets: bytes) -> None:
    try:
        intact(octets)
    except MalformedPacket:
        return
