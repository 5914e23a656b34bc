"""The writer of datagrams, and of whatever else is not TCP: a batch at a time, each packet as it is.

`put` copies whole packets, checksums and all, into a batch of its own, `commit` writes the batch with one
call. Until the commit nothing else may be written to the dump: the file's order is that of the run. After it,
and until the next `put`, the packets still stand in `buffer` where `put` said, and the HEADROOM octets before
each are dead: whoever hands the packets on may put a header of his own there.

This is the hot path of datagrams: nothing is allocated that outlives a call but a number a packet.
"""

from __future__ import annotations

import struct

from netplayground.dump.blocks import PACKET, PACKET_HEADER, SENDER_OPTION_LENGTH, emit_sender_option
from netplayground.dump.ledger import BATCH, Ledger
from netplayground.dump.output import Output, View
from netplayground.dump.segments import TRAILERS
from netplayground.packet import ip
from netplayground.packet.checksum import Octets

HEADROOM = PACKET_HEADER
_LONGEST = ip.IPV6_HEADER + 65_535
ROOM = BATCH - (PACKET_HEADER + _LONGEST + SENDER_OPTION_LENGTH + 8)
"""A batch that is filled no further than this has room for any packet."""

_HEADER = struct.Struct(">IIIQII")
_OVERHEAD = PACKET_HEADER + 4


class DatagramWriter:
    """Writes datagrams; `fill` is how full the batch is: beyond ROOM it must be committed first."""

    __slots__ = ("_base", "_ledger", "_out", "_starts", "buffer", "fill", "view")

    def __init__(self, out: Output, ledger: Ledger) -> None:
        self._out = out
        self._ledger = ledger
        self._starts: list[int] = []
        self._base = 0
        self.buffer = bytearray(BATCH)
        self.view = memoryview(self.buffer)
        self.fill = 0

    def put(self, packet: Octets) -> int:
        """Put one packet into the batch, with the time of now; give where in `buffer` it begins."""
        out, at, size = self._out, self.fill, len(packet)
        if not at:
            self._base = out.end
        begin = at + PACKET_HEADER
        end = begin + size
        length = (size + 3 & ~3) + _OVERHEAD
        _HEADER.pack_into(self.buffer, at, PACKET, length, 0, out.epoch + out.monotonic(), size, size)
        self.view[begin:end] = packet
        TRAILERS[size & 3].pack_into(self.buffer, end, length)
        self._starts.append(at)
        self.fill = at + length
        return begin

    def put_named(self, packet: Octets, position: int) -> int:
        """Put one packet of which its source address does not tell who has sent it: the process of that
        position, or, with 0, none."""
        begin = self.put(packet)
        at, options = begin - PACKET_HEADER, emit_sender_option(position)
        length = self.fill - at + len(options)
        tail = options + length.to_bytes(4, "big")
        self.view[self.fill - 4 : at + length] = tail
        self.buffer[at + 4 : at + 8] = tail[-4:]
        self.fill = at + length
        return begin

    def commit(self) -> None:
        """Write the batch, and before it what else was still to be written; what fails fails again."""
        if not self.fill:
            return
        out = self._out
        assert out.end == self._base, "something was written in the middle of a batch"
        self._ledger.log_datagrams(self._base, self._starts)
        batch = self.view[: self.fill]
        pieces: list[View] = [out.view[: out.fill], batch] if out.fill else [batch]
        out.gather(pieces)
        self._starts.clear()
        self.fill = 0
