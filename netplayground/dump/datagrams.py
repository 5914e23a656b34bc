"""Datagrams read back: from a packet block to a value that says who sent what to whom, and where it lies."""

from __future__ import annotations

import struct
from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address

from netplayground.dump import blocks
from netplayground.dump.model import Address, Datagram, Process, names_by_address
from netplayground.dump.source import Source
from netplayground.packet import MalformedPacket, ip, udp

_WINDOW = 1 << 18
_ADDRESSES_MOST = 4096
_HEAD = struct.Struct(">IIIQII")


class DatagramReader:
    """Reads datagrams, most quickly in the order of the file: what follows one is read with it."""

    def __init__(self, source: Source, processes: Iterable[Process]) -> None:
        self._source = source
        processes = tuple(processes)
        self._names = names_by_address(processes)
        self._by_position = {process.position: process.name for process in processes}
        self._window = b""
        self._begin = 0
        self._addresses: dict[bytes, Address] = {}

    def read(self, offset: int) -> Datagram:
        """Give the datagram whose block begins at `offset`; MalformedPacket if none does."""
        block = self._block(offset)
        _kind, _length, _interface, now, size, _original = _HEAD.unpack_from(block)
        after = blocks.PACKET_HEADER + size
        if after + 4 > len(block):
            raise MalformedPacket("a packet is longer than its block")
        packet = ip.parse_packet(block[blocks.PACKET_HEADER : after])
        position = blocks.parse_sender_option(bytes(block[after + (-size % 4) : -4]))
        ports, before, length = _inside(packet)
        return Datagram(
            time_ns=now,
            protocol=packet.protocol,
            source=self._address(packet.source),
            source_port=ports[0],
            destination=self._address(packet.destination),
            destination_port=ports[1],
            sender=self._names.get(packet.source) if position is None else self._by_position.get(position),
            receiver=self._names.get(packet.destination),
            offset=offset + blocks.PACKET_HEADER + packet.header_length + before,
            length=length,
            packet_offset=offset + blocks.PACKET_HEADER,
            packet_length=size,
        )

    def _block(self, offset: int) -> memoryview:
        """Give the whole block, from the window if that has it."""
        for _ in range(2):
            place = offset - self._begin
            if 0 <= place <= len(self._window) - blocks.LEAST:
                kind, length = blocks.WORDS.unpack_from(self._window, place)
                if kind != blocks.PACKET or not blocks.PACKET_HEADER + 4 <= length <= _WINDOW:
                    raise MalformedPacket(f"a block of kind {kind:#x} and {length} bytes")
                if place + length <= len(self._window):
                    return memoryview(self._window)[place : place + length]
            self._window, self._begin = self._source.read_some(offset, _WINDOW), offset
        raise MalformedPacket("cut off by the end of the file")

    def _address(self, packed: bytes) -> Address:
        """Give an address as a value; the few that a run has are made once."""
        known = self._addresses.get(packed)
        if known is None:
            if len(self._addresses) >= _ADDRESSES_MOST:
                self._addresses.clear()
            known = self._addresses[packed] = (IPv4Address if len(packed) == 4 else IPv6Address)(packed)
        return known


def _inside(packet: ip.IpPacket) -> tuple[tuple[int, int], int, int]:
    """Give ports, where after the headers of IP the payload begins, and its length."""
    if packet.protocol != ip.UDP or packet.fragment_offset:
        return (0, 0), 0, len(packet.payload)
    datagram = udp.parse_datagram(packet.payload)
    return (datagram.source_port, datagram.destination_port), udp.HEADER_LENGTH, len(datagram.payload)
