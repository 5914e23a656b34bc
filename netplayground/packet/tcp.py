"""TCP segments (RFC 9293): reading one, and the reset that answers a connection request nobody wants."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from netplayground.packet import MalformedPacket, ip
from netplayground.packet.checksum import Octets, internet_checksum, pseudo_header_sum

FIN = 0x01
SYN = 0x02
RST = 0x04
PSH = 0x08
ACK = 0x10
URG = 0x20

HEADER_LENGTH = 20
_SEQUENCES = 1 << 32
_LAYOUT = struct.Struct(">HHIIBBHHH")


@dataclass(frozen=True, slots=True)
class Segment:
    """One TCP segment; `sequence` and `acknowledgement` as they stand on the wire."""

    source_port: int
    destination_port: int
    sequence: int
    acknowledgement: int
    flags: int
    window: int
    payload: memoryview

    @property
    def sequence_length(self) -> int:
        """How much of the sequence space the segment takes: its payload, and one each for SYN and FIN."""
        return len(self.payload) + bool(self.flags & SYN) + bool(self.flags & FIN)


def parse_segment(data: Octets) -> Segment:
    """Read a segment, which is the payload of an IP packet."""
    view = memoryview(data)
    if len(view) < HEADER_LENGTH:
        raise MalformedPacket(f"TCP header of {len(view)} octets, at least {HEADER_LENGTH} expected")
    source, destination, sequence, ack, offset, flags, window, _sum, _urgent = _LAYOUT.unpack_from(view)
    header = (offset >> 4) * 4
    if not HEADER_LENGTH <= header <= len(view):
        raise MalformedPacket(f"TCP header of {header} octets in a segment of {len(view)}")
    return Segment(source, destination, sequence, ack, flags, window, view[header:])


def emit_reset_to_syn(ip_packet: Octets) -> bytes:
    """Give the packet by which a host without a listener answers `ip_packet` (RFC 9293, 3.10.7.1)."""
    packet = ip.parse_packet(ip_packet)
    if packet.protocol != ip.TCP or packet.fragment_offset:
        raise MalformedPacket(
            f"protocol {packet.protocol} at offset {packet.fragment_offset}, TCP at 0 expected"
        )
    segment = parse_segment(packet.payload)
    if segment.flags & ACK:
        sequence, ack, flags = segment.acknowledgement, 0, RST
    else:
        sequence, ack, flags = 0, (segment.sequence + segment.sequence_length) % _SEQUENCES, RST | ACK
    fields = (segment.destination_port, segment.source_port, sequence, ack, HEADER_LENGTH << 2, flags, 0)
    start = pseudo_header_sum(packet.destination, packet.source, ip.TCP, HEADER_LENGTH)
    check = internet_checksum(_LAYOUT.pack(*fields, 0, 0), start)
    header = ip.emit_header(packet.destination, packet.source, ip.TCP, HEADER_LENGTH)
    return header + _LAYOUT.pack(*fields, check, 0)
