"""The virtio header: ten octets in this machine's order."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netplayground.packet import MalformedPacket, virtio

octet = st.integers(0, 255)
word = st.integers(0, 65535)


@given(st.builds(virtio.VirtioHeader, octet, octet, word, word, word, word), st.binary(max_size=5))
def test_round_trip_whatever_follows(header: virtio.VirtioHeader, rest: bytes) -> None:
    octets = virtio.emit_header(header)
    assert len(octets) == virtio.HEADER_LENGTH
    assert virtio.parse_header(octets + rest) == header
    assert virtio.parse_header(memoryview(bytearray(octets + rest))) == header


@pytest.mark.parametrize("length", range(virtio.HEADER_LENGTH))
def test_fewer_octets_are_malformed(length: int) -> None:
    with pytest.raises(MalformedPacket, match=f"{length} octets"):
        virtio.parse_header(bytes(length))


def test_plain_header_asks_for_nothing() -> None:
    assert virtio.parse_header(virtio.PLAIN) == virtio.VirtioHeader()


def test_layout_is_that_of_linux() -> None:
    header = virtio.VirtioHeader(virtio.NEEDS_CHECKSUM, virtio.GSO_TCPV4, 54, 1448, 20, 16)
    numbers = b"".join(number.to_bytes(2, sys.byteorder) for number in (54, 1448, 20, 16))
    assert virtio.emit_header(header) == b"\x01\x01" + numbers
