"""UDP datagrams (RFC 768)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from netplayground.packet import MalformedPacket
from netplayground.packet.checksum import Octets

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
