"""Who plays what: the parts of all live processes, and the records that they have, may have, or exchange."""

from __future__ import annotations

from collections.abc import Sequence

from netplayground.dump.model import CLIENT, SERVER
from netplayground.replay.compare import Comparison, heard_in, moved, new_comparison
from netplayground.replay.course import Course
from netplayground.replay.masks import Mask
from netplayground.replay.matching import Key, Matching
from netplayground.replay.part import Part
from netplayground.replay.tape import NONE, Outcome, Record, Tape, other

Fit = tuple[Comparison, int]  # what was said compared with a record, and how much of that was heard


class Assignment:
    """The client's ends and the server's ends of all connections, each matched with the tape's records."""

    def __init__(self, tape: Tape, masks: Sequence[Mask], ephemeral: tuple[int, int]) -> None:
        self._tape = tape
        self._masks = masks
        self._clients: Matching[Part] = Matching(tape.records, ephemeral)
        self._servers: Matching[Part] = Matching(tape.records, ephemeral)
        self.optional = bytearray(len(tape.records))  # by record: whether it may as well not come
        accepted: set[Key] = set()
        for record in tape.records:
            self._clients.add(record.number)
            if record.outcome is Outcome.ACCEPTED:
                self._servers.add(record.number)
            self._mark_optional(record, accepted)

    def _mark_optional(self, record: Record, accepted: set[Key]) -> None:
        """Without a byte it may as well not come; nor need a refusal, while the server was not up yet."""
        key = self._clients.key(*record.processes, record.port)
        if record.outcome is Outcome.ACCEPTED:
            accepted.add(key)
            self.optional[record.number] = record.is_silent
        else:
            self.optional[record.number] = key not in accepted

    def is_taken(self, number: int) -> bool:
        """Whether a live client has or had the record."""
        return self._clients.is_gone(number)

    def find(self, client: int, server: int, port: int) -> Record | None:
        """The record that a live client's new connection takes."""
        number = self._clients.earliest(self._clients.key(client, server, port), port)
        return None if number is None else self._tape.records[number]

    def spend(self, record: Record) -> None:
        """A live client's connect was answered, and came to nothing, as recorded."""
        self._clients.spend(record.number)

    def is_dynamic(self, port: int) -> bool:
        """Whether a server's port was chosen by its kernel."""
        return self._clients.is_dynamic(port)

    def cast(self, course: Course, side: int, record: Record) -> Part:
        """A new part, with this record."""
        part = Part(self._tape, course, side, record, new_comparison(self._tape, record, side, self._masks))
        course.parts[record.number] = part
        course.open_parts.add(part)
        self._matching(side).take(record.number, part)
        return part

    def release(self, part: Part) -> None:
        """The part comes to nothing: its record is for another connection."""
        del part.course.parts[part.record.number]
        part.course.open_parts.discard(part)
        self._matching(part.side).release(part.record.number)

    def rematch(self, part: Part, data: memoryview | None) -> list[Part] | None:
        """Move the part, and others where they have to make room, to records that fit what they said; the
        parts that moved, None where nothing fits. `data` is what the part says now; None: it has closed."""
        if part.fin_given or part.rst_given:
            return None
        matching = self._matching(part.side)
        known: dict[tuple[int, int], Fit | None] = {}

        def fits(end: Part, record: Record) -> Fit | None:
            place = id(end), record.number
            if place not in known:
                fit = self._fit(end, record)
                if fit is not None and end is part:
                    fit = _and_now(part, record, fit, data)
                known[place] = fit
            return known[place]

        # A connect to a live server that was not made yet is nobody's.
        freed = part.record.number
        moves = matching.settle(freed, part, fits, among_taken=part.side == SERVER)
        if moves is None:
            return None
        matching.apply(moves, freed)
        parts = part.course.parts
        for end, _, _ in moves:
            del parts[end.record.number]
        for end, number, (comparison, given) in moves:
            parts[number] = end
            end.move_to(self._tape.records[number], comparison, given)
        return [end for end, _, _ in moves]

    def _matching(self, side: int) -> Matching[Part]:
        return self._clients if side == CLIENT else self._servers

    def _fit(self, end: Part, record: Record) -> Fit | None:
        """Whether all that an end has said and heard so far fits a record."""
        if record.outcome is not Outcome.ACCEPTED or end.is_waived or end.is_settled:
            return None
        if end.fin_given or end.rst_given:
            return None
        comparison = moved(self._tape, self._masks, end.comparison, end.record, record, end.side)
        if comparison is None:
            return None
        given = heard_in(self._tape, self._masks, end.record, record, other(end.side), end.given)
        return None if given is None else (comparison, given)


def _and_now(part: Part, record: Record, fit: Fit, data: memoryview | None) -> Fit | None:
    """Whether what the part does now fits the record as well."""
    comparison = fit[0]
    if data is not None:
        return fit if comparison.feed(data) is None else None
    has_closed = record.fins[part.side] != NONE or record.is_open
    said_all = comparison.finish() is None and comparison.position >= record.bytes[part.side]
    return fit if has_closed and said_all else None
