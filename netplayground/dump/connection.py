"""The writer of one connection's events: the hot path of recording.

A connection is told as the TCP segments that tell it. `_next` holds each side's next sequence number, uncut
(it counts on past 2**32); `_acked` what of it the other side has acknowledged. Every segment acknowledges all
that the other side has said; a one-way stream gets an acknowledgement of its own before 16 MiB are
outstanding.

    syn ─ established ─ chunk … ─ fin(one side) ─ chunk … ─ fin(other side)     closed
     │         └────────── rst(side)                                            reset by that side
     └ refused | unreachable | unanswered | aborted

After its ending a connection is over: a further `fin` or `rst` says nothing new and is not written.

`chunk` packs header, payload and trailer of a small chunk into the output's buffer and makes one write; a
larger one leaves its payload where it is and makes one writev. Where the octets of a chunk lie in the file is
arithmetic, which `extents` does for those who send them on from there.
"""

from __future__ import annotations

from dataclasses import dataclass

from netplayground.dump import segments
from netplayground.dump.blocks import PACKET, PACKET_HEADER, emit_fact, emit_packet
from netplayground.dump.index import ENDING_CODE, FACT_BIT, RECORD
from netplayground.dump.ledger import Ledger
from netplayground.dump.model import CLIENT, SERVER, Ending
from netplayground.dump.output import CAPACITY, Output, View
from netplayground.dump.segments import SEGMENT_MOST, SYN_OPTIONS, TRAILERS, Tuple
from netplayground.packet import icmp

_COPY_MOST = 1 << 14
"""Up to here copying the payload costs less than a longer list of buffers for the kernel to walk."""
CHUNK_MOST = 120 * SEGMENT_MOST
"""What one writev takes: its two or three buffers a segment stay below IOV_MAX (1,024)."""
_UNACKED_MOST = 16 << 20
_SEQUENCE_MASK = 0xFFFFFFFF
_BARE_ROOM = CAPACITY - 1024
_CHUNK_ROOM = CAPACITY - _COPY_MOST - 1024
_GATHER_ROOM = CAPACITY - 122 * 128

_pack_v4 = segments.V4.pack_into
_pack_v6 = segments.V6.pack_into


@dataclass(frozen=True, slots=True)
class State:
    """A connection that was written block by block by somebody else (see `bulk`); pairs are (client's,
    server's). `bases` are the sequence numbers of their first bytes, `owed` what is not acknowledged."""

    identity: int
    bases: tuple[int, int]
    said: tuple[int, int]
    chunks: tuple[int, int]
    fins: int
    opened_ns: int
    established_ns: int
    first: int
    owed: tuple[int, int]


