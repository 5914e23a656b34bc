"""Whether a captured RST has ended its connection.

Its receiver obeys a RST that has the very next number which it expects, and ignores others (RFC 5961, 3.2). A
capture shows what the sender said, and only sometimes what the receiver had:

    exact        nothing is missing before it: it ends the connection, though its sender may say more (then
                 somebody else has sent it)
    pending      what lies before it may have been overtaken, lost in the capture, or lost behind it; or it is
                 a guess
    doubted      pending, and its sender goes on: it says more, or acknowledges more

A moment later what was overtaken is there. Then one that is exact counts, one that is doubted does not, and
one that is pending does so a little later. Whichever it is, it counts for nothing once its receiver has
acknowledged more than could be said before it.
"""

from __future__ import annotations

from dataclasses import dataclass

from netplayground.capture.stream import Stream
from netplayground.packet.tcp import ACK, FIN


@dataclass(slots=True, eq=False)
class Reset:
    """A RST of `side` with number `at`, before which it had said and heard so much; places on the line of
    each stream, -1 if nobody knows."""

    side: int
    at: int
    said: int
    heard: int
    since: int
    was_exact: bool
    is_doubted: bool = False

    def is_exact(self, sender: Stream) -> bool:
        """Say whether all before it has been said, and nothing behind it when it came."""
        return self.was_exact or sender.next == self.at

    def counts(self, sender: Stream) -> bool:
        """Say whether it counts if no more comes."""
        return self.is_exact(sender) or not self.is_doubted

    def is_ignored(self, sender: Stream, ack: int, flags: int) -> bool:
        """Take a segment of its receiver; say whether that has ignored it."""
        return bool(flags & ACK) and sender.place(ack) > self.at

    def doubt(self, receiver: Stream, end: int, ack: int, flags: int) -> None:
        """Take another segment of its sender, which ends at `end`."""
        says_more = end + bool(flags & FIN) > self.said
        hears_more = self.heard >= 0 and bool(flags & ACK) and receiver.place(ack) > self.heard
        self.is_doubted |= says_more or hears_more


def find_reset(side: int, begin: int, sender: Stream, receiver: Stream, now: int) -> Reset | None:
    """Give what a RST of number `begin` may be; None if it lies before all that its receiver can expect."""
    at = begin
    if begin == sender.fin < sender.next:
        # Sent with the number of the FIN before it, which its receiver obeys too.
        at = sender.next
    was_exact = at == sender.next
    if not was_exact and 0 <= begin < max(sender.acked, sender.first):
        return None
    said = max(at, sender.next, sender.reach)
    heard = max(receiver.next, receiver.acked, receiver.reach) if receiver.next >= 0 else -1
    return Reset(side, at, said, heard, now, was_exact)
