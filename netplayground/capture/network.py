"""From a captured IP packet to its TCP segment, however much of it was captured.

Not `packet.ip`: a capture has packets that were cut off (a snap length), and packets that never crossed a
wire as they stand: offloading leaves IPv4's length 0 and checksums unfinished, which is why none is looked
at.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

from netplayground.packet import MalformedPacket, ip
from netplayground.packet.checksum import Octets

_EXTENSIONS = {0: 8, 43: 8, 60: 8, 135: 8, 51: 4}
"""Hop-by-hop, routing, destination options, mobility (RFC 6275): length in eights; authentication (RFC 4302)
in fours and two more."""
_FRAGMENT, _AUTHENTICATION = 44, 51
_V4 = struct.Struct(">BxHHHxBxx").unpack_from
_TCP = struct.Struct(">IIBB").unpack_from
_PORTS = 4
_TCP_LEAST = 20


class Network(NamedTuple):
    """An IP packet: protocol, addresses as octets, its payload's place, how much of it was not captured."""

    version: int
    protocol: int
    addresses: bytes
    begin: int
    end: int
    missing: int
    identification: int
    offset: int
    """Of a fragment, in octets; -1 for a packet that is none."""
    is_last: bool


class Segment(NamedTuple):
    """A TCP segment: `key` is (addresses, ports) as on the wire, the payload lies between `begin` and `end`.

    `missing` octets of it, its last ones, were not captured.
    """

    key: bytes
    sequence: int
    acknowledgement: int
    flags: int
    begin: int
    end: int
    missing: int


def parse_network(buffer: Octets, begin: int, end: int) -> Network:
    """Read the headers of the IP packet at `begin`; the capture has it up to `end`."""
    return (_parse_v4 if buffer[begin] >> 4 == 4 else _parse_v6)(buffer, begin, end)


def _parse_v4(buffer: Octets, begin: int, end: int) -> Network:
    if begin + ip.IPV4_HEADER > end:
        raise MalformedPacket("an IPv4 header is cut off")
    first, length, identification, fragment, protocol = _V4(buffer, begin)
    header = (first & 15) * 4
    # Segmentation offload of more than 64 KiB leaves the length 0: all that was captured is the packet.
    whole = begin + length if length else end
    if header < ip.IPV4_HEADER or begin + header > min(end, whole):
        raise MalformedPacket("the lengths of an IPv4 packet disagree")
    offset = (fragment & 0x1FFF) * 8
    more = bool(fragment & 0x2000)
    return Network(
        4,
        protocol,
        bytes(buffer[begin + 12 : begin + 20]),
        begin + header,
        min(whole, end),
        max(0, whole - end),
        identification,
        offset if offset or more else -1,
        not more,
    )


def _parse_v6(buffer: Octets, begin: int, end: int) -> Network:
    at = begin + ip.IPV6_HEADER
    if at > end:
        raise MalformedPacket("an IPv6 header is cut off")
    length, protocol = buffer[begin + 4] << 8 | buffer[begin + 5], buffer[begin + 6]
    # A jumbogram (RFC 2675), and what BIG TCP makes, has length 0.
    whole = at + length if length else end
    identification, offset, more = 0, -1, False
    while protocol in _EXTENSIONS or protocol == _FRAGMENT:
        if at + 8 > min(end, whole):
            raise MalformedPacket("an IPv6 extension header is cut off")
        following, size = buffer[at], 8
        if protocol == _FRAGMENT:
            word, identification = struct.unpack_from(">HI", buffer, at + 2)
            more = bool(word & 1)
            # One that is whole in itself is no fragment (RFC 6946).
            offset = word & 0xFFF8 if word & 0xFFF9 else -1
            if offset > 0:
                protocol, at = following, at + size
                break
        else:
            size = (buffer[at + 1] + 2) * 4 if protocol == _AUTHENTICATION else 8 + buffer[at + 1] * 8
        protocol, at = following, at + size
    if at > min(end, whole):
        raise MalformedPacket("the lengths of an IPv6 packet disagree")
    addresses = bytes(buffer[begin + 8 : begin + 40])
    missing = max(0, whole - end)
    return Network(6, protocol, addresses, at, min(whole, end), missing, identification, offset, not more)


def parse_segment(buffer: Octets, network: Network) -> Segment:
    """Read the TCP header at the beginning of an IP packet's payload."""
    begin, end = network.begin, network.end
    if begin + _TCP_LEAST > end:
        raise MalformedPacket("a TCP header is cut off")
    sequence, acknowledgement, offset, flags = _TCP(buffer, begin + _PORTS)
    header = (offset >> 4) * 4
    if header < _TCP_LEAST or begin + header > end + network.missing:
        raise MalformedPacket("the lengths of a TCP segment disagree")
    key = network.addresses + bytes(buffer[begin : begin + _PORTS])
    # The options may be cut off too; then all of the payload is.
    missing = network.missing - max(0, begin + header - end)
    return Segment(key, sequence, acknowledgement, flags, min(begin + header, end), end, missing)


def turned(key: bytes) -> bytes:
    """Give the key of the other direction."""
    half = (len(key) - 4) // 2
    return key[half : 2 * half] + key[:half] + key[-2:] + key[-4:-2]
