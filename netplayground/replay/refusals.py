"""Refusals: recorded datagrams of which their receiver's kernel said that nobody takes them.

They reached no program then, and are not played to one that lives now: whether it is up a moment sooner or
later than in the recording is no matter of its own. Its peer hears the error from the tape. A kernel sends so
many errors a second only, so of what came between two refused datagrams, without a word of the receiver's,
none had reached anybody either.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left

from netplayground.dump.model import SIDES
from netplayground.packet.quote import parse_quote
from netplayground.packet.udp import HEADER_LENGTH
from netplayground.replay.flows import UDP, Flow
from netplayground.replay.tape import Tape

_FARTHEST = 64  # datagrams between a refused one and its error


class Refusals:
    """Which datagrams of a tape were refused, by event."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self._refused: set[int] = set()
        self._deaf: set[tuple[int, int]] = set()  # flows, and sides that said nothing but errors there
        for flow in tape.flows:
            for side in range(len(SIDES)) if flow.protocol == UDP else ():
                self._take(flow, side)

    def __contains__(self, event: int) -> bool:
        return event in self._refused

    def is_deaf(self, flow: Flow, side: int) -> bool:
        """Whether perhaps nobody ever listened there."""
        return (flow.number, side) in self._deaf

    def _take(self, flow: Flow, side: int) -> None:
        """Find what the errors of one side are about."""
        tape, said = self._tape, flow.events[1 - side]
        last, is_deaf = -1, True
        has_errors = False
        for event in flow.events[side]:
            if not tape.is_error(event):
                last, is_deaf = -1, False
                continue
            has_errors = True
            found = self._find(event, said, last)
            if found is not None:
                self._refused.update(said[found if last < 0 else last + 1 : found + 1])
                last = found
        if has_errors and is_deaf:
            self._deaf.add((flow.number, side))

    def _find(self, error: int, said: array[int], after: int) -> int | None:
        """The place of the datagram that an error is about."""
        tape, ports = self._tape, self._tape.ports_of(error)
        quote = parse_quote(tape.read(tape.offset[error], tape.length[error]))
        if quote is None:
            return None
        begin, end = quote.payload[HEADER_LENGTH:], bisect_left(said, error)
        for place in range(max(after + 1, end - _FARTHEST), end):
            event = said[place]
            is_it = tape.ports_of(event) == ports and event not in self._refused
            if is_it and self._is_begun_by(event, begin):
                return place
        return None

    def _is_begun_by(self, event: int, begin: bytes) -> bool:
        tape = self._tape
        length = min(len(begin), tape.length[event])
        return tape.read(tape.offset[event], length) == begin[:length]
