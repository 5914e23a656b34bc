"""One direction of a connection: segments in, in whatever order, bytes in their order out.

Sequence numbers are counted on past 2**32 here (`place` does it), so that they compare as integers. Between
`next`, up to which everything has been delivered, and the pieces that wait there is a gap. Pieces never
overlap: where a segment brings bytes that wait already, the policy says which are kept, and how many differed
is counted. Bytes that were delivered are delivered: what comes again for them is compared, never taken
(RFC 9293, 3.10.7.4: a segment is trimmed to what is new).
"""

from __future__ import annotations

from bisect import bisect_right, insort
from enum import Enum

SEQUENCES = 1 << 32
_HALF = SEQUENCES >> 1
AHEAD_MOST = 1 << 26
"""A segment further ahead than this of all that is known belongs to another connection of the same ports.
Linux has windows of up to 32 MiB where nobody has asked for more."""
PIECE_COST = 128
"""What a waiting piece takes beside its bytes."""
_JOIN_MOST = 1 << 16
"""Pieces that a segment overlaps become one, up to this length: the next that overlaps them need not look at
each."""
_NO_HOLES: list[tuple[int, int]] = []
"""Most streams never have any, and there may be very many streams."""
_FAR_LEAST = 3
"""So many signs that a stream goes on far from where it is known to be."""


class Overlap(Enum):
    """Which bytes count where two segments that both wait disagree."""

    FIRST_WINS = "first"
    LAST_WINS = "last"


