"""A connection as its captured segments tell it: opened, established, what each side said, how it ended.

    unsettled ── settled             where the streams begin, and who is the client, is known
    opened ── established ── over    as far as it has been told to the listener

Whatever can come in another order than it was sent is waited for:

- a connection whose first captured packet is no SYN is *unsettled* for a moment: its SYN, or what was sent
  before, may only have been overtaken. Then each stream begins with the first byte that was seen.
- a FIN has a place in its stream: it is told after the last byte.
- a RST ends everything, and what crossed with it on the wire comes after it: it is told a moment later, and
  not at all if it turns out that nobody has obeyed it (`resets`).
- a gap is closed by what fills it. It is given up, and the missing bytes are counted, when the receiver has
  acknowledged them (it has them; the capture has not), and some time and packets have passed since; when too
  much waits behind it; and when the connection or the capture is over.

`following` says what each segment means to it.

The two sides are 0 and 1 here, as they came; `client` is which of them opened the connection, and listeners
are told `CLIENT` or `SERVER`.
"""

from __future__ import annotations

from enum import Enum
from typing import Protocol

from netplayground.capture.resets import Reset
from netplayground.capture.stream import Overlap, Stream
from netplayground.dump.model import CLIENT, SERVER, Ending
from netplayground.packet.checksum import Octets

_ASKED_AGAIN_NS = 3_000_000_000
"""The first SYN is sent again after a second (RFC 6298, 2.1), or three (RFC 1122, 4.2.3.1)."""
_NO_STREAMS = (Stream(), Stream())


COUNTS = ("segments", "queued", "overlapping", "differing", "missing", "strays")
"""Of a side's segments so many had to wait, and so many were not the connection's; so many of its bytes came
again, as others, or never."""
Counts = tuple[int, ...]
"""COUNTS of the client, then of the server."""


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

    def end_missed(self, connection: Connection, side: int) -> None: ...

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

    def hold(self, connection: Connection, reset: Reset | None) -> None: ...

    def note_held(self, connection: Connection, more: int) -> None: ...

    def guess_client(self, key: bytes) -> int: ...


