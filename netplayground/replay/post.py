"""What live processes say in datagrams, against the tape; and at the end what they have not said."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable

from netplayground.replay.course import Course
from netplayground.replay.exchange import Exchange, Said
from netplayground.replay.flows import UDP, Flow, Letter
from netplayground.replay.referee import Referee, flow_text
from netplayground.replay.tape import ERROR, NONE, Tape
from netplayground.replay.verdict import DivergenceKind

_REPEATED = "datagrams said once more"
_BEYOND = "datagrams after the recording's end"
_LEFT_OUT = "datagrams left out, where a later one of their flow came"
_ERRORS = "ICMP errors that are not in the recording"


class PostOffice:
    """Decides of each datagram whether it is as recorded."""

    def __init__(
        self, tape: Tape, exchange: Exchange, referee: Referee, may_say_more: Callable[[Course], bool]
    ) -> None:
        self._tape = tape
        self._exchange = exchange
        self._referee = referee
        self._may_say_more = may_say_more

    def expect_of(self, course: Course) -> None:
        """Count what a live process is to say."""
        for flow in self._tape.flows:
            for side, process in enumerate(flow.processes):
                if process == course.process and self._exchange.is_compared:
                    self._referee.datagrams += len(self._own(flow, side))

    def takes(self, course: Course, letter: Letter, version: int) -> tuple[Said, int]:
        """A live process says a datagram; gives what it is on the tape, and which."""
        said, flow, event = self._exchange.take(letter, version)
        if said is Said.FOUND:
            self._referee.datagrams_matched += letter.quoted is None
        elif said is Said.REPEATED:
            self._referee.notes[_REPEATED] += 1
        elif letter.quoted is not None:
            self._referee.notes[_ERRORS] += 1
        elif said is not Said.IGNORED:
            self._differs(course, letter, flow, event)
        return said, event

    def _differs(self, course: Course, letter: Letter, flow: Flow | None, event: int) -> None:
        if self._may_say_more(course):
            self._referee.notes[_BEYOND] += 1
            return
        kind, expected, offset = DivergenceKind.EXTRA, b"", 0
        if flow is None:
            where, event = self._where(letter), course.released_up_to()
            text = "said a datagram to whom it said none in the recording"
        else:
            where, text = flow_text(self._tape, flow), "said more datagrams than it had said"
            self._exchange.diverge(flow)
            if event == NONE:
                event = course.released_up_to()
            elif not self._exchange.has_come(event):
                kind = DivergenceKind.DIFFERENT
                text = f"said other bytes than in {self._which(flow, event)}"
                expected = self._tape.read(self._tape.offset[event], self._tape.length[event])
                offset = self._exchange.shared_length(flow, expected, letter.payload)
        self._referee.posts(kind, course, flow, event, text, where, offset, expected, letter.payload)

    def _where(self, letter: Letter) -> str:
        names = [
            self._tape.lives[process].process.name if process >= 0 else "all" if letter.group else "nobody"
            for process in (letter.sender, letter.receiver)
        ]
        return f"{names[0]} -> {names[1]}" + (f":{letter.port}/udp" if letter.protocol == UDP else "")

    def bury(self, course: Course) -> None:
        """Nothing more will come of a process: what it has not said, and is not forgiven, is missing."""
        for flow in self._tape.flows:
            for side, process in enumerate(flow.processes):
                if process == course.process and self._exchange.is_compared:
                    self._miss(course, flow, side)

    def _miss(self, course: Course, flow: Flow, side: int) -> None:
        own, tape = self._own(flow, side), self._tape
        missing = [event for event in own if not self._exchange.is_done(event)]
        if not self._exchange.has_diverged(flow):
            come = sum(map(self._exchange.has_come, own))
            self._referee.notes[_LEFT_OUT] += len(own) - come - len(missing)
        if missing:
            first = missing[0]
            text = f"never said {self._which(flow, first)}"
            if len(missing) > 1:
                text += f" and {len(missing) - 1:,} more"
            expected = tape.read(tape.offset[first], tape.length[first])
            where = flow_text(tape, flow)
            self._referee.posts(DivergenceKind.MISSING, course, flow, first, text, where, 0, expected)
            self._exchange.diverge(flow)

    def _which(self, flow: Flow, event: int) -> str:
        """Which of all that its side says on the flow."""
        own = self._own(flow, self._tape.code[event] & 1)
        return f"datagram {bisect_left(own, event) + 1:,} of {len(own):,}"

    def _own(self, flow: Flow, side: int) -> list[int]:
        """What a process itself says: errors are its kernel's."""
        return [event for event in flow.events[side] if self._tape.code[event] & ~1 != ERROR]