class Stream:
    """One direction; the counts are of the sender's segments and bytes."""

    __slots__ = (
        "acked",
        "bytes",
        "differing",
        "far",
        "far_acked",
        "fin",
        "first",
        "gap_packets",
        "gap_since",
        "held",
        "holes",
        "lowest",
        "missing",
        "next",
        "overlapping",
        "pieces",
        "queued",
        "segments",
        "starts",
        "strays",
    )

    def __init__(self) -> None:
        self.next = -1
        """The first byte that has not been delivered, -1 while nobody knows where the stream begins."""
        self.first = -1
        """Where it began; what comes before that is of another connection."""
        self.lowest = -1
        self.fin = -1
        self.acked = -1
        self.far_acked = -1
        """What the receiver acknowledges far from all that is known, as it stands on the wire."""
        self.far = 0
        self.starts: list[int] = []
        self.pieces: list[bytes] = []
        self.holes = _NO_HOLES
        """Octets that crossed the wire and were not captured (a snap length): never to be waited for."""
        self.held = 0
        self.gap_since = -1
        self.gap_packets = 0
        self.segments = self.bytes = self.queued = self.overlapping = self.differing = 0
        self.missing = self.strays = 0

    def place(self, sequence: int) -> int:
        """Give a sequence number of the wire its place on the uncut line, next to what is known."""
        near = self.next if self.next >= 0 else self.lowest
        if near < 0:
            return sequence + SEQUENCES
        return near + ((sequence - near + _HALF) & 0xFFFFFFFF) - _HALF

    def begin(self, at: int) -> None:
        """Now it is known where the stream begins; what waits before that was of another connection."""
        self.next = self.first = at
        if self.fin < at:
            self.fin = -1
        while self.starts and self.starts[0] < at:
            begin, piece = self.starts.pop(0), self.pieces.pop(0)
            self.held -= len(piece) + PIECE_COST
            if begin + len(piece) > at:
                self.starts.insert(0, at)
                self.pieces.insert(0, piece[at - begin :])
                self.held += begin + len(piece) - at + PIECE_COST

    def accepts(self, begin: int, end: int) -> bool:
        """Say whether a segment can be of this stream (RFC 9293, 3.4)."""
        if self.next < 0:
            return self.lowest < 0 or abs(begin - self.lowest) <= AHEAD_MOST
        if begin + 1 < max(self.first, self.next - AHEAD_MOST):
            return False
        return end <= max(self.next, self.acked) + AHEAD_MOST

    def leaps(self, sequence: int) -> bool:
        """Say whether a segment that is not accepted is the stream's all the same.

        A capture may lack more than any window has room for: whoever captured was too slow. Then both sides
        are elsewhere: one says bytes there, the other acknowledges them, and nothing comes from where the
        stream was.
        """
        if self.next < 0 or self.fin >= 0:
            return False
        self.far += 1
        distance = ((self.far_acked - sequence + _HALF) & 0xFFFFFFFF) - _HALF
        return self.far_acked >= 0 and self.far >= _FAR_LEAST and abs(distance) <= AHEAD_MOST

    def ahead(self, sequence: int) -> int:
        """Give the place of a sequence number that is ahead, however far."""
        return self.next + (sequence - self.next & 0xFFFFFFFF)

    def finish(self, at: int) -> None:
        """Nothing is said from here on (RFC 9293, 3.6): what waits beyond is of nobody."""
        if at < self.next:
            self.strays += 1
            return
        self.fin = at
        if self.holes:
            holes, self.holes = self.holes, _NO_HOLES
            self.held -= PIECE_COST * len(holes)
            for begin, end in holes:
                self.hole(begin, end)
        while self.starts and self.starts[-1] + len(self.pieces[-1]) > at:
            begin, piece = self.starts.pop(), self.pieces.pop()
            self.held -= len(piece) + PIECE_COST
            self.strays += 1
            if begin < at:
                self.insert(begin, piece[: at - begin], Overlap.FIRST_WINS)

    def acknowledge(self, number: int, times: int = 1) -> None:
        """The receiver has acknowledged up to `number`, as it stands on the wire, in so many segments."""
        if self.next < 0:
            return
        at = self.place(number)
        if not self.next - AHEAD_MOST <= at <= max(self.next, self.acked) + AHEAD_MOST:
            self.acknowledge_far(number, times)
        elif at > self.acked:
            self.acked = at

    def acknowledge_far(self, number: int, times: int = 1) -> None:
        """The receiver may have acknowledged this, if it is far from all that is known."""
        at = self.place(number)
        if (
            self.next >= 0
            and not -AHEAD_MOST <= at - self.next <= max(0, self.acked - self.next) + AHEAD_MOST
        ):
            self.far_acked = number
            self.far += times

    def insert(self, begin: int, data: bytes, policy: Overlap) -> int:
        """Let a segment's bytes wait; give how many of those that waited there already were others."""
        end = begin + len(data)
        starts, pieces = self.starts, self.pieces
        low = bisect_right(starts, begin)
        if low and starts[low - 1] + len(pieces[low - 1]) > begin:
            low -= 1
        high = low
        while high < len(starts) and starts[high] < end:
            high += 1
        if low == high:
            starts.insert(low, begin)
            pieces.insert(low, data)
            self.held += len(data) + PIECE_COST
            return 0
        there = list(zip(starts[low:high], pieces[low:high], strict=True))
        differing = self._compare(there, begin, data)
        join = _keep_first if policy is Overlap.FIRST_WINS else _keep_last
        merged = _joined(join(there, begin, data))
        starts[low:high] = [at for at, _ in merged]
        pieces[low:high] = [piece for _, piece in merged]
        self.held += _cost(merged) - _cost(there)
        return differing

    def _compare(self, there: list[tuple[int, bytes]], begin: int, data: bytes) -> int:
        differing = 0
        for at, piece in there:
            low, high = max(at, begin), min(at + len(piece), begin + len(data))
            self.overlapping += high - low
            differing += count_differing(piece[low - at : high - at], data[low - begin : high - begin])
        self.differing += differing
        return differing

    def take(self, length: int, segments: int) -> None:
        """So much has been said in order, in so many segments, and told already."""
        self.next += length
        self.bytes += length
        self.segments += segments

    def take_next(self) -> list[bytes]:
        """Take the pieces that are next in order, as far as there is no gap."""
        starts, count, at = self.starts, 0, self.next
        while count < len(starts) and starts[count] == at:
            at += len(self.pieces[count])
            count += 1
        if not count:
            return []
        pieces = self.pieces[:count]
        del starts[:count], self.pieces[:count]
        self.held -= at - self.next + PIECE_COST * count
        self.next = at
        self.gap_since = -1
        return pieces

    def hole(self, begin: int, end: int) -> None:
        """Note that these octets will never be seen."""
        end = end if self.fin < 0 else min(end, self.fin)
        if begin >= end:
            return
        if not self.holes:
            self.holes = []
        insort(self.holes, (begin, end))
        self.held += PIECE_COST

    def take_hole(self) -> int:
        """If what is next was not captured, step over it; give how much that was."""
        while self.holes and self.holes[0][1] <= self.next:
            del self.holes[0]
            self.held -= PIECE_COST
        if not self.holes or self.holes[0][0] > self.next:
            return 0
        end = self.holes[0][1]
        if self.starts:
            end = min(end, self.starts[0])
        length = end - self.next
        self.next = end
        self.missing += length
        return length

    @property
    def waiting(self) -> int:
        """Say where the first of what waits, or of what was not captured, begins; -1 if there is none."""
        begin = self.starts[0] if self.starts else -1
        if self.holes and (begin < 0 or self.holes[0][0] < begin):
            begin = self.holes[0][0]
        return begin

    @property
    def reach(self) -> int:
        """Say where the last of what waits, or of what was not captured, ends; -1 if there is none."""
        end = self.starts[-1] + len(self.pieces[-1]) if self.starts else -1
        return max(end, self.holes[-1][1]) if self.holes else end

    def skip(self, to: int) -> int:
        """Give up what is missing before `to`; give how much that was."""
        length = to - self.next
        self.next = to
        self.missing += length
        self.gap_since = -1
        return length

    def clear(self) -> None:
        """Forget what waits."""
        self.starts.clear()
        self.pieces.clear()
        self.holes = _NO_HOLES
        self.held = 0


