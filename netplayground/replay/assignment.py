"""Who plays what: the parts of all live processes, and the records that they have, may have, or exchange."""

from __future__ import annotations

from collections.abc import Sequence

from netplayground.dump.model import CLIENT, SERVER
from netplayground.replay.compare import Comparison, heard_in, moved, new_comparison
from netplayground.replay.course import Course
from netplayground.replay.masks import Mask, segments
from netplayground.replay.matching import Key, Matching
from netplayground.replay.part import OPENING, Part
from netplayground.replay.streams import TapeStream
from netplayground.replay.tape import NONE, Outcome, Record, Tape, other

Fit = tuple[Comparison, int]  # what was said compared with a record, and how much of that was heard
Move = tuple[Part, Record]  # who moved, and from where


class Assignment:
    """The client's ends and the server's ends of all connections, each matched with the tape's records."""

    def __init__(self, tape: Tape, masks: Sequence[Mask], ephemeral: tuple[int, int]) -> None:
        self._tape = tape
        self._masks = masks
        self._clients: Matching[Part] = Matching(tape.records, ephemeral)
        self._servers: Matching[Part] = Matching(tape.records, ephemeral)
        self._openings: tuple[dict[int, bytes], dict[int, bytes]] = ({}, {})  # by side and record
        self.optional = bytearray(len(tape.records))  # by record: whether it may as well not come
        self._accepted: set[Key] = set()
        for record in tape.records:
            self._clients.add(record.number)
            if record.outcome is Outcome.ACCEPTED:
                self._servers.add(record.number)
            self._mark_optional(record)

    def _mark_optional(self, record: Record) -> None:
        """Without a byte it may as well not come; nor need a refusal, while the server was not up yet."""
        key = self._clients.key(*record.processes, record.port)
        if record.outcome is Outcome.ACCEPTED:
            self._accepted.add(key)
            self.optional[record.number] = record.is_silent
        else:
            self.optional[record.number] = key not in self._accepted

    def is_taken(self, number: int) -> bool:
        """Whether a live client has or had the record."""
        return self._clients.is_gone(number)

    def find(self, client: int, server: int, port: int) -> Record | None:
        """The record that a live client's new connection takes."""
        number = self._clients.earliest(self._clients.key(client, server, port), port)
        return None if number is None else self._tape.records[number]

    def find_unused(self, course: Course, server: int, port: int) -> Part | None:
        """The first of a live client's connections on which it was to speak first and has not yet: it may be
        one that is opened and never used, and has the record that is another's."""
        key = self._clients.key(course.process, server, port)
        unused = [
            part
            for part in course.open_parts
            if part.side == CLIENT
            and part.is_unused
            and part.record.bytes[CLIENT]
            and part.record.heads[CLIENT] < part.record.heads[SERVER]
            and self._clients.key(*part.record.processes, part.record.port) == key
        ]
        return min(unused, key=lambda part: part.record.syn, default=None)

    def usual(self, client: int, server: int, port: int) -> Record | None:
        """What becomes of one connect more, where none was ever accepted; None where one was, or there is no
        record at all."""
        key = self._clients.key(client, server, port)
        numbers = self._clients.numbers(key)
        return self._tape.records[numbers[-1]] if numbers and key not in self._accepted else None

    def spend(self, record: Record) -> None:
        """A live client's connect was answered, and came to nothing, as recorded."""
        self._clients.spend(record.number)

    def fix(self, part: Part) -> None:
        """The part stays with its record."""
        self._matching(part.side).fix(part.record.number)

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

    def assign(self, part: Part, record: Record) -> None:
        """A part that had released its record takes this one."""
        part.move_to(record, new_comparison(self._tape, record, part.side, self._masks), 0)
        part.course.parts[record.number] = part
        self._matching(part.side).take(record.number, part)

    def release(self, part: Part) -> None:
        """The part comes to nothing: its record is for another connection."""
        del part.course.parts[part.record.number]
        self._matching(part.side).release(part.record.number)

    def rematch(self, part: Part, data: memoryview | None) -> list[Move] | None:
        """Move the part, and others where they have to make room, to records that fit what they said; the
        parts that moved, and from where, None where nothing fits. `data` is what the part says now; None: it
        has closed."""
        if part.is_fixed:
            return None
        matching = self._matching(part.side)
        opening = part.opening if data is None else (part.opening + bytes(data[:OPENING]))[:OPENING]
        known: dict[tuple[int, int], Fit | None] = {}

        def fits(end: Part, record: Record) -> Fit | None:
            place = id(end), record.number
            if place not in known:
                known[place] = self._fit(end, record, opening if end is part else end.opening)
                fit = known[place]
                if fit is not None and end is part:
                    known[place] = _and_now(part, record, fit, data)
            return known[place]

        # A connect to a live server that was not made yet is nobody's.
        freed = part.record.number
        moves = matching.settle(freed, part, fits, among_taken=part.side == SERVER)
        if moves is None:
            return None
        matching.apply(moves, freed)
        came_from = [(end, end.record) for end, _, _ in moves]
        parts = part.course.parts
        for _, record in came_from:
            del parts[record.number]
        for end, number, (comparison, given) in moves:
            parts[number] = end
            end.move_to(self._tape.records[number], comparison, given)
        return came_from

    def _matching(self, side: int) -> Matching[Part]:
        return self._clients if side == CLIENT else self._servers

    def _fit(self, end: Part, record: Record, opening: bytes) -> Fit | None:
        """Whether all that an end has said and heard so far fits a record."""
        if record.outcome is not Outcome.ACCEPTED or end.is_fixed:
            return None
        if not _begin_alike(self._opening(record, end.side), opening):
            return None
        comparison = moved(self._tape, self._masks, end.comparison, end.record, record, end.side)
        if comparison is None or (end.fin_seen and not _may_close(record, end.side, comparison)):
            return None
        given = heard_in(self._tape, self._masks, end.record, record, other(end.side), end.given)
        return None if given is None else (comparison, given)

    def _opening(self, record: Record, side: int) -> bytes:
        """The first bytes of a recorded stream, as far as no mask covers them."""
        found = self._openings[side].get(record.number)
        if found is None:
            stream = TapeStream(self._tape, record, side)
            if self._masks or self._tape.redactions:
                first = next(segments(stream, self._masks), None)
                found = b"" if first is None or first.mask is not None else first.data[:OPENING]
            else:
                found = stream.read_exactly(OPENING)
            self._openings[side][record.number] = found
        return found


def _begin_alike(one: bytes, other: bytes) -> bool:
    size = min(len(one), len(other))
    return one[:size] == other[:size]


def _may_close(record: Record, side: int, comparison: Comparison) -> bool:
    """Whether who has said this has said all, and has closed its side in the recording."""
    has_closed = record.fins[side] != NONE or record.is_open
    return has_closed and comparison.finish() is None and comparison.position >= record.bytes[side]


def _and_now(part: Part, record: Record, fit: Fit, data: memoryview | None) -> Fit | None:
    """Whether what the part does now fits the record as well."""
    comparison = fit[0]
    if data is not None:
        return fit if comparison.feed(data) is None else None
    return fit if _may_close(record, part.side, comparison) else None
