"""What is not TCP on its way: who may hear it, whether it is intact, and when it is whole.

Everything here comes from a process whose source address has been checked. A packet goes to the process that
has its destination address, to all others (broadcast, multicast), or to nobody: then its sender is told so
with an ICMP error, as a host on a wire would be. Which whole datagrams are handed on, and when, is the
listener's business: a recording's courier writes them down first.

    whole       intact? ── listener
    fragment    intact? ── on at once, if it does not make its datagram whole;
                           else the datagram, reassembled and intact?, to the listener with this last one

Nearly all are UDP of one piece to one process: `fast_way` tells them by one unpack from the read buffer, and
finishes the checksum there. Whatever is out of the ordinary goes the slow way, which parses it in full.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network
from typing import Protocol

from netplayground.packet import MalformedPacket, icmp, ip, udp, virtio
from netplayground.packet.carried import assert_intact, finish_checksum
from netplayground.packet.checksum import Octets
from netplayground.traffic.fragments import Fate, Fragments
from netplayground.traffic.link import Link

_VIRTIO = virtio.HEADER_LENGTH

# What the fast way looks at: the virtio header, version and header length, packet length, fragment word,
# protocol, addresses; UDP's length and checksum.
_FAST_V4 = struct.Struct(">10sBxH2xHxB2x4s4s4xHH")
_FAST_V6 = struct.Struct(">10sBxxxHBx16s16s4xHH")
_V4_WITHOUT_OPTIONS = 0x45
_ANY_FRAGMENT = 0x3FFF
_V4_HEADER_AT, _V4_ADDRESSES_AT = _VIRTIO, _VIRTIO + 12
_V4_UDP_AT = _VIRTIO + ip.IPV4_HEADER
_V6_ADDRESSES_AT = _VIRTIO + 8
_V6_UDP_AT = _VIRTIO + ip.IPV6_HEADER
_UDP_CHECK = 6
_PARTIAL_V4 = virtio.emit_header(
    virtio.VirtioHeader(virtio.NEEDS_CHECKSUM, checksum_start=ip.IPV4_HEADER, checksum_offset=_UDP_CHECK)
)
_PARTIAL_V6 = virtio.emit_header(
    virtio.VirtioHeader(virtio.NEEDS_CHECKSUM, checksum_start=ip.IPV6_HEADER, checksum_offset=_UDP_CHECK)
)
_pack_check = struct.Struct(">H").pack_into

_IGMP = 2
_ICMPV6_TO_ROUTERS = frozenset(
    {130, 131, 132, 133, 143}
)  # MLD and router solicitation: we are the router, and flood
_ICMP_ERRORS = {ip.ICMP: frozenset({3, 4, 5, 11, 12}), ip.ICMPV6: frozenset(range(128))}
_UNREACHABLE = {ip.ICMP: 3, ip.ICMPV6: 1}
_UNSPECIFIED_V6 = bytes(16)
_BROADCAST_V4 = b"\xff" * 4


class DatagramListener(Protocol):
    """Hears what processes say that is not TCP, in the order in which they said it."""

    def datagram(self, sender: Link, packet: Octets, receivers: Sequence[Link]) -> None:
        """A whole packet with right checksums, whose source address tells its sender."""

    def named(self, sender: Link | None, packet: Octets, receivers: Sequence[Link]) -> None:
        """One whose source address does not, or an error; None: the playground's own."""

    def fragment(self, packet: Octets, receivers: Sequence[Link]) -> None:
        """A fragment after which its datagram is not yet whole."""

    def reassembled(self, sender: Link, whole: bytes, last: Octets, receivers: Sequence[Link]) -> None:
        """A datagram that came in fragments, of which `last` is the one not yet told of."""

    def flush(self) -> None:
        """No more has come for now."""