def count_differing(one: bytes, other: bytes) -> int:
    """Count the places at which two pieces of one length differ."""
    if one == other:
        return 0
    length = len(one)
    return length - (int.from_bytes(one, "big") ^ int.from_bytes(other, "big")).to_bytes(length, "big").count(
        0
    )


def _cost(pieces: list[tuple[int, bytes]]) -> int:
    return sum(len(piece) + PIECE_COST for _, piece in pieces)


def _joined(pieces: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    """Make fewer of pieces that follow upon one another."""
    found: list[tuple[int, bytes]] = []
    begin, some, length = pieces[0][0], list[bytes](), 0
    for at, piece in pieces:
        if some and length + len(piece) > _JOIN_MOST:
            found.append((begin, b"".join(some)))
            begin, some, length = at, [], 0
        some.append(piece)
        length += len(piece)
    found.append((begin, b"".join(some)))
    return found


def _keep_first(there: list[tuple[int, bytes]], begin: int, data: bytes) -> list[tuple[int, bytes]]:
    """Fill the new bytes into what is missing between those that are there."""
    merged: list[tuple[int, bytes]] = []
    at, end = begin, begin + len(data)
    for start, piece in there:
        if at < start:
            merged.append((at, data[at - begin : start - begin]))
        merged.append((start, piece))
        at = max(at, start + len(piece))
    if at < end:
        merged.append((at, data[at - begin :]))
    return merged


def _keep_last(there: list[tuple[int, bytes]], begin: int, data: bytes) -> list[tuple[int, bytes]]:
    """Keep of what is there only what the new bytes do not cover."""
    merged: list[tuple[int, bytes]] = []
    end = begin + len(data)
    start, piece = there[0]
    if start < begin:
        merged.append((start, piece[: begin - start]))
    merged.append((begin, data))
    start, piece = there[-1]
    if start + len(piece) > end:
        merged.append((end, piece[end - start :]))
    return merged
