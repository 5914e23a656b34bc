"""A recording's events as the packets that would bring them about: cut to an MSS, with right checksums.

What each side says is acknowledged at once by the other, as by a host that never delays it. Sequence numbers
begin where nobody else's do, and identifications count up for each address, as tools expect of a capture.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from netplayground.dump.model import CLIENT, SERVER, Connection, Event, EventKind
from netplayground.packet import icmp, ip, tcp
from netplayground.packet.checksum import internet_checksum, pseudo_header_sum

_STEP = 0x9E3779B1
"""Odd and large: the initial sequence numbers of no two connections are near each other."""
_WINDOW = 0xFFFF
_TCP = struct.Struct(">HHIIBBHHH")
_SYN_OPTIONS = struct.Struct(">BBHBBBB")
_MOST = 65495
ACK_SYN = tcp.SYN | tcp.ACK


class Ends:
    """One connection that is being told: where each side's sequence numbers are."""

    def __init__(self, connection: Connection, mss: int) -> None:
        client, server = connection.client, connection.server
        self._addresses = client.address.packed, server.address.packed
        self._ports = client.port, server.port
        header = ip.IPV4_HEADER if client.address.version == 4 else ip.IPV6_HEADER
        self._mss = min(mss - header - tcp.HEADER_LENGTH, _MOST)
        self._next = [2 * connection.id * _STEP, (2 * connection.id + 1) * _STEP]
        self._syn = b""

    def packets(self, event: Event, data: bytes) -> Iterator[bytes]:
        """Give the packets of one event; `data` is what was said."""
        side, kind = event.side, event.kind
        if kind is EventKind.CHUNK:
            yield from self._said(side, data)
        elif kind is EventKind.SYN:
            self._syn = self._segment(CLIENT, tcp.SYN, options=self._options(), ack=0)
            self._next[CLIENT] += 1
            yield self._syn
        elif kind is EventKind.ESTABLISHED:
            yield self._segment(SERVER, ACK_SYN, options=self._options())
            self._next[SERVER] += 1
            yield self._segment(CLIENT, tcp.ACK)
        elif kind is EventKind.FIN:
            yield self._segment(side, tcp.FIN | tcp.ACK)
            self._next[side] += 1
            yield self._segment(1 - side, tcp.ACK)
        elif kind is EventKind.RST:
            yield self._segment(side, tcp.RST | tcp.ACK)
        elif kind is EventKind.REFUSED:
            yield tcp.emit_reset_to_syn(self._syn)
        elif kind is EventKind.ABORTED:
            yield self._segment(CLIENT, tcp.RST, ack=0)
        elif kind is EventKind.UNREACHABLE:
            yield icmp.emit_unreachable(self._syn)
        # Of an unanswered SYN nothing more crosses the wire.

    def _said(self, side: int, data: bytes) -> Iterator[bytes]:
        last = len(data) - 1
        for at in range(0, len(data), self._mss):
            piece = data[at : at + self._mss]
            push = tcp.PSH if at + self._mss > last else 0
            yield self._segment(side, tcp.ACK | push, piece)
            self._next[side] += len(piece)
        yield self._segment(1 - side, tcp.ACK)

    def _options(self) -> bytes:
        """Give MSS and the greatest window scale (RFC 9293, 3.7.1; RFC 7323, 2.2)."""
        return _SYN_OPTIONS.pack(2, 4, self._mss, 1, 3, 3, 14)

    def _segment(
        self, side: int, flags: int, data: bytes = b"", options: bytes = b"", ack: int | None = None
    ) -> bytes:
        source, destination = self._addresses[side], self._addresses[1 - side]
        number = self._next[1 - side] if ack is None else ack
        offset = (tcp.HEADER_LENGTH + len(options)) << 2
        fields = (self._ports[side], self._ports[1 - side], self._next[side] & 0xFFFFFFFF)
        rest = (number & 0xFFFFFFFF, offset, flags, _WINDOW)
        body = options + data
        length = tcp.HEADER_LENGTH + len(body)
        start = pseudo_header_sum(source, destination, ip.TCP, length)
        check = internet_checksum(_TCP.pack(*fields, *rest, 0, 0) + body, start)
        header = ip.emit_header(source, destination, ip.TCP, length)
        return header + _TCP.pack(*fields, *rest, check, 0) + body
