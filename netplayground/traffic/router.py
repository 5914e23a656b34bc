"""The router: reads packets from every TUN device and decides where each goes.

TCP of a process goes into the proxy namespace, where connections are taken apart; TCP out of it goes to the
process that has the destination address; both pass the interceptor while they belong to a connection that is
not one yet. Everything else is a datagram (see `datagrams`): what of it comes in one turn of a device is told
together at the turn's end, or before anything of another kind is. A packet may come only from an address of
its sender.

This is the path of every packet. What nearly all are, TCP of a connection that stands, without IP options, is
decided with one unpack from the reused read buffer and one write of the same bytes: the virtio header before
the packet (its checksum still to be completed, its segments of up to 64 KiB still to be cut) passes through
untouched. Whatever is anything else goes the slow way, which parses it in full. Malformed packets are counted
and dropped.
"""

from __future__ import annotations

import os
import select
import struct
from collections.abc import Callable, Mapping, Sequence
from ipaddress import IPv4Network, ip_address
from select import EPOLLIN
from typing import Protocol

from netplayground.packet import MalformedPacket, ip, tcp, virtio
from netplayground.traffic.connect import Key
from netplayground.traffic.datagrams import DatagramListener, Datagrams, describe
from netplayground.traffic.link import Link
from netplayground.traffic.loop import Loop

_VIRTIO = virtio.HEADER_LENGTH
_LARGEST_FRAME = _VIRTIO + 65_536
_PACKETS_A_TURN = 32  # then the other descriptors have their turn
_DRAIN_TURNS = 1000

# What the fast way looks at: version and header length, fragment word, protocol, addresses, ports, TCP flags.
_FAST_V4 = struct.Struct(">B5xHxB2x4s4sHH9xB")
_FAST_V6 = struct.Struct(">B5xBx16s16sHH9xB")
_V4_WITHOUT_OPTIONS = 0x45
_ANY_FRAGMENT = 0x3FFF  # offset and "more fragments"
_SMALLEST_V4 = _VIRTIO + ip.IPV4_HEADER + tcp.HEADER_LENGTH
_SMALLEST_V6 = _VIRTIO + ip.IPV6_HEADER + tcp.HEADER_LENGTH

_SYN_FIN = tcp.SYN | tcp.FIN
_UNSPECIFIED_V6 = bytes(16)


class Interceptor(Protocol):
    """Who takes connections apart: a recording's connector, a replay's answerer."""

    refused_for_room: int

    @property
    def attempts(self) -> Mapping[Key, object]:
        """The connections that are not one yet."""

    @property
    def open_count(self) -> int:
        """Connections that are open or under way."""

    def on_packet_of_process(self, link: Link, key: Key, flags: int, frame: memoryview) -> None:
        """Every SYN of a process, and every packet of TCP while there are attempts."""

    def on_packet_of_proxy(self, link: Link, key: Key, flags: int, frame: memoryview) -> None:
        """Every packet of TCP that the proxy has for a process while there are attempts."""

    def close(self) -> None:
        """The run is over."""


