"""The referee: keeps what went otherwise than recorded, and says at the end what the replay came to."""

from __future__ import annotations

from bisect import insort
from collections import Counter
from collections.abc import Sequence

from netplayground.dump.model import CLIENT, SERVER
from netplayground.replay.compare import Mismatch
from netplayground.replay.course import SAYS, Course
from netplayground.replay.flows import UDP, Flow
from netplayground.replay.part import Part
from netplayground.replay.streams import window_of
from netplayground.replay.tape import CHUNK, DATAGRAM, ESTABLISHED, FIN, NONE, SYN, Outcome, Record, Tape
from netplayground.replay.verdict import WINDOW, Divergence, DivergenceKind, Verdict

MOST_KEPT = 1000
"""Divergences; all are counted."""


class Referee:
    """Collects divergences, notes and figures."""

    def __init__(
        self, tape: Tape, live: Sequence[bool], optional: bytearray, most_kept: int = MOST_KEPT
    ) -> None:
        self._tape = tape
        self._most_kept = most_kept
        self._live = live
        self._optional = optional  # by record
        self._divergences: list[tuple[int, int, Divergence]] = []  # by recorded order
        self.count = 0
        self.notes: Counter[str] = Counter()
        self.reordered = 0
        self.rematched = 0
        self._masked = 0
        self._masked_whole = 0
        self._bytes_matched = 0
        self._failed = bytearray(len(tape.records))
        self._settled = bytearray(len(tape.records))  # by record, a bit for each side
        self.datagrams = 0  # that live processes are to say
        self.datagrams_matched = 0

    @property
    def has_diverged(self) -> bool:
        """Whether anything was missing, extra or different."""
        return self.count > 0

    @property
    def divergences(self) -> tuple[Divergence, ...]:
        """Those found so far, in recorded order."""
        return tuple(each for _, _, each in self._divergences)

    # What went otherwise.

    def differs(self, part: Part, mismatch: Mismatch) -> None:
        """The process said something else, or more, than recorded."""
        record, side = part.record, part.side
        start = max(0, mismatch.position - WINDOW)
        expected = window_of(self._tape, record, side, start, 3 * WINDOW)
        actual = expected[: mismatch.position - start] + mismatch.context[: 2 * WINDOW]
        if mismatch.is_extra:
            kind, text = DivergenceKind.EXTRA, f"said more than the {record.bytes[side]} bytes recorded"
        else:
            kind, text = DivergenceKind.DIFFERENT, "said other bytes than recorded"
        self._diverges(kind, part, mismatch.position, text, start, expected, actual)

    def lacks(self, part: Part, what: str) -> None:
        """The process will not say the rest."""
        record, side, position = part.record, part.side, part.comparison.position
        start = max(0, position - WINDOW)
        expected = window_of(self._tape, record, side, start, 3 * WINDOW)
        text = f"{what} after {position} of {record.bytes[side]} bytes"
        self._diverges(
            DivergenceKind.MISSING, part, position, text, start, expected, expected[: position - start]
        )

    def closes_otherwise(self, part: Part, text: str) -> None:
        """All bytes were said, but the end was not the recorded one."""
        self._diverges(DivergenceKind.CLOSED, part, part.comparison.position, text)

    def comes_not(self, course: Course, record: Record, side: int, text: str = "") -> None:
        """A recorded connection was not opened, or not accepted; `text` says what happened instead."""
        text = text or ("never opened it" if side == CLIENT else "never accepted it")
        if record.outcome is not Outcome.ACCEPTED:
            text += f" (in the recording: {record.outcome.value})"
        self._add(record.syn, DivergenceKind.NO_CONNECTION, course, record, side, 0, text)

    def comes_unknown(
        self,
        course: Course,
        server: int,
        port: int,
        at: int,
        text: str = "opened a connection that the recording does not have",
    ) -> None:
        """A connection that the tape does not know."""
        names = [life.process.name for life in self._tape.lives]
        where = f"{names[server] if server >= 0 else 'nobody'}:{port}"
        self._put(
            at,
            Divergence(
                DivergenceKind.EXTRA_CONNECTION,
                course.name,
                None,
                f"{course.name} -> {where}",
                CLIENT,
                0,
                text,
                self._time(at),
            ),
        )

    def posts(
        self,
        kind: DivergenceKind,
        course: Course,
        flow: Flow | None,
        at: int,
        text: str,
        where: str,
        offset: int = 0,
        expected: bytes = b"",
        actual: bytes = b"",
    ) -> None:
        """A datagram was missing, different, or too many; `at` is where on the tape."""
        side = SERVER if flow is not None and flow.processes[SERVER] == course.process else CLIENT
        start = max(0, offset - WINDOW)
        shown = slice(start, start + 3 * WINDOW)
        self._put(
            at,
            Divergence(
                kind,
                course.name,
                None,
                where,
                side,
                offset,
                text,
                self._time(at),
                start,
                expected[shown],
                actual[shown],
            ),
        )

    def reorders(self, course: Course, event: int, side: int) -> None:
        """With --strict-order: the process was given something before it had said what came before."""
        if self._tape.code[event] >= DATAGRAM:
            flow = self._tape.flow_of(event)
            text = "did not do in time what came before, in the recorded order"
            self.posts(DivergenceKind.REORDERED, course, flow, event, text, flow_text(self._tape, flow))
            return
        record = self._tape.records[self._tape.record[event]]
        text = "did not do in time what came before, in the recorded order"
        self._add(event, DivergenceKind.REORDERED, course, record, side, 0, text)

    def stalls(self, course: Course, event: int, side: int, waited_s: float) -> None:
        """The tape waited long enough."""
        tape = self._tape
        if tape.code[event] >= DATAGRAM:
            flow = tape.flow_of(event)
            what = "was to say a datagram" if side == SAYS else "was to hear a datagram"
            text = f"{what}, and did not for {waited_s:g} s"
            payload = tape.read(tape.offset[event], tape.length[event])
            self.posts(DivergenceKind.STALLED, course, flow, event, text, flow_text(tape, flow), 0, payload)
            return
        record = tape.records[tape.record[event]]
        part = course.parts.get(record.number)
        position = part.comparison.position if part is not None else 0
        text = f"{what_is_due(tape, event, side, position)}, and did not for {waited_s:g} s"
        start = max(0, position - WINDOW)
        expected = window_of(tape, record, side, start, 3 * WINDOW)
        self._add(
            event,
            DivergenceKind.STALLED,
            course,
            record,
            side,
            position,
            text,
            start,
            expected,
            expected[: position - start],
        )

    def stays(self, course: Course, waited_s: float) -> None:
        """A process that had ended by itself in the recording did not."""
        self._put(
            NONE,
            Divergence(
                DivergenceKind.STALLED,
                course.name,
                None,
                "",
                CLIENT,
                0,
                f"did not exit, {waited_s:g} s longer than in the recording",
                course.life.ended_ns or 0,
            ),
        )

    # What went as recorded.

    def settles(self, part: Part) -> None:
        """The part came to its recorded end."""
        self._settled[part.record.number] |= 1 << part.side

    def unsettles(self, record: Record, side: int) -> None:
        """The part that had come to this record's end plays another one."""
        self._settled[record.number] &= ~(1 << side)

    def answers(self, record: Record) -> None:
        """A connect was refused, or not answered, as recorded."""
        self._settled[record.number] |= 1 << CLIENT

    def is_judged(self, record: Record, side: int) -> bool:
        """Whether this side of the record came to its end, whatever that was."""
        return bool((self._settled[record.number] | self._failed[record.number]) & 1 << side)

    def counts(self, part: Part) -> None:
        """What the part has said and heard adds to the figures; once for each part, at the end."""
        self._bytes_matched += min(part.comparison.position, part.record.bytes[part.side]) + part.given
        masked = part.comparison.masked
        self._masked += masked
        if masked and masked == part.record.bytes[part.side] and part.said_all:
            self._masked_whole += 1

    def verdict(self, is_over: bool) -> Verdict:
        """What it all came to. `is_over`: whether all was played and heard."""
        tape, live = self._tape, self._live
        connections = matched = size = 0
        for record in tape.records:
            sides = [
                side
                for side in (CLIENT, SERVER)
                if record.processes[side] >= 0
                and live[record.processes[side]]
                and not (side == SERVER and record.processes[0] == record.processes[1])
                and (side == CLIENT or record.outcome is Outcome.ACCEPTED)
            ]
            if not sides or (self._optional[record.number] and not self._failed[record.number]):
                continue
            connections += 1
            size += len(sides) * sum(record.bytes)
            wanted = sum(1 << side for side in sides)
            done = self._settled[record.number] & wanted == wanted
            matched += done and not self._failed[record.number]
        warnings: list[str] = []
        if self._masked_whole:
            count = self._masked_whole
            plural = "s" if count != 1 else ""
            warnings.append(f"--ignore covers all that was said on {count} connection{plural}")
        return Verdict(
            datagrams=self.datagrams,
            datagrams_matched=self.datagrams_matched,
            connections=connections,
            connections_matched=matched,
            bytes=size,
            bytes_matched=min(size, self._bytes_matched),
            divergence_count=self.count,
            divergences=self.divergences,
            notes=dict(+self.notes),
            warnings=tuple(warnings),
            reordered=self.reordered,
            rematched=self.rematched,
            masked_bytes=self._masked,
            is_over=is_over,
            left_out=tuple(tape.left_out),
            missing=tape.missing,
        )

    def _diverges(
        self,
        kind: DivergenceKind,
        part: Part,
        offset: int,
        text: str,
        window: int = 0,
        expected: bytes = b"",
        actual: bytes = b"",
    ) -> None:
        event = self._event_at(part.record, part.side, offset)
        self._add(event, kind, part.course, part.record, part.side, offset, text, window, expected, actual)

    def _event_at(self, record: Record, side: int, offset: int) -> int:
        """The event in which this side said the byte at `offset`, or the last one before."""
        tape = self._tape
        event, last = record.heads[side], record.syn
        while event != NONE and tape.upto[event] <= offset:
            event, last = tape.succ[event], event
        return last if event == NONE else event

    def _add(
        self,
        event: int,
        kind: DivergenceKind,
        course: Course,
        record: Record,
        side: int,
        offset: int,
        text: str,
        window: int = 0,
        expected: bytes = b"",
        actual: bytes = b"",
    ) -> None:
        self._failed[record.number] |= 1 << side
        self._put(
            event,
            Divergence(
                kind,
                course.name,
                record.identity,
                connection_text(self._tape, record),
                side,
                offset,
                text,
                self._time(event),
                window,
                expected,
                actual,
            ),
        )

    def _put(self, event: int, divergence: Divergence) -> None:
        self.count += 1
        insort(self._divergences, (event, self.count, divergence), key=lambda entry: entry[:2])
        del self._divergences[self._most_kept :]

    def _time(self, event: int) -> int:
        return self._tape.time[event] if event < len(self._tape) else 0


