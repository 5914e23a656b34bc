"""The packets of a recorded connection, packed together with their block's header in one call.

A segment's block is: the enhanced packet block's header, an IP header, a TCP header, payload, padding, the
block's length. Only time, lengths, sequence numbers and flags differ from one to the next; all else is a
constant of the connection. The IPv4 header's checksum is that of the constant part plus the length; the TCP
checksum is 0.

Identification (IPv4) or flow label (IPv6) hold the connection id's low bits: where a tuple is used again
before its last event was seen, a reader can still tell whose a packet is.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from netplayground.packet import ip, tcp
from netplayground.packet.checksum import partial_sum

V4 = struct.Struct(">IIIQIIHH6sH12sIIQ")
V6 = struct.Struct(">IIIQIIIH2s36sIIQ")
V4_HEADERS = ip.IPV4_HEADER + tcp.HEADER_LENGTH
V6_HEADERS = ip.IPV6_HEADER + tcp.HEADER_LENGTH

SEGMENT_MOST = 65495
"""The payload of the longest IPv4 packet with these headers; IPv6 takes the same, so that a dump is cut
alike."""

V4_ID_MASK = 0xFFFF
V6_ID_MASK = 0xFFFFF

_OPTIONS = 8
_WINDOW = 0xFFFF


def _tail(flags: int, options: int = 0) -> int:
    """Give the TCP header from its data offset on: window full, checksum and urgent pointer 0."""
    offset = (tcp.HEADER_LENGTH + options) // 4 << 4
    return offset << 56 | flags << 48 | _WINDOW << 32


DATA = _tail(tcp.PSH | tcp.ACK)
ACK = _tail(tcp.ACK)
FIN = _tail(tcp.FIN | tcp.ACK)
RST = _tail(tcp.RST | tcp.ACK)
RST_ALONE = _tail(tcp.RST)
SYN = _tail(tcp.SYN, _OPTIONS)
SYN_ACK = _tail(tcp.SYN | tcp.ACK, _OPTIONS)

SYN_OPTIONS = struct.pack(">BBHBBBB", 2, 4, SEGMENT_MOST, 1, 3, 3, 14)
"""Maximum segment size, and the greatest window scale (RFC 7323, 2.3): with it no stream ever fills the
window, and tools that check windows find nothing to say."""

TRAILERS = tuple(struct.Struct(">" + "x" * pad + "I") for pad in (0, 3, 2, 1))
"""Padding and block length, by the payload's length modulo 4 (the headers are whole words)."""


@dataclass(frozen=True, slots=True)
class Tuple:
    """The two ends of a connection, as octets."""

    client: bytes
    client_port: int
    server: bytes
    server_port: int

    @property
    def is_v4(self) -> bool:
        return len(self.client) == 4

    def ends(self) -> tuple[bytes, bytes]:
        """Give addresses and ports as they stand in the packets of the client and in those of the server."""
        ports = struct.pack(">HH", self.client_port, self.server_port)
        turned = struct.pack(">HH", self.server_port, self.client_port)
        return self.client + self.server + ports, self.server + self.client + turned


def v4_constants(identification: int, ends: Tuple) -> tuple[bytes, int]:
    """Give what stands between an IPv4 header's length and checksum, and the sum of the header without its
    length."""
    middle = struct.pack(">HHBB", identification & V4_ID_MASK, 0x4000, ip.HOP_LIMIT, ip.TCP)
    return middle, partial_sum(b"\x45\0" + middle + ends.client + ends.server)


def v6_constants(identification: int) -> tuple[bytes, int]:
    """Give what stands between an IPv6 header's length and its addresses, and the header's first word."""
    return bytes((ip.TCP, ip.HOP_LIMIT)), 6 << 28 | identification & V6_ID_MASK
