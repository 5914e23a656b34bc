"""What live processes say, and how they close, against the tape.

What fits no longer may fit another record (`Assignment.rematch`); what fits none is a divergence, or one of
the few differences that are none: a connection that nobody used, one that was closed otherwise when all was
said and heard already, and what comes after the recording's end.
"""

from __future__ import annotations

from collections.abc import Callable

from netplayground.dump.model import CLIENT, SERVER
from netplayground.replay.assignment import Assignment
from netplayground.replay.compare import Mismatch
from netplayground.replay.course import Course
from netplayground.replay.loose import Loose
from netplayground.replay.part import Part
from netplayground.replay.referee import Referee
from netplayground.replay.tape import NONE, Outcome, Record, Tape, other

BEYOND = "connections that went on after the recording's end"
LATE = "connections opened after the recording's end"
MORE_REFUSED = "connects more than recorded, where every one came to nothing"
UNUSED = "connections without a byte"
_UNTIL_ABORT = "connections on which more was said before the peer's abort"
_EARLIER = "connections aborted a little earlier than recorded"
_ABORTED = "connections aborted after everything was said and heard"
_CLOSED = "connections closed otherwise after everything was said and heard"


class Judge:
    """Decides of each part whether it does as recorded."""

    def __init__(
        self,
        tape: Tape,
        assignment: Assignment,
        referee: Referee,
        loose: Loose,
        is_beyond_tape: Callable[[Course], bool],
    ) -> None:
        self._tape = tape
        self._assignment = assignment
        self._referee = referee
        self._loose = loose
        self._is_beyond_tape = is_beyond_tape

    def says(self, part: Part, data: memoryview, now: int) -> list[Part]:
        """The process says something; gives other parts that had to move for it."""
        mismatch = part.comparison.feed(data)
        if mismatch is None:
            part.open_with(data)
            return []
        moved = self._rematch(part, data)
        if moved is not None:
            part.open_with(data)
        elif mismatch.is_extra and part.record.is_open and self._is_beyond_tape(part.course):
            self._go_beyond(part)
        elif mismatch.is_extra and part.record.rsts[other(part.side)] != NONE:
            self._say_until_abort(part, mismatch, data)
        else:
            self._differs(part, mismatch, now)
        return moved or []

    def _say_until_abort(self, part: Part, mismatch: Mismatch, data: memoryview) -> None:
        """In the recording its peer aborted after so many bytes: how many it is was a matter of buffers."""
        fits = mismatch.position - part.comparison.position
        if fits and part.comparison.feed(data[:fits]) is None:
            part.open_with(data[:fits])
        self._referee.notes[_UNTIL_ABORT] += not part.said_too_much
        part.said_too_much = True

    def closes(self, part: Part, now: int) -> list[Part]:
        """The process has said its last byte, or aborted; gives other parts that had to move."""
        mismatch = part.comparison.finish()
        if mismatch is None and part.said_all and self._may_close(part):
            return []
        moved = self._rematch(part, None)
        if moved is not None:
            return moved
        if part.side == CLIENT and not (part.opening or part.given):
            self.spare(part)
        elif mismatch is not None:
            self._differs(part, mismatch, now)
        elif not part.said_all:
            self._referee.lacks(part, "aborted it" if part.rst_seen else "closed it")
            self._diverge(part, now)
        else:
            self._referee.closes_otherwise(part, _how_otherwise(part))
            self._diverge(part, now)
        return []

    def _may_close(self, part: Part) -> bool:
        """Whether a process that has said all may close, or abort, now."""
        record, side = part.record, part.side
        was_to = record.rsts[side] != NONE if part.rst_seen else record.fins[side] != NONE
        if was_to:
            if part.rst_seen and not part.heard_all:
                self._referee.notes[_EARLIER] += 1
            return True
        if record.is_open and self._is_beyond_tape(part.course):
            return True
        if part.heard_all:
            self._referee.notes[_ABORTED if part.rst_seen else _CLOSED] += 1
        return part.heard_all

    def check(self, part: Part) -> bool:
        """Whether the part has come to its recorded end just now."""
        if part.is_settled or part.has_diverged or not part.has_closed_as_recorded():
            return False
        self._settle_as_recorded(part)
        return True

    def ends(self, part: Part) -> None:
        """The part's connection is over, however."""
        part.is_over = True
        self._loose.discard(part)
        part.course.open_parts.discard(part)
        if not (part.is_settled or part.has_diverged):
            self._judge_end(part)
        self.settle(part)

    def _judge_end(self, part: Part) -> None:
        if part.has_closed_as_recorded() or (part.rst_seen and part.said_all):
            self._settle_as_recorded(part)
        elif not part.said_all:
            self._referee.lacks(part, "ended")
        elif part.heard_all:
            self._referee.notes[_CLOSED] += 1
            self._settle_as_recorded(part)
        else:
            self._referee.closes_otherwise(part, "ended it before it had heard everything")

    def settle(self, part: Part) -> None:
        """Nothing more is awaited of the part, nor is there anything for it to hear."""
        if not part.is_settled:
            part.is_settled = True
            if not self._assignment.optional[part.record.number]:
                part.course.remaining -= 1
        if part.is_over:
            self._assignment.fix(part)

    def _settle_as_recorded(self, part: Part) -> None:
        self._referee.settles(part)
        self.settle(part)

    def _rematch(self, part: Part, data: memoryview | None) -> list[Part] | None:
        has_begun = bool(part.opening or part.given)
        moves = self._assignment.rematch(part, data)
        if moves is None:
            return None
        self._referee.rematched += has_begun
        for end, record in moves:
            if end.is_settled:
                self._unsettle(end, record)
        return [end for end, _ in moves if end is not part]

    def _unsettle(self, part: Part, record: Record) -> None:
        """It had come to the end of a record that it has no longer."""
        part.is_settled = False
        self._referee.unsettles(record, part.side)
        if not self._assignment.optional[record.number]:
            part.course.remaining += 1

    def _go_beyond(self, part: Part) -> None:
        """The tape has no more of the connection: nothing is compared from here on."""
        self._referee.notes[BEYOND] += 1
        self._settle_as_recorded(part)
        part.has_diverged = True
        self._assignment.fix(part)

    def _differs(self, part: Part, mismatch: Mismatch, now: int) -> None:
        self._referee.differs(part, mismatch)
        self._diverge(part, now)

    def _diverge(self, part: Part, now: int) -> None:
        """From here on the part is no longer compared."""
        part.has_diverged = True
        self._assignment.fix(part)
        self._loose.speaks(part, now)
        if part.give == NONE or part.is_over:
            self.settle(part)

    # Connections that are not used.

    def spare(self, part: Part) -> None:
        """Nothing was said on it: its record is for another connection."""
        self._referee.notes[UNUSED] += 1
        self._assignment.release(part)
        part.is_spare = part.is_settled = True

    def use(self, part: Part) -> bool:
        """A spare connection is used after all: whether there is a record for it."""
        self._referee.notes[UNUSED] -= 1
        record = part.record
        found = self._assignment.find(*record.processes, record.port)
        if found is None:
            unused = self._assignment.find_unused(part.course, record.processes[SERVER], record.port)
            if unused is not None:
                found = unused.record
                self.spare(unused)
        part.is_spare = part.is_settled = False
        if found is not None and found.outcome is Outcome.ACCEPTED:
            self._assignment.assign(part, found)
            return True
        course = part.course
        self._referee.comes_unknown(course, record.processes[SERVER], record.port, course.released_up_to())
        part.has_diverged = part.is_settled = True
        return False

    # Processes that are gone.

    def bury(self, course: Course) -> None:
        """Nothing more will come of a process: what it has not done is missing."""
        for part in list(course.open_parts):
            if not (part.is_settled or part.has_diverged or self._assignment.optional[part.record.number]):
                self._miss(part)
            self._loose.discard(part)
            part.is_over = True  # whatever may still come of it
            self.settle(part)
        for number, side in course.own_records():
            record = self._tape.records[number]
            if not (number in course.parts or self._referee.is_judged(record, side)):
                self._referee.comes_not(course, record, side)

    def _miss(self, part: Part) -> None:
        if self._referee.is_judged(part.record, part.side):
            return
        if part.side == SERVER and not part.is_connected:
            self._referee.comes_not(part.course, part.record, SERVER)
        elif not part.said_all:
            self._referee.lacks(part, "said nothing more")
        elif not part.heard_all:
            if not self._referee.has_diverged:  # else it may have been the run's end that came first
                self._referee.closes_otherwise(part, "was not there to hear the rest")
        elif part.has_to_close() and not (part.fin_seen or part.rst_seen):
            self._referee.closes_otherwise(part, "did not close it")
        else:  # it left before its peer had closed too
            self._referee.settles(part)


def _how_otherwise(part: Part) -> str:
    did = "aborted it" if part.rst_seen else "closed it in order"
    record, side = part.record, part.side
    if record.rsts[side] != NONE:
        recorded = "aborted it"
    else:
        recorded = "closed it in order" if record.fins[side] != NONE else "kept it open"
    return f"{did}; in the recording it {recorded}"
