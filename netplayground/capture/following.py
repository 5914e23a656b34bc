"""What a captured segment means to its connection: which bytes are new, where a stream begins, what ends it.

A segment's numbers are placed on the stream's uncut line first (`Stream.place`); one that cannot be of this
connection is a *stray* and changes nothing. What is left is noted in the streams; `Connection` tells of it as
far as it is in order.

The common case, a segment that is the next of an established connection, is handed on without being kept. A
batch's worth of such segments is taken at once by `accept`, if `is_plain` says that none of them needs a
thought.
"""

from __future__ import annotations

from netplayground.capture.connection import Connection
from netplayground.capture.resets import Reset, find_reset
from netplayground.capture.stream import AHEAD_MOST, SEQUENCES, count_differing
from netplayground.dump.model import Ending
from netplayground.packet.checksum import Octets
from netplayground.packet.tcp import ACK, FIN, RST, SYN

_MASK = SEQUENCES - 1
_FIRST_MOST = 1 << 16
"""A SYN may bring so much data with it (RFC 7413), which its answer may acknowledge."""
_LEAD_MOST = 1 << 22
"""So far behind what waits already a segment of the same stream begins, where the capture is that poor."""


class Followed(Connection):
    """A connection that is followed segment by segment."""

    __slots__ = ()

    @property
    def is_plain(self) -> bool:
        """Say whether the next segments, if they are in order, need no thought."""
        if not (self.is_established and self.is_settled) or self.is_over:
            return False
        if self.reset is not None or self.again >= 0:
            return False
        return all(
            stream.next >= 0 and stream.fin < 0 and not stream.starts and not stream.holes
            for stream in self.streams
        )

    def segment(self, side: int, sequence: int, ack: int, flags: int, data: Octets, missing: int) -> None:
        """Take a segment of one side; its last `missing` octets were not captured."""
        stream = self.streams[side]
        stream.segments += 1
        self.packets += 1
        self.last = self._rules.now
        if self.is_over:
            stream.strays += bool(data)
            return
        if not self.is_established and not self._may_answer(side, ack, flags):
            stream.strays += 1
            return
        if flags & SYN:
            self._syn(side, sequence, ack, flags)
            sequence += 1
        length = len(data)
        begin = stream.place(sequence & 0xFFFFFFFF)
        end = begin + length + missing
        if not stream.accepts(begin, end) and not self._catch_up(side, begin, end):
            if not self._leap(side, sequence, ack, flags, length + missing):
                stream.strays += 1
                return
            begin = stream.next
        elif length:
            stream.far = 0
        if stream.next < 0:
            self._begin(side, begin)
        if flags & ACK:
            if self.again >= 0 and side == self.client:
                self._choose_answer(ack)
            self.streams[1 - side].acknowledge(ack)
        if flags & RST:
            # What a RST carries is no data but says why (RFC 9293, 3.5.3).
            self._take_reset(side, begin, ack, flags)
            return
        if self.reset is not None:
            self._weigh_reset(self.reset, side, begin + length + missing, ack, flags)
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
        if said:
            one.far = 0
        if other_said:
            other.far = 0
        if ack >= 0:
            other.acknowledge(ack, rows)
        if other_ack >= 0:
            one.acknowledge(other_ack, other_rows)
        self.packets += rows + other_rows
        self.last = self._rules.now
        return before

    def _is_proof(self, side: int, flags: int) -> bool:
        """Say whether a segment without SYN shows that both sides know of the connection."""
        return side != self.client or bool(flags & ACK)

    def _may_answer(self, side: int, ack: int, flags: int) -> bool:
        """Say whether a segment can be of the connection that a SYN has asked for (RFC 9293, 3.10.7.3).

        What acknowledges anything else is of an older one of the same ports: a SYN-ACK that comes late, or an
        end that knows of no end ("half-open", 3.5.1). The SYN's sender answers it with a RST, and asks again.
        """
        if self.client < 0 or side == self.client or self.initial[self.client] < 0 or flags & RST:
            return True
        if not flags & ACK:
            return bool(flags & SYN)
        most = _FIRST_MOST if flags & SYN else AHEAD_MOST
        return (ack - self.initial[self.client] - 1) & _MASK <= most

    def _choose_answer(self, ack: int) -> None:
        """The client says which of two SYN-ACKs it has heard."""
        stream = self.streams[1 - self.client]
        if ack == self.again + 1 & _MASK and not (stream.bytes or stream.starts):
            self.initial[1 - self.client] = self.again
            stream.begin(stream.place(ack))
        self.again = -1

    def _catch_up(self, side: int, begin: int, end: int) -> bool:
        """Give gaps up where a stream has gone on for so long that what waits reaches to a segment."""
        stream = self.streams[side]
        if not self.is_established or stream.next < 0 or stream.fin >= 0:
            return False
        if not stream.next < begin <= stream.reach + _LEAD_MOST:
            return False
        while stream.waiting >= 0 and not stream.accepts(begin, end):
            self.skip_gap(side)
        return stream.accepts(begin, end)

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
        elif self.initial[side] != sequence and flags & ACK and stream.acked < stream.first:
            self.again = sequence
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
        # What fills a gap is delivered at once, and what waited behind it.
        stream.queued += begin != stream.next or not self.is_established
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
        reset = find_reset(side, begin, stream, self.streams[1 - side], self._rules.now)
        # A client may answer what was of an older connection (RFC 9293, 3.10.7.3).
        is_asking = self.is_opened and not self.is_established and side == self.client
        if reset is None or (is_asking and begin > stream.next + _FIRST_MOST):
            stream.strays += 1
        else:
            self.note_reset(reset)

    def _weigh_reset(self, reset: Reset, side: int, end: int, ack: int, flags: int) -> None:
        """Take what a segment says of a RST that came before it."""
        if side == reset.side:
            reset.doubt(self.streams[1 - side], end, ack, flags)
        elif reset.is_ignored(self.streams[reset.side], ack, flags):
            self.dismiss_reset()
