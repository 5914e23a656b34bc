"""UDP datagrams (RFC 768)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from netplayground.packet import MalformedPacket, ip
from netplayground.packet.checksum import Octets, internet_checksum, pseudo_header_sum

HEADER_LENGTH = 8
_LAYOUT = struct.Struct(">HHHH")


@dataclass(frozen=True, slots=True)
class Datagram:
    """One UDP datagram."""

    source_port: int
    destination_port: int
    payload: memoryview


def parse_datagram(data: Octets) -> Datagram:
    """Read a datagram, which is the payload of an unfragmented IP packet."""
    view = memoryview(data)
    if len(view) < HEADER_LENGTH:
        raise MalformedPacket(f"UDP header of {len(view)} octets, {HEADER_LENGTH} expected")
    source, destination, length, _sum = _LAYOUT.unpack_from(view)
    if not HEADER_LENGTH <= length <= len(view):
        raise MalformedPacket(f"UDP length {length} in a packet with room for {len(view)}")
    return Datagram(source, destination, view[HEADER_LENGTH:length])


def emit_packet(
    source: bytes, source_port: int, destination: bytes, destination_port: int, payload: Octets
) -> bytes:
    """Give the whole IP packet of one datagram, unfragmented whatever its length; the addresses say the
    version."""
    length = HEADER_LENGTH + len(payload)
    header = _LAYOUT.pack(source_port, destination_port, length, 0)
    start = pseudo_header_sum(source, destination, ip.UDP, length)
    # 0 would say that there is no checksum (RFC 768).
    check = internet_checksum(header + bytes(payload), start) or 0xFFFF
    header = _LAYOUT.pack(source_port, destination_port, length, check)
    return ip.emit_header(source, destination, ip.UDP, length) + header + bytes(payload)
