"""The checksums in a packet that is not TCP: finishing one that a kernel left to its device, and telling a
wrong one."""

from __future__ import annotations

from netplayground.packet import MalformedPacket, icmp, ip, udp, virtio
from netplayground.packet.checksum import internet_checksum, pseudo_header_sum

_UDP_CHECK = 6


def finish_checksum(packet: memoryview, header_length: int, header: virtio.VirtioHeader) -> None:
    """Put the checksum into `packet` that `header` says is still to be computed; MalformedPacket if that is
    not possible: behind the headers of IP, whose octets have been believed already.

    The field holds the sum of the pseudo-header, so that the sum of everything from `checksum_start` on is
    all there is to it (virtio 1.2, 5.1.6.2).
    """
    if header.gso_type != virtio.GSO_NONE:
        raise MalformedPacket(f"segmentation of kind {header.gso_type} of what is not TCP")
    if not header.flags & virtio.NEEDS_CHECKSUM:
        return
    start, at = header.checksum_start, header.checksum_start + header.checksum_offset
    if start < header_length or at + 2 > len(packet):
        raise MalformedPacket(f"a checksum at {at} of a packet of {len(packet)} octets")
    # 0 would say that there is no checksum (RFC 768); to any other protocol the two are one.
    check = internet_checksum(packet[start:]) or 0xFFFF
    packet[at : at + 2] = check.to_bytes(2, "big")


def assert_intact(octets: memoryview, packet: ip.IpPacket) -> None:
    """Raise MalformedPacket where the packet that `octets` were parsed to is not what its sender's kernel
    sends: a wrong checksum, or a header of UDP or ICMP that is none."""
    if packet.version == 4 and internet_checksum(octets[: packet.header_length]):
        raise MalformedPacket("a wrong IPv4 header checksum")
    if packet.fragment_offset or packet.more_fragments:
        return
    if packet.protocol == ip.UDP:
        _assert_intact_udp(packet)
    elif packet.protocol == (ip.ICMP if packet.version == 4 else ip.ICMPV6):
        _assert_intact_icmp(packet)


def _assert_intact_udp(packet: ip.IpPacket) -> None:
    length = udp.HEADER_LENGTH + len(udp.parse_datagram(packet.payload).payload)
    covered = packet.payload[:length]
    # Without a checksum: over IPv4 as RFC 768 has it, over IPv6 for tunnels (RFC 6935).
    if any(covered[_UDP_CHECK : _UDP_CHECK + 2]):
        start = pseudo_header_sum(packet.source, packet.destination, ip.UDP, length)
        if internet_checksum(covered, start):
            raise MalformedPacket("a wrong UDP checksum")


def _assert_intact_icmp(packet: ip.IpPacket) -> None:
    length = len(packet.payload)
    if length < icmp.HEADER_LENGTH:
        raise MalformedPacket(f"ICMP header of {length} octets, {icmp.HEADER_LENGTH} expected")
    start = (
        0 if packet.version == 4 else pseudo_header_sum(packet.source, packet.destination, ip.ICMPV6, length)
    )
    if internet_checksum(packet.payload, start):
        raise MalformedPacket("a wrong ICMP checksum")
