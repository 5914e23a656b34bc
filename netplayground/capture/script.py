"""What a batch's packets bring about, noted first and written afterwards, in the order of the packets.

A batch is taken connection by connection, piece by piece; its dump has everybody's events in the order in
which they were captured. So the reassembler tells this listener, which notes each event with the number of
the packet that brought it about; `perform` tells them all to the teller, with the times of their packets.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from operator import itemgetter
from typing import Any

from netplayground.capture.connection import Connection
from netplayground.capture.telling import Teller
from netplayground.dump.model import Ending
from netplayground.packet.checksum import Octets

Action = tuple[int, Callable[..., None], tuple[Any, ...]]
Recall = Callable[[Connection, int, int, int], bytes | None]

_first = itemgetter(0)


class Script:
    """The listener; `at` is the number of the packet that is being looked at."""

    def __init__(self, teller: Teller) -> None:
        self.teller = teller
        self.at = 0
        self.actions: list[Action] = []
        self.memory: Recall = lambda connection, side, sequence, length: None
        self._said: dict[tuple[int, int], tuple[list[int], list[bytes]]] = {}

    def opened(self, connection: Connection) -> None:
        # A SYN that comes later in the batch does not change how this began.
        has_start = connection.initial[connection.client] >= 0
        self.actions.append((self.at, self.teller.opened, (connection, has_start)))

    def established(self, connection: Connection) -> None:
        self.actions.append((self.at, self.teller.established, (connection,)))

    def said(self, connection: Connection, side: int, sequence: int, data: Octets) -> None:
        self.actions.append((self.at, self.teller.said, (connection, side, sequence, data)))
        begins, pieces = self._said.setdefault((id(connection), side), ([], []))
        begins.append(sequence)
        pieces.append(bytes(data))

    def missed(self, connection: Connection, side: int, length: int) -> None:
        self.actions.append((self.at, self.teller.missed, (connection, side, length)))

    def end_missed(self, connection: Connection, side: int) -> None:
        self.actions.append((self.at, self.teller.end_missed, (connection, side)))

    def differed(self, connection: Connection, side: int, sequence: int, count: int) -> None:
        self.actions.append((self.at, self.teller.differed, (connection, side, count, connection.is_opened)))

    def finished(self, connection: Connection, side: int) -> None:
        self.actions.append((self.at, self.teller.finished, (connection, side)))

    def ended(self, connection: Connection, ending: Ending) -> None:
        self.actions.append((self.at, self.teller.ended, (connection, ending, connection.count_oddities())))

    def datagram(self, packet: bytes, source: bytes, destination: bytes, is_error: bool) -> None:
        self.actions.append((self.at, self.teller.datagram, (packet, source, destination, is_error)))

    def recall(self, connection: Connection, side: int, sequence: int, length: int) -> bytes | None:
        """Give what was said there: in this batch, or before it."""
        begins, pieces = self._said.get((id(connection), side), ([], []))
        at = bisect_right(begins, sequence) - 1
        if at >= 0:
            known = pieces[at][sequence - begins[at] :]
            while len(known) < length and begins[at + 1 : at + 2] == [begins[at] + len(pieces[at])]:
                at += 1
                known += pieces[at]
            if len(known) >= length:
                return known[:length]
        return self.memory(connection, side, sequence, length)

    def perform(self) -> None:
        """Tell all that was noted, now."""
        for _, tell, arguments in self.take():
            tell(*arguments)

    def take(self) -> list[Action]:
        """Give what was noted, in the order of the packets, and begin anew."""
        actions = self.actions
        actions.sort(key=_first)
        self.actions = []
        self._said.clear()
        return actions