class Connection:
    """One connection; `key` is that of side 0's packets."""

    __slots__ = (
        "_held",
        "_listener",
        "_rules",
        "again",
        "begun",
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
        self.again = -1
        """The number of a second SYN-ACK, as long as nobody knows which of them was heard."""
        self.reset: Reset | None = None
        """The RST that may end it."""
        self.packets = 0
        self.begun = self.last = rules.now
        self.slot = -1
        self.streams = (Stream(), Stream())
        self.ending: Ending | None = None
        self.told: object = None

    @property
    def held(self) -> int:
        """How much memory what waits takes."""
        return self.streams[0].held + self.streams[1].held

    def role(self, side: int) -> int:
        """Say whether a side is the client or the server."""
        return CLIENT if side == self.client else SERVER

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
            if pieces := stream.take_next() if stream.starts else []:
                stream.bytes += stream.next - at
                for piece in pieces:
                    self._listener.said(self, self.role(side), at, piece)
                    at += len(piece)
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

    def settle(self, reset: Reset | None, is_last: bool) -> None:
        """The moment is over in which packets may have overtaken one another: the first, or this RST.

        `is_last`: there is no room to wait for anything longer.
        """
        if self.is_over or (reset is not None and reset is not self.reset):
            return
        self._settle_streams()
        if reset is not None:
            self._settle_reset(reset, is_last)
        elif not self.is_established or self.held:
            self._advance()

    def _settle_reset(self, reset: Reset, is_last: bool) -> None:
        rules = self._rules
        is_pending = self.is_established and not reset.is_exact(self.streams[reset.side])
        if is_pending and reset.is_doubted:
            self.dismiss_reset()
        elif is_pending and not is_last and rules.now - reset.since < rules.gap_ns:
            rules.hold(self, reset)
        else:
            self.flush()

    def note_reset(self, reset: Reset) -> None:
        """A side has sent a RST: a moment later it counts."""
        if self.reset is None or (reset.was_exact and not self.reset.was_exact):
            self.reset = reset
            self._rules.hold(self, reset)

    def dismiss_reset(self) -> None:
        """The RST was none of the connection's."""
        assert self.reset is not None
        self.streams[self.reset.side].strays += 1
        self.reset = None

    def stop_waiting(self) -> None:
        """It has been silent for long: nothing fills its gaps any more. It may go on all the same."""
        if self.is_over:
            return
        if self.reset is not None:
            self.flush()
            return
        self._settle_streams()
        self._advance()
        for side in (self.client, 1 - self.client):
            self._skip_gaps(side)
        self._account()

    def _skip_gaps(self, side: int) -> None:
        """Tell all that waits, and what is missing before it."""
        while self.streams[side].waiting >= 0 and self.is_established and not self.is_over:
            self.skip_gap(side)

    def _settle_streams(self) -> None:
        if self.is_settled:
            return
        self.is_settled = True
        if self.client < 0:
            self.client = self._rules.guess_client(self.key)
        for stream in self.streams:
            if stream.next < 0 and stream.lowest >= 0:
                stream.begin(stream.lowest)

    def flush(self, is_replaced: bool = False) -> None:
        """Nothing more will come: tell what there is, and say what is missing. A connection is replaced by
        another one of its ports."""
        if self.is_over:
            return
        self._settle_streams()
        self._advance()
        if self.reset is not None and not self.reset.counts(self.streams[self.reset.side]):
            self.dismiss_reset()
        for side in (self.client, 1 - self.client):
            self._skip_gaps(side)
            if not self.is_over and self.is_established:
                self._miss_the_end(side, self.streams[side])
        if not self.is_over:
            self._end(self._last_ending(is_replaced))

    def _miss_the_end(self, side: int, stream: Stream) -> None:
        """What was acknowledged has been said, though the capture does not have it (RFC 9293, 3.4)."""
        if stream.next < 0 or 0 <= stream.fin < stream.next:
            return
        if stream.fin >= 0:
            if stream.fin > stream.next:
                self._miss(side, stream.fin)
        elif stream.acked > stream.next:
            # The last may have been a FIN, and is taken for one where the other side has closed, too.
            is_closing = self.streams[1 - side].fin >= 0
            if stream.acked > stream.next + is_closing:
                self._miss(side, stream.acked - is_closing)
            if is_closing:
                self._listener.end_missed(self, self.role(side))
        if stream.next == stream.fin:
            self._finish(side, stream)

    def _last_ending(self, is_replaced: bool) -> Ending:
        is_waiting = self.is_opened and not self.is_established
        if self.reset is not None:
            is_client = self.role(self.reset.side) == CLIENT
            if self.is_established:
                return Ending.RESET_BY_CLIENT if is_client else Ending.RESET_BY_SERVER
            if is_waiting:
                return Ending.ABORTED if is_client else Ending.REFUSED
        if is_waiting and (is_replaced or self._has_given_up()):
            return Ending.UNANSWERED
        return Ending.OPEN

    def count_oddities(self) -> Counts:
        """Give what had to be put right, nothing if all was as it should be."""
        streams = self.streams if self.client == 0 else self.streams[::-1]
        counts = tuple(getattr(stream, name) for stream in streams for name in COUNTS)
        return counts if any(counts[1 : len(COUNTS)]) or any(counts[len(COUNTS) + 1 :]) else ()

    def _has_given_up(self) -> bool:
        """Say whether the client would have asked again by now (RFC 6298, 5.5: it waits twice as long each
        time). Until then the capture may only have ended before the answer came."""
        waited = self._rules.now - self.last
        return waited > max(_ASKED_AGAIN_NS, 2 * (self.last - self.begun))

    def drop_streams(self) -> None:
        """No segment comes any more, though others may still look at what the connection was."""
        self.streams = _NO_STREAMS

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
