"""The datagrams of B, as if those who say them in B were live."""

from __future__ import annotations

from netplayground.dump.model import CLIENT
from netplayground.packet.quote import parse_quote
from netplayground.replay.course import HEARS, Course
from netplayground.replay.exchange import Said
from netplayground.replay.flows import Letter
from netplayground.replay.post import PostOffice
from netplayground.replay.tape import NONE, other
from netplayground.report.bench import Bench

ENDED = "datagrams that lie after B's end"


class Letters:
    """All datagrams of B."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._post = PostOffice(bench.tape, bench.exchange, bench.referee, bench.may_do_more)
        for course in bench.courses.values():
            self._post.expect_of(course)
        self._ports: dict[tuple[int, int], int] = {}  # (process, port in B) -> the port in A
        self._lost_flows: set[int] = set()

    def take(self, event: int) -> None:
        """A process of B says one."""
        flow = self._bench.two.record[event]
        if flow in self._lost_flows or not self._bench.exchange.is_compared:
            return
        letter = self._letter(event)
        course = self._bench.courses.get(letter.sender)
        if course is None:
            return
        before = self._bench.referee.count
        said, found = self._post.takes(course, letter, self._bench.two.version_of(event))
        if found != NONE and letter.quoted is None and said in (Said.FOUND, Said.REPEATED):
            self._ports[letter.sender, letter.source_port] = self._bench.tape.ports_of(found)[0]
            self._heard_by(letter, found)
        if self._bench.referee.count > before:
            self._lost_flows.add(flow)

    def _heard_by(self, letter: Letter, event: int) -> None:
        for process in self._bench.courses if letter.group else (letter.receiver,):
            if process != letter.sender:
                self._bench.hear(process, event, HEARS)

    def _letter(self, event: int) -> Letter:
        """A datagram of B, to the port that its receiver has in A."""
        two, side = self._bench.two, self._bench.two.code[event] & 1
        flow = two.flow_of(event)
        sender, receiver = flow.processes[side], flow.processes[other(side)]
        source_port, port = two.ports_of(event)
        payload = two.read(two.offset[event], two.length[event])
        protocol = two.protocol_of(event)
        if two.is_error(event):
            quoted = None
            quote = parse_quote(payload)
            if quote is not None:
                source_port = self._ports.get((receiver, source_port), source_port)
                quoted = Letter(quote.protocol, receiver, sender, b"", source_port, port, quote.payload)
            return Letter(protocol, sender, receiver, b"", 0, 0, payload, quoted)
        group = flow.group if side == CLIENT else b""
        port = self._ports.get((receiver, port), port)
        return Letter(protocol, sender, receiver, group, source_port, port, payload)

    def finish(self) -> None:
        """B is over: what has not come by now is missing."""
        for course in self._bench.courses.values():
            self._excuse(course)
            self._post.bury(course)

    def _excuse(self, course: Course) -> None:
        """What B had no time for is not missing."""
        for flow in self._bench.tape.flows:
            for side, process in enumerate(flow.processes):
                for event in flow.events[side] if process == course.process else ():
                    if not self._bench.exchange.is_done(event) and self._bench.is_after_b(course, event):
                        self._bench.referee.notes[ENDED] += 1
                        self._bench.exchange.excuse(event)