class ConnectionWriter:
    """Writes one connection; `id` is -1 until its SYN: ids are given in the order of SYNs."""

    __slots__ = (
        "_acked",
        "_base",
        "_chunks",
        "_ends",
        "_established_ns",
        "_fins",
        "_first",
        "_is_v4",
        "_ledger",
        "_middle",
        "_next",
        "_opened_ns",
        "_out",
        "_overhead",
        "_sum",
        "_tuple",
        "ending",
        "id",
    )

    def __init__(self, out: Output, ledger: Ledger, ends: Tuple) -> None:
        self._out = out
        self._ledger = ledger
        self._tuple = ends
        self._is_v4 = ends.is_v4
        self._ends = ends.ends()
        self._overhead = PACKET_HEADER + 4 + (segments.V4_HEADERS if self._is_v4 else segments.V6_HEADERS)
        self._established_ns = 0
        self._fins = 0
        self._chunks = [0, 0]
        self._first = -1
        self.id = -1
        self.ending: Ending | None = None

    def resume(self, state: State) -> None:
        """Go on with a connection that somebody else has written so far."""
        self.claim((state.identity, state.bases[CLIENT] - 1, state.bases[SERVER] - 1))
        for side in (CLIENT, SERVER):
            fin = state.fins >> side & 1
            self._base[side] += fin
            self._next[side] += fin + state.said[side]
            self._acked[side] = self._next[side] - state.owed[side]
        self._chunks = list(state.chunks)
        self._fins = state.fins
        self._opened_ns, self._established_ns = state.opened_ns, state.established_ns
        self._first = state.first

    # -- how it begins -----------------------------------------------------------------------------

    def claim(self, numbers: tuple[int, int, int] | None = None) -> None:
        """Take the next id and sequence numbers, or those that were reserved for it; `syn` does it where
        nobody has done it before."""
        if numbers is None:
            self.id, client, server = self._ledger.open(self)
        else:
            self.id, client, server = numbers
            self._ledger.open_connections[self.id] = self
        # `_sum` is the IPv4 header's sum, or IPv6's first word: the one number of the header's constant part.
        if self._is_v4:
            self._middle, self._sum = segments.v4_constants(self.id, self._tuple)
        else:
            self._middle, self._sum = segments.v6_constants(self.id)
        self._base = [client + 1, server + 1]
        self._next = [client + 1, server + 1]
        self._acked = [client + 1, server + 1]

    def syn(self) -> None:
        """The client asks for the connection."""
        if self.id < 0:
            self.claim()
        assert self._first < 0, "a connection has one SYN"
        self._opened_ns = now = self._out.now()
        sequence = self._next[CLIENT] - 1
        self._first = self._bare(CLIENT, sequence, 0, segments.SYN, now, SYN_OPTIONS)

    def established(self) -> None:
        """The server has accepted."""
        now = self._established_ns = self._out.now()
        client, server = self._next
        self._bare(SERVER, server - 1, client, segments.SYN_ACK, now, SYN_OPTIONS)
        self._bare(CLIENT, client, server, segments.ACK, now, logged=False)

    def refused(self) -> None:
        """The server's host has no listener there."""
        now = self._out.now()
        self._finish(Ending.REFUSED, now, self._bare(SERVER, 0, self._next[CLIENT], segments.RST, now))

    def unreachable(self) -> None:
        """No host has the server's address."""
        now, out = self._out.now(), self._out
        syn = bytearray(self._overhead + len(SYN_OPTIONS))
        sequence = self._next[CLIENT] - 1
        end = self._pack(syn, 0, CLIENT, sequence, 0, segments.SYN, len(SYN_OPTIONS), now)
        syn[end : end + len(SYN_OPTIONS)] = SYN_OPTIONS
        answer = emit_packet(icmp.emit_unreachable(memoryview(syn)[PACKET_HEADER:-4]), now)
        at = out.place(len(answer))
        self._ledger.log(self.id, at)
        out.append(answer)
        self._finish(Ending.UNREACHABLE, now, at)

    def unanswered(self) -> None:
        """Nobody answered for as long as the client's kernel waited."""
        now = self._out.now()
        self._finish(Ending.UNANSWERED, now, self._fact("unanswered", now, {}))

    def aborted(self) -> None:
        """The client gave up while it was connecting."""
        now = self._out.now()
        at = self._bare(CLIENT, self._next[CLIENT], 0, segments.RST_ALONE, now)
        self._finish(Ending.ABORTED, now, at)

    # -- what is said ------------------------------------------------------------------------------

    def chunk(self, side: int, view: memoryview) -> int:
        """`side` has said these bytes; they are in the file when this returns, from the offset that it gives
        on."""
        assert self.ending is None, "nothing is said after the end"
        length = len(view)
        assert 0 < length <= CHUNK_MOST, "a chunk is something, and one writev"
        out = self._out
        if length > _COPY_MOST:
            return self._gather(side, view, out.now())
        if out.fill > _CHUNK_ROOM:
            out.commit(out.fill)
        now = out.epoch + out.monotonic()
        sequence = self._next[side]
        if sequence + length - self._acked[side] > _UNACKED_MOST:
            self._acknowledge(side, now)
        at = out.fill
        end = self._data_header(out.buffer, at, out.offset + at, side, length, now)
        after = end + length
        out.view[end:after] = view
        trailer = TRAILERS[length & 3]
        trailer.pack_into(out.buffer, after, (length + 3 & ~3) + self._overhead)
        position = out.offset + end
        out.commit(after + trailer.size)
        return position

    def constants(self) -> tuple[int, int, int]:
        """Give the one number of the headers' constant part, and where the sides' bytes begin, for who packs
        this connection's chunks himself (see `bulk`)."""
        return self._sum, self._base[CLIENT], self._base[SERVER]

    def passed(self, side: int, length: int, chunks: int) -> None:
        """Somebody will write so much of what `side` says himself, less than what may be unacknowledged."""
        if self._next[side] + length - self._acked[side] > _UNACKED_MOST:
            self._acknowledge(side, self._out.now())
        self._next[side] += length
        self._chunks[side] += chunks

    def extents(self, offset: int, skip: int, length: int) -> list[tuple[int, int]]:
        """Say where in the file, as (offset, length), a chunk that begins at `offset` lies, but for its first
        `skip` bytes."""
        stride = SEGMENT_MOST + TRAILERS[SEGMENT_MOST & 3].size + self._overhead - 4
        found = []
        for segment in range(skip // SEGMENT_MOST, -(-length // SEGMENT_MOST)):
            begin = max(skip, segment * SEGMENT_MOST)
            end = min(length, (segment + 1) * SEGMENT_MOST)
            found.append((offset + segment * stride + begin - segment * SEGMENT_MOST, end - begin))
        return found

    def fin(self, side: int) -> None:
        """`side` will say no more."""
        if self.ending is not None or self._fins & 1 << side:
            return
        now = self._out.now()
        at = self._bare(side, self._next[side], self._next[1 - side], segments.FIN, now)
        self._next[side] += 1
        self._base[side] += 1
        self._fins |= 1 << side
        if self._fins == 3:
            self._finish(Ending.CLOSED, now, at)

    def rst(self, side: int) -> None:
        """`side` has thrown the connection away."""
        if self.ending is not None:
            return
        now = self._out.now()
        at = self._bare(side, self._next[side], self._next[1 - side], segments.RST, now)
        self._finish(Ending.RESET_BY_SERVER if side else Ending.RESET_BY_CLIENT, now, at)

    def leave(self) -> None:
        """Nothing more will be known of the connection: it stays open."""
        if self.ending is None:
            self._finish(Ending.OPEN, 0, self._out.end)

    def note(self, kind: str, **fields: object) -> None:
        """Tell what no packet can tell about this connection."""
        self._fact(kind, self._out.now(), fields)

    # -- for the ledger ----------------------------------------------------------------------------

    def byte_counts(self) -> tuple[int, int]:
        """Give how much each side has said."""
        return self._next[CLIENT] - self._base[CLIENT], self._next[SERVER] - self._base[SERVER]

    def record(self, closed_ns: int, last: int) -> bytes:
        """Give the connection's record for the index."""
        ends = self._tuple
        code = ENDING_CODE[self.ending or Ending.OPEN]
        who = (
            self.id,
            4 if self._is_v4 else 6,
            code,
            ends.client_port,
            ends.server_port,
            ends.client,
            ends.server,
        )
        times = (self._opened_ns, self._established_ns, closed_ns)
        return RECORD.pack(*who, *times, *self.byte_counts(), *self._chunks, self._first, last)

    # -- packets -----------------------------------------------------------------------------------

    def _pack(
        self, buffer: bytearray, at: int, side: int, sequence: int, ack: int, tail: int, length: int, now: int
    ) -> int:
        """Pack the headers of a segment with `length` octets after them; give where those octets go."""
        if self._is_v4:
            size = length + 40
            total = self._sum + size
            check = 65535 - (total & 65535) - (total >> 16)
            _pack_v4(
                buffer, at, PACKET, (length + 3 & ~3) + self._overhead, 0, now, size, size,
                0x4500, size, self._middle, check, self._ends[side],
                sequence & _SEQUENCE_MASK, ack & _SEQUENCE_MASK, tail,
            )  # fmt: skip
            return at + 68
        size = length + 60
        _pack_v6(
            buffer, at, PACKET, (length + 3 & ~3) + self._overhead, 0, now, size, size,
            self._sum, length + 20, self._middle, self._ends[side],
            sequence & _SEQUENCE_MASK, ack & _SEQUENCE_MASK, tail,
        )  # fmt: skip
        return at + 88

    def _data_header(
        self, buffer: bytearray, at: int, position: int, side: int, length: int, now: int
    ) -> int:
        """Pack a data segment's headers and count it; its block will begin at `position` in the file."""
        sequences = self._next
        sequence = sequences[side]
        ack = self._acked[1 - side] = sequences[1 - side]
        sequences[side] = sequence + length
        self._chunks[side] += 1
        log = self._ledger.events
        log.ids.append(self.id)
        log.offsets.append(position - log.base)
        return self._pack(buffer, at, side, sequence, ack, segments.DATA, length, now)

    def _bare(
        self,
        side: int,
        sequence: int,
        ack: int,
        tail: int,
        now: int,
        options: bytes = b"",
        logged: bool = True,
    ) -> int:
        """Put a segment without payload into the buffer; give where its block will begin in the file."""
        out = self._out
        if out.fill > _BARE_ROOM:
            out.commit(out.fill)
        at, position, length = out.fill, out.offset + out.fill, len(options)
        if logged:
            self._ledger.log(self.id, position)
        # The data offset says that these octets are options: to the header's other fields they are as
        # payload.
        end = self._pack(out.buffer, at, side, sequence, ack, tail, length, now)
        out.buffer[end : end + length] = options
        TRAILERS[0].pack_into(out.buffer, end + length, length + self._overhead)
        out.fill = end + length + 4
        return position

    def _acknowledge(self, side: int, now: int) -> None:
        """Let the other side acknowledge what `side` has said."""
        mine, other = self._next[side], self._next[1 - side]
        self._bare(1 - side, other, mine, segments.ACK, now, logged=False)
        self._acked[side] = mine

    def _gather(self, side: int, view: memoryview, now: int) -> int:
        """Write segments whose payload stays where it is, what waits in the buffer before them; give the
        offset of the first payload."""
        out, length = self._out, len(view)
        if out.fill > _GATHER_ROOM:
            out.commit(out.fill)
        if self._next[side] + length - self._acked[side] > _UNACKED_MOST:
            self._acknowledge(side, now)
        begin = out.end + self._overhead - 4
        pieces: list[View] = []
        start, at = 0, out.fill
        # `first` is also how many octets of payload go before what is packed at `at`.
        for first in range(0, length, SEGMENT_MOST):
            payload = view[first : first + SEGMENT_MOST]
            size = len(payload)
            end = self._data_header(out.buffer, at, out.offset + first + at, side, size, now)
            pieces += (out.view[start:end], payload)
            trailer = TRAILERS[size & 3]
            trailer.pack_into(out.buffer, end, (size + 3 & ~3) + self._overhead)
            start, at = end, end + trailer.size
        pieces.append(out.view[start:at])
        out.gather(pieces)
        return begin

    def _fact(self, kind: str, now: int, fields: dict[str, object]) -> int:
        block = emit_fact(kind, now, {"connection": self.id, **fields})
        at = self._out.place(len(block))
        self._ledger.log(self.id | FACT_BIT, at)
        self._out.append(block)
        return at

    def _finish(self, ending: Ending, now: int, last: int) -> None:
        self.ending = ending
        self._ledger.finish(self.id, ending, self.record(now, last), self.byte_counts())
