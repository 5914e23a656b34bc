"""A connection as its captured segments tell it: opened, established, what each side said, how it ended.

    unsettled ── settled             where the streams begin, and who is the client, is known
    opened ── established ── over    as far as it has been told to the listener

Whatever can come in another order than it was sent is waited for:

- a connection whose first captured packet is no SYN is *unsettled* for a moment: its SYN, or what was sent
  before, may only have been overtaken. Then each stream begins with the first byte that was seen.
- a FIN has a place in its stream: it is told after the last byte.
- a RST ends everything, and what crossed with it on the wire comes after it: it is told a moment later.
- a gap is closed by what fills it. It is given up, and the missing bytes are counted, when the receiver has
  acknowledged them (it has them; the capture has not), and some time and packets have passed since; when too
  much waits behind it; and when the connection or the capture is over.

The two sides are 0 and 1 here, as they came; `client` is which of them opened the connection, and listeners
are told `CLIENT` or `SERVER`.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from netplayground.capture.stream import SEQUENCES, Overlap, Stream, count_differing
from netplayground.dump.model import CLIENT, SERVER, Ending
from netplayground.packet.checksum import Octets
from netplayground.packet.tcp import ACK, FIN, RST, SYN

_MASK = SEQUENCES - 1


class Gaps(Enum):
    """What is done where bytes are missing that the receiver has acknowledged."""

    SKIP = "skip"
    WAIT = "wait"


class Listener(Protocol):
    """Who is told; `connection.told` is its own to use."""

    def opened(self, connection: Connection) -> None: ...

    def established(self, connection: Connection) -> None: ...

    def said(self, connection: Connection, side: int, sequence: int, data: Octets) -> None: ...

    def missed(self, connection: Connection, side: int, length: int) -> None: ...

    def differed(self, connection: Connection, side: int, sequence: int, count: int) -> None: ...

    def finished(self, connection: Connection, side: int) -> None: ...

    def ended(self, connection: Connection, ending: Ending) -> None: ...

    def recall(self, connection: Connection, side: int, sequence: int, length: int) -> bytes | None:
        """Give what was said there, None if it is not known any more."""


class Rules(Protocol):
    """What connections of one capture have in common: choices, and what time it is there."""

    overlap: Overlap
    gaps: Gaps
    gap_ns: int
    gap_packets: int
    now: int

    def hold(self, connection: Connection, is_reset: bool) -> None: ...

    def note_held(self, connection: Connection, more: int) -> None: ...

    def guess_client(self, key: bytes) -> int: ...


class Connection:
    """One connection; `key` is that of side 0's packets."""

    __slots__ = (
        "_held",
        "_listener",
        "_rules",
        "client",
        "ending",
        "has_syn",
        "initial",
        "is_cut",
        "is_established",
        "is_opened",
        "is_over",
        "is_settled",
        "key",
        "last",
        "packets",
        "reset",
        "slot",
        "streams",
        "told",
    )

    def __init__(self, key: bytes, rules: Rules, listener: Listener) -> None:
        self.key = key
        self._rules = rules
        self._listener = listener
        self._held = 0
        self.client = -1
        self.initial = [-1, -1]
        """Each side's initial sequence number, as it stands on the wire."""
        self.has_syn = False
        self.is_settled = self.is_opened = self.is_established = self.is_over = False
        self.is_cut = False
        self.reset = -1
        self.packets = 0
        self.last = rules.now
        self.slot = -1
        self.streams = (Stream(), Stream())
        self.ending: Ending | None = None
        self.told: object = None

    @property
    def held(self) -> int:
        """How much memory what waits takes."""
        return self.streams[0].held + self.streams[1].held

    @property
    def is_plain(self) -> bool:
        """Say whether the next segments, if they are in order, need no thought."""
        if not (self.is_established and self.is_settled) or self.is_over or self.reset >= 0:
            return False
        return all(
            stream.next >= 0 and stream.fin < 0 and not stream.starts and not stream.holes
            for stream in self.streams
        )

    def role(self, side: int) -> int:
        """Say whether a side is the client or the server."""
        return CLIENT if side == self.client else SERVER

    # -- segments ----------------------------------------------------------------------------------

    def segment(self, side: int, sequence: int, ack: int, flags: int, data: Octets, missing: int) -> None:
        """Take a segment of one side; its last `missing` octets were not captured."""
        stream = self.streams[side]
        stream.segments += 1
        self.packets += 1
        self.last = self._rules.now
        if self.is_over:
            stream.strays += bool(data)
            return
        if flags & SYN:
            self._syn(side, sequence, ack, flags)
            sequence += 1
        length = len(data)
        begin = stream.place(sequence & 0xFFFFFFFF)
        if not stream.accepts(begin, begin + length + missing):
            if not self._leap(side, sequence, ack, flags, length + missing):
                stream.strays += 1
                return
            begin = stream.next
        elif length:
            stream.far = 0
        if stream.next < 0:
            self._begin(side, begin)
        if flags & ACK:
            self.streams[1 - side].acknowledge(ack)
        if flags & RST:
            # What a RST carries is no data but says why (RFC 9293, 3.5.3).
            self._take_reset(side, begin, ack, flags)
            return
        if not flags & SYN and self.is_opened and not self.is_established and self._is_proof(side, flags):
            self._establish()
        if length or missing:
            self._data(side, begin, data, missing)
        if flags & FIN and stream.fin < 0:
            stream.finish(begin + length + missing)
        self._advance()

    def resume(
        self, client: int, initial: list[int], said: list[int], segments: list[int], fins: int
    ) -> None:
        """Go on with an ordinary connection that somebody else has followed so far."""
        self.client = client
        self.initial = initial
        self.has_syn = self.is_settled = self.is_opened = self.is_established = True
        self.packets = sum(segments)
        for side, stream in enumerate(self.streams):
            stream.begin(stream.place(initial[side] + 1 & _MASK))
            stream.take(said[side], segments[side])
            if fins >> side & 1:
                stream.fin = stream.next
                stream.next += 1

    def accept(
        self,
        first: int,
        other_first: int,
        said: int,
        other_said: int,
        ack: int,
        other_ack: int,
        rows: int,
        other_rows: int,
    ) -> tuple[tuple[int, int], tuple[int, int]] | None:
        """Take many segments of both sides that are in order in themselves, if they are the next here.

        For each side: its first sequence number (-1: it says nothing), its bytes, its last acknowledgement,
        its segments. Give what each side expected and had said before that, or None: take them one by one.
        """  # fmt: skip
        if not self.is_plain:
            return None
        one, other = self.streams
        next_, other_next = one.next & _MASK, other.next & _MASK
        if (first >= 0 and first != next_) or (other_first >= 0 and other_first != other_next):
            return None
        before = (next_, one.bytes), (other_next, other.bytes)
        one.take(said, rows)
        other.take(other_said, other_rows)
        if ack >= 0:
            other.acknowledge(ack)
        if other_ack >= 0:
            one.acknowledge(other_ack)
        self.packets += rows + other_rows
        self.last = self._rules.now
        return before

    def _is_proof(self, side: int, flags: int) -> bool:
        """Say whether a segment without SYN shows that both sides know of the connection."""
        return side != self.client or bool(flags & ACK)

    def _begin(self, side: int, begin: int) -> None:
        stream = self.streams[side]
        if self.is_settled:
            stream.begin(begin)
        else:
            stream.lowest = begin if stream.lowest < 0 else min(begin, stream.lowest)

    def _syn(self, side: int, sequence: int, ack: int, flags: int) -> None:
        stream = self.streams[side]
        if self.initial[side] < 0 and (stream.first < 0 or stream.place(sequence) + 1 <= stream.first):
            self.initial[side] = sequence
            if stream.next < 0:
                stream.begin(stream.place(sequence + 1 & 0xFFFFFFFF))
        if self.client < 0:
            self.client = 1 - side if flags & ACK else side
        if not flags & ACK:
            self.has_syn = True
        elif side != self.client and self.streams[self.client].next < 0:
            # The SYN has been overtaken or was not captured: this is its number.
            opener = self.streams[self.client]
            at = opener.place(ack)
            opener.begin(at if opener.lowest < 0 else min(at, opener.lowest))
            self.initial[self.client] = ack - 1 & 0xFFFFFFFF
        if not self.is_opened:
            self._open()
        if flags & ACK and not self.is_established:
            self._establish()
        if self.streams[0].next >= 0 and self.streams[1].next >= 0:
            self.is_settled = True

    def _leap(self, side: int, sequence: int, ack: int, flags: int, length: int) -> bool:
        """Go to where a stream is now, if all says that it is there; what lies between is missing."""
        stream = self.streams[side]
        if flags & (SYN | RST) or not flags & ACK or not self.is_established:
            return False
        self.streams[1 - side].acknowledge_far(ack)
        if not (length or flags & FIN) or not stream.leaps(sequence):
            return False
        at = stream.ahead(sequence)
        while stream.waiting >= 0:
            self.skip_gap(side)
        self._miss(side, at)
        stream.acked, stream.far, stream.far_acked = at, 0, -1
        return True

    def _data(self, side: int, begin: int, data: Octets, missing: int) -> None:
        stream, length = self.streams[side], len(data)
        end = begin + length
        in_order = begin == stream.next and not stream.starts and not missing and self.is_established
        if in_order and (stream.fin < 0 or end <= stream.fin):
            stream.next = end
            stream.bytes += length
            self._listener.said(self, self.role(side), begin, data)
            return
        if missing:
            stream.hole(end, end + missing)
        if 0 <= begin < stream.next and length:
            begin, data = self._old(side, begin, data)
        if stream.fin >= 0 and begin + len(data) > stream.fin:
            # Nothing can be said after a FIN (RFC 9293, 3.6).
            stream.strays += 1
            data = data[: max(0, stream.fin - begin)]
        if not data:
            return
        at = begin
        differing = stream.insert(begin, bytes(data), self._rules.overlap)
        if differing:
            self._listener.differed(self, self.role(side), at, differing)

    def _old(self, side: int, begin: int, data: Octets) -> tuple[int, Octets]:
        """Compare what was delivered already; give the rest."""
        stream = self.streams[side]
        length = min(len(data), stream.next - begin)
        # A keep-alive repeats the last byte, or any other in its place (RFC 9293, 3.8.4).
        if len(data) == 1 and begin == stream.next - 1:
            return stream.next, b""
        stream.overlapping += length
        known = self._listener.recall(self, self.role(side), begin, length) if self.is_opened else None
        if known is not None:
            differing = count_differing(known, bytes(data[:length]))
            stream.differing += differing
            if differing:
                self._listener.differed(self, self.role(side), begin, differing)
        return begin + length, data[length:]

    def _take_reset(self, side: int, begin: int, ack: int, flags: int) -> None:
        stream = self.streams[side]
        if self.is_opened and not self.is_established and side != self.client:
            # RFC 9293, 3.10.7.1: so a host without a listener answers a SYN.
            expected = self.initial[self.client] + 1 & 0xFFFFFFFF
            if flags & ACK and begin % SEQUENCES == 0 and ack == expected:
                self._end(Ending.REFUSED)
                return
        # RFC 5961, 3.2: what lies before the window is no reset, but somebody's guess.
        if 0 <= begin < stream.next:
            stream.strays += 1
            return
        if self.reset < 0:
            self.reset = side
            self._rules.hold(self, True)

    # -- in their order ----------------------------------------------------------------------------

    def _advance(self) -> None:
        """Tell all that is in order now."""
        if not self.is_established:
            if self.is_opened or not self.is_settled:
                self._account()
                return
            if not any(stream.starts for stream in self.streams):
                return
            self._open()
            self._establish()
        for side in (self.client, 1 - self.client):
            stream = self.streams[side]
            if stream.starts or stream.holes or stream.fin >= 0:
                self._deliver(side, stream)
                if self.is_over:
                    return
                self._consider_gap(side, stream)
        self._account()

    def _deliver(self, side: int, stream: Stream) -> None:
        if stream.next < 0:
            return
        while True:
            at = stream.next
            piece = stream.take_next()
            if piece is not None:
                stream.bytes += len(piece)
                self._listener.said(self, self.role(side), at, piece)
            elif length := stream.take_hole() if stream.holes else 0:
                self._listener.missed(self, self.role(side), length)
            else:
                break
        if stream.next == stream.fin:
            self._finish(side, stream)

    def _finish(self, side: int, stream: Stream) -> None:
        """A side has said its last byte."""
        stream.next += 1
        self._listener.finished(self, self.role(side))
        other = self.streams[1 - side]
        if 0 <= other.fin < other.next:
            self._end(Ending.CLOSED)

    def _consider_gap(self, side: int, stream: Stream) -> None:
        """Give a gap up when the capture will not fill it any more."""
        if not 0 <= stream.next < stream.waiting or stream.acked <= stream.next:
            return
        rules = self._rules
        if stream.gap_since < 0:
            stream.gap_since, stream.gap_packets = rules.now, self.packets
        elif (
            rules.gaps is Gaps.SKIP
            and rules.now - stream.gap_since >= rules.gap_ns
            and self.packets - stream.gap_packets >= rules.gap_packets
        ):
            self.skip_gap(side)

    def skip_gap(self, side: int) -> None:
        """Give up the first gap of a stream, and tell what waited behind it."""
        stream = self.streams[side]
        if stream.next < 0:
            stream.begin(stream.waiting)
        if stream.waiting > stream.next:
            self._miss(side, stream.waiting)
        self._deliver(side, stream)

    def make_way(self) -> None:
        """Too much waits: give up a gap of the stream of which more does."""
        self._settle_streams()
        if not self.is_established:
            if self.is_opened:
                # Nobody has accepted the connection: these bytes were never anybody's.
                for stream in self.streams:
                    stream.clear()
                return
            self._open()
            self._establish()
        self.skip_gap(0 if self.streams[0].held >= self.streams[1].held else 1)

    def _miss(self, side: int, to: int) -> None:
        length = self.streams[side].skip(to)
        self._listener.missed(self, self.role(side), length)

    def _account(self) -> None:
        """Tell the table how much waits, which may find that it is too much."""
        if more := self.take_change():
            self._rules.note_held(self, more)

    def take_change(self) -> int:
        """Give how much more waits than when this was asked last."""
        held = self.held
        more = held - self._held
        self._held = held
        return more

    # -- opened, settled, over ---------------------------------------------------------------------

    def _open(self) -> None:
        self.is_opened = True
        self._listener.opened(self)

    def _establish(self) -> None:
        self.is_established = True
        self._listener.established(self)

    def settle(self, is_reset: bool) -> None:
        """The moment is over in which packets may have overtaken one another: the first, or the RST."""
        if self.is_over:
            return
        self._settle_streams()
        if is_reset:
            self.flush()
        elif not self.is_established or self.held:
            self._advance()

    def _settle_streams(self) -> None:
        if self.is_settled:
            return
        self.is_settled = True
        if self.client < 0:
            self.client = self._rules.guess_client(self.key)
        for stream in self.streams:
            if stream.next < 0 and stream.lowest >= 0:
                stream.begin(stream.lowest)

    def flush(self) -> None:
        """Nothing more will come: tell what there is, and say what is missing."""
        if self.is_over:
            return
        self._settle_streams()
        self._advance()
        for side in (self.client, 1 - self.client):
            stream = self.streams[side]
            while stream.waiting >= 0 and self.is_established and not self.is_over:
                self.skip_gap(side)
            if not self.is_over and self.is_established:
                self._miss_the_end(side, stream)
        if not self.is_over:
            self._end(self._last_ending())

    def _miss_the_end(self, side: int, stream: Stream) -> None:
        """What was acknowledged has been said, though the capture does not have it (RFC 9293, 3.4)."""
        if stream.next < 0:
            return
        if stream.fin >= stream.next:
            if stream.fin > stream.next:
                self._miss(side, stream.fin)
        elif stream.acked > stream.next + 1:
            # The last that was acknowledged is a FIN where the connection was closed in order.
            self._miss(side, stream.acked - (self.streams[1 - side].fin >= 0))
        if stream.next == stream.fin:
            self._finish(side, stream)

    def _last_ending(self) -> Ending:
        if self.reset >= 0 and self.is_established:
            return Ending.RESET_BY_CLIENT if self.role(self.reset) == CLIENT else Ending.RESET_BY_SERVER
        if self.is_opened and not self.is_established:
            if self.reset < 0:
                return Ending.UNANSWERED
            return Ending.ABORTED if self.role(self.reset) == CLIENT else Ending.REFUSED
        return Ending.OPEN

    def unreachable(self) -> bool:
        """An ICMP error quotes a segment; it ends the connection if that was the SYN."""
        if not self.is_opened or self.is_established or self.is_over:
            return False
        self._end(Ending.UNREACHABLE)
        return True

    def give_up(self) -> None:
        """Too much waits, and the person has chosen not to go on with this connection."""
        if not self.is_over:
            self.is_cut = True
            self._end(Ending.OPEN)

    def _end(self, ending: Ending) -> None:
        self.is_over = True
        self.ending = ending
        for stream in self.streams:
            stream.clear()
        self._account()
        if self.is_opened:
            self._listener.ended(self, ending)
