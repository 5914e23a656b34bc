"""IPv4 (RFC 791) and IPv6 (RFC 8200) packets: one value for both, so that callers need not know the
version."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from netplayground.packet import MalformedPacket
from netplayground.packet.checksum import Octets, internet_checksum

ICMP = 1
TCP = 6
UDP = 17
ICMPV6 = 58

IPV4_HEADER = 20
IPV6_HEADER = 40
PAYLOAD_MOST = {4: 65535 - IPV4_HEADER, 6: 65535}
"""The length in an IPv4 header is that of the whole packet."""
HOP_LIMIT = 64

_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION_OPTIONS = 0, 43, 44, 60
_EXTENSIONS = frozenset((_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION_OPTIONS))
_V4 = struct.Struct(">BBHHHBBH4s4s")
_V6 = struct.Struct(">IHBB16s16s")


@dataclass(frozen=True, slots=True)
class IpPacket:
    """One IP packet; `payload` begins after every header, extension headers included: after
    `header_length` octets."""

    version: int
    source: bytes
    destination: bytes
    protocol: int
    payload: memoryview
    hop_limit: int = HOP_LIMIT
    identification: int = 0
    fragment_offset: int = 0
    more_fragments: bool = False
    header_length: int = 0


def parse_packet(data: Octets) -> IpPacket:
    """Read a packet of either version; octets after its stated length are not part of it."""
    view = memoryview(data)
    version = view[0] >> 4 if len(view) else 0
    if version == 4:
        return _parse_v4(view)
    if version == 6:
        return _parse_v6(view)
    raise MalformedPacket(
        f"IP version {version}, 4 or 6 expected" if len(view) else "no octets in the packet"
    )


def _parse_v4(view: memoryview) -> IpPacket:
    if len(view) < IPV4_HEADER:
        raise MalformedPacket(f"IPv4 header of {len(view)} octets, at least {IPV4_HEADER} expected")
    first, _tos, length, ident, fragment, ttl, protocol, _sum, source, destination = _V4.unpack_from(view)
    header = (first & 15) * 4
    if not IPV4_HEADER <= header <= length <= len(view):
        raise MalformedPacket(f"IPv4 lengths disagree: header {header}, packet {length}, octets {len(view)}")
    return IpPacket(
        version=4,
        source=source,
        destination=destination,
        protocol=protocol,
        payload=view[header:length],
        hop_limit=ttl,
        identification=ident,
        fragment_offset=(fragment & 0x1FFF) * 8,
        more_fragments=bool(fragment & 0x2000),
        header_length=header,
    )


def _parse_v6(view: memoryview) -> IpPacket:
    if len(view) < IPV6_HEADER:
        raise MalformedPacket(f"IPv6 header of {len(view)} octets, {IPV6_HEADER} expected")
    _first, length, protocol, hop_limit, source, destination = _V6.unpack_from(view)
    end = IPV6_HEADER + length
    if end > len(view):
        raise MalformedPacket(f"IPv6 packet of {end} octets in {len(view)}")
    protocol, at, ident, fragment = _skip_extensions(view[:end], protocol)
    return IpPacket(
        version=6,
        source=source,
        destination=destination,
        protocol=protocol,
        payload=view[at:end],
        hop_limit=hop_limit,
        identification=ident,
        fragment_offset=fragment & 0xFFF8,
        more_fragments=bool(fragment & 1),
        header_length=at,
    )


def _skip_extensions(view: memoryview, protocol: int) -> tuple[int, int, int, int]:
    """Give the upper protocol, where it begins, and a fragment header's identification and offset word."""
    at, ident, fragment = IPV6_HEADER, 0, 0
    while protocol in _EXTENSIONS:
        if at + 8 > len(view):
            raise MalformedPacket(f"IPv6 extension header {protocol} cut off at octet {len(view)}")
        following, size = view[at], 8 + view[at + 1] * 8
        if protocol == _FRAGMENT:
            size = 8
            fragment, ident = struct.unpack_from(">HI", view, at + 2)
        if at + size > len(view):
            raise MalformedPacket(f"IPv6 extension header {protocol} cut off at octet {len(view)}")
        at += size
        if protocol == _FRAGMENT and fragment & 0xFFF8:
            return following, at, ident, fragment
        protocol = following
    return protocol, at, ident, fragment


def find_fragment_header(octets: Octets) -> tuple[int, int]:
    """Say where in an IPv6 packet that has one the fragment header is, and the octet that announces it."""
    view, protocol_at, at = memoryview(octets), 6, IPV6_HEADER
    while view[protocol_at] != _FRAGMENT:
        if view[protocol_at] not in _EXTENSIONS or at + 8 > len(view):
            raise MalformedPacket("an IPv6 packet without a fragment header")
        protocol_at, at = at, at + 8 + view[at + 1] * 8
        if at + 8 > len(view):
            raise MalformedPacket("an IPv6 packet without a fragment header")
    return protocol_at, at


def emit_header(source: bytes, destination: bytes, protocol: int, length: int) -> bytes:
    """Give the header of an unfragmented packet whose payload has `length` octets; the addresses say the
    version."""
    if len(source) == 16:
        return _V6.pack(6 << 28, length, protocol, HOP_LIMIT, source, destination)
    fields = (0x45, 0, IPV4_HEADER + length, 0, 0x4000, HOP_LIMIT, protocol)
    check = internet_checksum(_V4.pack(*fields, 0, source, destination))
    return _V4.pack(*fields, check, source, destination)
