"""ICMP (RFC 792) and ICMPv6 (RFC 4443) errors: saying that nobody has an address, and reading that again."""

from __future__ import annotations

from netplayground.packet import MalformedPacket, ip
from netplayground.packet.checksum import Octets, internet_checksum, pseudo_header_sum

HEADER_LENGTH = 8
_V4_UNREACHABLE, _V4_HOST = 3, 1
_V6_UNREACHABLE, _V6_ADDRESS = 1, 3
_V4_MOST = 576
"""RFC 1812, 4.3.2.3: an error quotes as much as fits into 576 octets in all."""
_V6_MOST = 1280
"""RFC 4443, 2.4 (c): as much as fits into the least MTU of IPv6."""


def emit_unreachable(ip_packet: Octets) -> bytes:
    """Give the error that tells the sender of `ip_packet` that no host has its destination address.

    It comes from that address itself: there is no router between. The packet is quoted as it is; its own
    checksum may be one that the kernel left unfinished.
    """
    packet = ip.parse_packet(ip_packet)
    four = packet.version == 4
    room = (_V4_MOST - ip.IPV4_HEADER if four else _V6_MOST - ip.IPV6_HEADER) - HEADER_LENGTH
    quoted = bytes(memoryview(ip_packet)[:room])
    kind, code = (_V4_UNREACHABLE, _V4_HOST) if four else (_V6_UNREACHABLE, _V6_ADDRESS)
    return emit_message(packet.destination, packet.source, kind, code, bytes(4) + quoted)


def parse_unreachable(packet: ip.IpPacket) -> memoryview | None:
    """Give the packet that a destination-unreachable error quotes, None if `packet` is something else."""
    if packet.protocol not in (ip.ICMP, ip.ICMPV6) or packet.fragment_offset:
        return None
    if len(packet.payload) < HEADER_LENGTH:
        raise MalformedPacket(f"ICMP header of {len(packet.payload)} octets, {HEADER_LENGTH} expected")
    expected = _V4_UNREACHABLE if packet.protocol == ip.ICMP else _V6_UNREACHABLE
    return packet.payload[HEADER_LENGTH:] if packet.payload[0] == expected else None


def emit_message(source: bytes, destination: bytes, kind: int, code: int, body: Octets) -> bytes:
    """Give the whole IP packet of one message; `body` is what follows its checksum."""
    protocol = ip.ICMP if len(source) == 4 else ip.ICMPV6
    length = 4 + len(body)
    # ICMPv6 alone sums a pseudo-header (RFC 4443, 2.3).
    start = 0 if len(source) == 4 else pseudo_header_sum(source, destination, protocol, length)
    check = internet_checksum(bytes((kind, code, 0, 0)) + bytes(body), start)
    header = ip.emit_header(source, destination, protocol, length)
    return header + bytes((kind, code)) + check.to_bytes(2, "big") + bytes(body)