class Datagrams:
    """Sorts what is not TCP."""

    def __init__(
        self,
        links: Sequence[Link],
        by_address: Mapping[bytes, Link],
        subnet: IPv4Network,
        listener: DatagramListener,
    ) -> None:
        self.listener = listener
        self._by_address = by_address
        self._broadcasts = frozenset({_BROADCAST_V4, subnet.broadcast_address.packed})
        self._others = {link.name: tuple(each for each in links if each is not link) for link in links}
        self._fragments = {link.name: Fragments(link) for link in links}

    def close(self) -> None:
        """The run is over: what never came whole is counted."""
        for fragments in self._fragments.values():
            fragments.close()

    def fast_way(self, link: Link, buffer: bytearray) -> Callable[[int], bool]:
        """Give what takes the datagram that stands in `buffer`, of that size with its virtio header, if it is
        an ordinary one; else it leaves it as it is and says False."""
        # A closure, as the readers of the router: this is the path of every datagram.
        view, own, tell = memoryview(buffer), link.addresses, self.listener.datagram
        unpack_v4, unpack_v6, number = _FAST_V4.unpack_from, _FAST_V6.unpack_from, int.from_bytes
        routes: dict[bytes, tuple[Link, ...]] = dict.fromkeys(self._broadcasts, self._others[link.name])
        routes.update((address, (to,)) for address, to in self._by_address.items() if to is not link)

        def take(size: int) -> bool:
            virtio_header, first, total, fragment, protocol, source, target, length, check = unpack_v4(buffer)
            if first == _V4_WITHOUT_OPTIONS:
                addresses_at, udp_at, partial = _V4_ADDRESSES_AT, _V4_UDP_AT, _PARTIAL_V4
                if (
                    size != _VIRTIO + total
                    or fragment & _ANY_FRAGMENT
                    or number(view[_V4_HEADER_AT:_V4_UDP_AT], "big") % 65535
                ):
                    return False
            else:
                virtio_header, first, total, protocol, source, target, length, check = unpack_v6(buffer)
                addresses_at, udp_at, partial = _V6_ADDRESSES_AT, _V6_UDP_AT, _PARTIAL_V6
                if size != _V6_UDP_AT + total or first >> 4 != 6:
                    return False
            receivers = routes.get(target)
            if receivers is None or protocol != ip.UDP or length != size - udp_at or source not in own:
                return False
            # Addresses and datagram in one number; RFC 768's pseudo-header has protocol and length besides.
            content = number(view[addresses_at:size], "big")
            total = (content << 8 if size & 1 else content) % 65535 + ip.UDP + length
            if virtio_header == partial:
                _pack_check(buffer, udp_at + _UDP_CHECK, 65535 - (total - check) % 65535)
            elif virtio_header != virtio.PLAIN or total % 65535 or not check:
                return False
            tell(link, view[_VIRTIO:size], receivers)
            return True

        return take

    def take(self, sender: Link, packet: ip.IpPacket, frame: memoryview) -> None:
        """Take any packet; MalformedPacket if it is not intact."""
        octets = frame[_VIRTIO : _VIRTIO + packet.header_length + len(packet.payload)]
        is_fragment = packet.more_fragments or packet.fragment_offset > 0
        if not packet.fragment_offset and _is_for_routers(packet):
            return
        receivers = self._receivers(sender, packet.destination)
        header = virtio.parse_header(frame)
        if is_fragment and header.flags & virtio.NEEDS_CHECKSUM:
            raise MalformedPacket("an unfinished checksum in a fragment")
        finish_checksum(octets, packet.header_length, header)
        assert_intact(octets, packet)
        if is_fragment:
            self._take_fragment(sender, packet, octets, receivers)
            return
        self._tell(sender, packet, octets, receivers)
        if receivers is _NOBODY:
            self._answer_for_nobody(sender, packet, octets)

    def _take_fragment(
        self, sender: Link, packet: ip.IpPacket, octets: memoryview, receivers: Sequence[Link]
    ) -> None:
        fate = self._fragments[sender.name].add(packet, octets)
        if fate is Fate.PASSED:
            self.listener.fragment(octets, receivers)
        elif isinstance(fate, bytes):
            whole = ip.parse_packet(fate)
            if whole.protocol == ip.TCP or whole.more_fragments or whole.fragment_offset:
                raise MalformedPacket("a datagram that is none, in fragments")
            assert_intact(memoryview(fate), whole)
            self.listener.reassembled(sender, fate, octets, receivers)
            if receivers is _NOBODY:
                self._answer_for_nobody(sender, whole, memoryview(fate))

    def _tell(self, sender: Link, packet: ip.IpPacket, octets: memoryview, receivers: Sequence[Link]) -> None:
        is_unreachable = packet.payload[:1] == bytes([_UNREACHABLE.get(packet.protocol, 0)])
        if packet.source == _UNSPECIFIED_V6 or (packet.protocol in _UNREACHABLE and is_unreachable):
            self.listener.named(sender, octets, receivers)
        else:
            self.listener.datagram(sender, octets, receivers)

    def _answer_for_nobody(self, sender: Link, packet: ip.IpPacket, octets: memoryview) -> None:
        if not _is_error(packet):
            self.listener.named(None, icmp.emit_unreachable(octets), (sender,))

    def _receivers(self, sender: Link, destination: bytes) -> Sequence[Link]:
        if self._is_for_all(destination):
            return self._others[sender.name]
        receiver = self._by_address.get(destination)
        if receiver is sender:
            raise MalformedPacket("a packet to its own sender")
        return _NOBODY if receiver is None else (receiver,)

    def _is_for_all(self, destination: bytes) -> bool:
        if len(destination) == 16:
            return destination[0] == 0xFF
        return destination[0] & 0xF0 == 0xE0 or destination in self._broadcasts


_NOBODY: Sequence[Link] = []


def describe(packet: ip.IpPacket) -> tuple[str, str, str]:
    """A packet's two ends' ports and what it is, in words for a person who follows every packet."""
    if packet.protocol == ip.UDP and not packet.fragment_offset and not packet.more_fragments:
        datagram = udp.parse_datagram(packet.payload)
        ports = f":{datagram.source_port}", f":{datagram.destination_port}"
        return *ports, f"UDP {len(datagram.payload)} bytes"
    what = _PROTOCOLS.get(packet.protocol, f"protocol {packet.protocol}")
    if packet.fragment_offset or packet.more_fragments:
        what += f" fragment at {packet.fragment_offset}"
    elif packet.protocol in _ICMP_ERRORS and len(packet.payload):
        what += f" type {packet.payload[0]}"
    return "", "", f"{what} {len(packet.payload)} bytes"


_PROTOCOLS = {ip.UDP: "UDP", ip.ICMP: "ICMP", ip.ICMPV6: "ICMPv6"}


def _is_for_routers(packet: ip.IpPacket) -> bool:
    if packet.protocol == ip.ICMPV6 and len(packet.payload):
        return packet.payload[0] in _ICMPV6_TO_ROUTERS
    return packet.protocol == _IGMP


def _is_error(packet: ip.IpPacket) -> bool:
    """Whether it is an ICMP error: none is sent about one (RFC 1122, 3.2.2; RFC 4443, 2.4 e)."""
    errors = _ICMP_ERRORS.get(packet.protocol)
    return errors is not None and len(packet.payload) > 0 and packet.payload[0] in errors