class Router:
    """Moves packets between the processes' TUN devices and that of the proxy namespace."""

    def __init__(
        self,
        loop: Loop,
        links: Sequence[Link],
        proxy: Link,
        interceptor: Interceptor,
        subnet: IPv4Network,
        listener: DatagramListener,
        trace: Callable[[str], None] | None = None,
        absent: Sequence[Link] = (),
    ) -> None:
        """`absent`: links of those that are not there, but to whom datagrams may go."""
        self._loop = loop
        self._by_address = links_by_address(links)
        self._proxy = proxy
        self._interceptor = interceptor
        everybody = [*links, *absent]
        self._datagrams = Datagrams(everybody, links_by_address(everybody), subnet, listener)
        self._flush = listener.flush
        self._trace = trace
        self._buffer = bytearray(_LARGEST_FRAME)
        self._readers = {link.fd: self._reader_of_process(link) for link in links}
        for fd, reader in self._readers.items():
            loop.add(fd, EPOLLIN, reader)
        self.read_proxy = self._reader_of_proxy()
        loop.add(proxy.fd, EPOLLIN, self.read_proxy)

    def _reader_of_process(self, link: Link) -> Callable[[int], None]:
        # A closure: what the path of a packet needs are local names, not attributes.
        fd, buffer, buffers, view = link.fd, self._buffer, [self._buffer], memoryview(self._buffer)
        proxy, addresses, interceptor = self._proxy, link.addresses, self._interceptor
        attempts, pass_on, readv = interceptor.attempts, proxy.write, os.readv
        unpack_v4, unpack_v6 = _FAST_V4.unpack_from, _FAST_V6.unpack_from
        from_process, is_traced = self._from_process, self._trace is not None
        take_datagram, flush = self._datagrams.fast_way(link, buffer), self._flush
        turn = Turn(self._loop)

        def read(_events: int) -> None:
            has_told = False  # of datagrams
            for _ in range(turn.begin()):
                try:
                    size = readv(fd, buffers)
                except BlockingIOError:
                    turn.end()
                    break
                frame = view[:size]
                first, fragment, protocol, source, target, source_port, port, flags = unpack_v4(
                    buffer, _VIRTIO
                )
                if first == _V4_WITHOUT_OPTIONS:
                    fast = size >= _SMALLEST_V4 and not fragment & _ANY_FRAGMENT
                else:
                    first, protocol, source, target, source_port, port, flags = unpack_v6(buffer, _VIRTIO)
                    fast = first >> 4 == 6 and size >= _SMALLEST_V6
                if not fast or protocol != ip.TCP or flags & tcp.SYN or source not in addresses or is_traced:
                    if is_traced or not take_datagram(size):
                        from_process(link, frame)
                    has_told = True
                elif attempts:
                    flush()
                    interceptor.on_packet_of_process(link, (source, target, source_port, port), flags, frame)
                else:
                    pass_on(frame)
            if has_told:
                flush()

        return read

    def _reader_of_proxy(self) -> Callable[[int], None]:
        fd, buffer, buffers, view = self._proxy.fd, self._buffer, [self._buffer], memoryview(self._buffer)
        by_address, interceptor = self._by_address, self._interceptor
        attempts, readv, unpack_v4, unpack_v6 = (
            interceptor.attempts,
            os.readv,
            _FAST_V4.unpack_from,
            _FAST_V6.unpack_from,
        )
        from_proxy, is_traced = self._from_proxy, self._trace is not None
        turn = Turn(self._loop)

        def read(_events: int) -> None:
            for _ in range(turn.begin()):
                try:
                    size = readv(fd, buffers)
                except BlockingIOError:
                    turn.end()
                    return
                frame = view[:size]
                first, _, protocol, source, target, source_port, port, flags = unpack_v4(buffer, _VIRTIO)
                if first != _V4_WITHOUT_OPTIONS:
                    first, protocol, source, target, source_port, port, flags = unpack_v6(buffer, _VIRTIO)
                link = by_address.get(target)
                if link is None or protocol != ip.TCP or is_traced:
                    from_proxy(frame)
                elif attempts:
                    interceptor.on_packet_of_proxy(link, (source, target, source_port, port), flags, frame)
                else:
                    link.write(frame)

        return read

    # The slow way.

    def _from_process(self, link: Link, frame: memoryview) -> None:
        """Route a packet of a process that is out of the ordinary, or the first of something."""
        try:
            packet = ip.parse_packet(frame[_VIRTIO:])
            if not self._may_send(link, packet):
                link.dropped_source += 1
            elif packet.protocol == ip.TCP:
                self._flush()
                self._tcp_from_process(link, packet, frame)
            else:
                self._say("->", packet, None)
                self._datagrams.take(link, packet, frame)
        except MalformedPacket:
            link.dropped_malformed += 1

    @staticmethod
    def _may_send(link: Link, packet: ip.IpPacket) -> bool:
        if packet.source == _UNSPECIFIED_V6:  # a host that has no address yet asks its neighbours (RFC 4861)
            return packet.destination[:2] == b"\xff\x02"
        return packet.source in link.addresses

    def _tcp_from_process(self, link: Link, packet: ip.IpPacket, frame: memoryview) -> None:
        if packet.more_fragments or packet.fragment_offset:
            # Linux never cuts TCP into fragments, and one could hide a SYN from us.
            raise MalformedPacket("a fragment of TCP")
        segment = tcp.parse_segment(packet.payload)
        self._say("->", packet, segment)
        if not segment.source_port or segment.flags & _SYN_FIN == _SYN_FIN:
            raise MalformedPacket("a segment that no kernel sends")
        key = (packet.source, packet.destination, segment.source_port, segment.destination_port)
        self._interceptor.on_packet_of_process(link, key, segment.flags, frame)

    def _from_proxy(self, frame: memoryview) -> None:
        """Route a packet of the proxy that belongs to an attempt, or is not TCP to a process."""
        packet = ip.parse_packet(frame[_VIRTIO:])
        if packet.protocol != ip.TCP:
            return  # the proxy's kernel asks for routers and groups, and nobody needs its answers
        segment = tcp.parse_segment(packet.payload)
        self._say("<-", packet, segment)
        key = (packet.source, packet.destination, segment.source_port, segment.destination_port)
        link = self._by_address.get(packet.destination)
        if link is not None:
            self._interceptor.on_packet_of_proxy(link, key, segment.flags, frame)

    def drain(self) -> bool:
        """Route what waits in the processes' devices; say whether there was anything.

        A process that is gone may have left thousands of packets there.
        """
        devices = select.poll()
        for fd in self._readers:
            devices.register(fd, select.POLLIN)
        has_found = False
        for _ in range(_DRAIN_TURNS):
            ready = devices.poll(0)
            if not ready:
                break
            has_found = True
            for fd, _events in ready:
                self._readers[fd](EPOLLIN)
        return has_found

    def close(self) -> None:
        """The run is over."""
        self._datagrams.close()

    def _say(self, direction: str, packet: ip.IpPacket, segment: tcp.Segment | None) -> None:
        if self._trace is None:
            return
        source, destination = ip_address(packet.source), ip_address(packet.destination)
        if segment is None:
            from_port, to_port, what = describe(packet)
            self._trace(f"{source}{from_port} {direction} {destination}{to_port} {what}")
            return
        self._trace(
            f"{source}:{segment.source_port} {direction} {destination}:{segment.destination_port} "
            f"{_flag_names(segment.flags)} seq {segment.sequence} ack {segment.acknowledgement} "
            f"{len(segment.payload)} bytes"
        )


class Turn:
    """How many packets a device may hand over before the others have their turn.

    To ask a device that has nothing more costs as much as a packet, and most often there was only one. So a
    turn is one packet, and grows while device after device turn there was more.
    """

    __slots__ = ("_loop", "_packets", "_round", "_used_up")

    def __init__(self, loop: Loop) -> None:
        self._loop = loop
        self._round = 0
        self._packets = 1
        self._used_up = 0  # turns running in which there was as much as the turn allowed

    def begin(self) -> int:
        """How many packets this turn allows."""
        now = self._loop.round
        if now - self._round > 1:
            self._packets, self._used_up = 1, 0
        elif self._used_up > 1:
            self._packets = min(2 * self._packets, _PACKETS_A_TURN)
        self._round = now
        self._used_up += 1
        return self._packets

    def end(self) -> None:
        """There was nothing more."""
        self._packets = max(self._packets // 2, 1)
        self._used_up = 0


def links_by_address(links: Sequence[Link]) -> Mapping[bytes, Link]:
    """Every process's link, by each of its packed addresses."""
    return {address: link for link in links for address in link.addresses}


def _flag_names(flags: int) -> str:
    names = [name for bit, name in enumerate("FSRPAU") if flags & 1 << bit]
    return "".join(names) or "-"