def flow_text(tape: Tape, flow: Flow) -> str:
    """Who to whom, for people: "app -> db:53/udp"."""
    names = [
        tape.lives[process].process.name if process >= 0 else "all" if flow.group else "nobody"
        for process in flow.processes
    ]
    protocol = {17: "udp", 1: "icmp", 58: "icmp"}.get(flow.protocol, f"protocol {flow.protocol}")
    port = f":{flow.port}" if flow.protocol == UDP else ""
    return f"{names[0]} -> {names[1]}{port}/{protocol}"


def connection_text(tape: Tape, record: Record) -> str:
    """Who to whom, for people: "app -> db:5432"."""
    client, server = (
        "nobody" if process < 0 else tape.lives[process].process.name for process in record.processes
    )
    return f"{client} -> {server}:{record.port}"


def what_is_due(tape: Tape, event: int, side: int, position: int) -> str:
    """What a process was to do, in words."""
    code = tape.code[event]
    record = tape.records[tape.record[event]]
    if code == SYN:
        return "was to connect"
    if code == ESTABLISHED:
        return "was to accept"
    if code & 1 != side:
        return "was to read"
    if code & ~1 == CHUNK:
        return f"was to say {record.bytes[side] - position} bytes more"
    return f"was to {'close' if code & ~1 == FIN else 'abort'} it"
