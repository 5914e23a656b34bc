"""Which conversation a record belongs to, where a file names only client, server and the server's port.

A *lane* is all that was said between one client's address and one server's port. In it each side's bytes go
to the earliest conversation in which that side has not shut down; its shutdown ends its part there; where
none is left, another conversation begins. So conversations one after another are told apart, also where one
side is late to shut down the one before. Those in parallel are mixed, and there it can only be told *that*
they were:

* bytes of a side came while it had not shut down two of them, or
* one begins with a shutdown, or with the side that does not usually speak first, after others that did not.

Numbers are given in the order of beginnings. Nothing here knows the file.
"""

from __future__ import annotations

from array import array
from collections import deque
from collections.abc import Iterator

from netplayground.dump.connections import HeldRecords
from netplayground.dump.index import ENDING_CODE, RECORD
from netplayground.dump.model import Ending

Ends = tuple[bytes, bytes, int]
"""Client, server, server's port."""

PIECE = 1 << 16
"""Longer bytes are several chunks, so that no chunk takes more memory than one of a dump."""

_EPHEMERAL = range(32768, 61000)
"""Linux's; the client's port of a conversation is made up by its number."""


class Conversation:
    """One whose end has not been seen."""

    __slots__ = ("bytes", "chunks", "first", "id", "opened_ns", "shut")

    def __init__(self, identity: int, first: int, opened_ns: int) -> None:
        self.id = identity
        self.first = first
        self.opened_ns = opened_ns
        self.shut = 0
        """How many sides have shut down."""
        self.bytes = [0, 0]
        self.chunks = [0, 0]

    def record(self, ends: Ends, ending: Ending, closed_ns: int, last: int) -> bytes:
        """Give the record that a dump would have of it."""
        client, server, port = ends
        client_port = _EPHEMERAL[self.id % len(_EPHEMERAL)]
        who = (self.id, 4, ENDING_CODE[ending], client_port, port, client, server)
        times = (self.opened_ns, self.opened_ns, closed_ns)
        return RECORD.pack(*who, *times, *self.bytes, *self.chunks, self.first, last)


class Lane:
    """The conversations between two ends. `talking` are, by side, those in which that side has not shut down,
    earliest first; `mixed` the numbers of those that cannot be told apart."""

    __slots__ = ("_last", "_mixed_to", "_speaks_first", "ends", "mixed", "talking")

    def __init__(self, ends: Ends) -> None:
        self.ends = ends
        self.talking: tuple[deque[Conversation], deque[Conversation]] = deque(), deque()
        self.mixed: set[int] = set()
        self._mixed_to = [-1, -1]
        self._last = -1
        self._speaks_first: int | None = None

    def begin(self, conversation: Conversation, side: int, has_bytes: bool) -> None:
        """Take one that begins with `side`'s bytes, or with its shutdown."""
        if self._speaks_first is None:
            self._speaks_first = side if has_bytes else None
        elif not has_bytes or side != self._speaks_first:
            self.mixed.update((self._last, conversation.id))
        self._last = conversation.id
        for talking in self.talking:
            talking.append(conversation)

    def note_mixed(self, side: int) -> None:
        """Bytes of a side came that may be of any in which it talks."""
        # Numbers rise in the queue: what is not beyond the last noted was noted with it.
        for conversation in reversed(self.talking[side]):
            if conversation.id <= self._mixed_to[side]:
                break
            self.mixed.add(conversation.id)
        self._mixed_to[side] = self.talking[side][-1].id


class Sorter:
    """Gives each record of a file to its conversation, and adds everything up."""

    def __init__(self) -> None:
        self.records = HeldRecords()
        self.owners = array("I")
        """Of each record of the file, the conversation."""
        self.starts = array("Q")
        """Of each conversation, the number of its first record."""
        self.bytes = [0, 0]
        self.events = 0

    def take(self, lane: Lane, side: int, length: int, now: int, offset: int) -> None:
        """Take what a side said, or, where that is nothing, its shutdown; `offset` is where the file tells
        it."""
        talking = lane.talking[side]
        if not talking:
            lane.begin(Conversation(len(self.starts), offset, now), side, length > 0)
            self.starts.append(len(self.owners))
            self.events += 2
        conversation = talking[0]
        self.owners.append(conversation.id)
        if not length:
            self._shut(lane, side, now, offset)
            return
        if len(talking) > 1:
            lane.note_mixed(side)
        pieces = len(range(0, length, PIECE))
        conversation.bytes[side] += length
        conversation.chunks[side] += pieces
        self.bytes[side] += length
        self.events += pieces

    def _shut(self, lane: Lane, side: int, now: int, offset: int) -> None:
        conversation = lane.talking[side].popleft()
        conversation.shut += 1
        self.events += 1
        if conversation.shut == 2:
            self.records.add(conversation.id, conversation.record(lane.ends, Ending.CLOSED, now, offset))

    def finish(self, lane: Lane, end: int) -> int:
        """Keep those of a lane that the file's end has left open; gives their number."""
        still = {conversation.id: conversation for talking in lane.talking for conversation in talking}
        for conversation in still.values():
            self.records.add(conversation.id, conversation.record(lane.ends, Ending.OPEN, 0, end))
        return len(still)


def cut_pieces(length: int) -> Iterator[tuple[int, int]]:
    """Give (place, length) of each chunk of so many bytes."""
    return ((at, min(PIECE, length - at)) for at in range(0, length, PIECE))
