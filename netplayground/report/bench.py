"""What judges two recordings: the replay's own parts, put together for processes that live in a recording."""

from __future__ import annotations

from collections.abc import Sequence

from netplayground.replay.assignment import Assignment, Move
from netplayground.replay.content import Content
from netplayground.replay.course import Course, make_courses
from netplayground.replay.exchange import Exchange
from netplayground.replay.judge import Judge
from netplayground.replay.loose import Loose
from netplayground.replay.options import ReplayOptions
from netplayground.replay.part import Part
from netplayground.replay.referee import Referee
from netplayground.replay.tape import DATAGRAM, NONE, Life, Outcome, Tape
from netplayground.report.pairing import Half

_TAIL_NS = 20_000_000  # at most so long before a recording's end, what comes may have come after it


class _Settled(Assignment):
    """Who plays what was settled before."""

    def rematch(self, part: Part, data: memoryview | None) -> list[Move] | None:
        return None

    def fix(self, part: Part) -> None:
        """It cannot move anyway."""


def _mark_unanswered(tape: Tape, optional: bytearray) -> None:
    """A connect that its client gave up, or nobody answered, is a connection without a byte."""
    for record in tape.records:
        if record.outcome in (Outcome.UNANSWERED, Outcome.ABORTED):
            optional[record.number] = 1


class _JudgeOfBoth(Judge):
    """What nobody said on a connection is missing: no other one could say it."""

    def spare(self, part: Part) -> None:
        if part.said_all:
            self._referee.closes_otherwise(part, "closed it before it had heard everything")
        else:
            self._referee.lacks(part, "aborted it" if part.rst_seen else "closed it")
        part.has_diverged = True


class End:
    """Where a recording ends, for each process."""

    def __init__(self, tape: Tape) -> None:
        self._tape = tape
        self.last_ns = tape.mark_ns if tape.mark_ns is not None else tape.time[-1] if tape.time else 0
        self._tail_ns = self.last_ns - min(_TAIL_NS, self.last_ns // 10)

    def is_after(self, time_ns: int) -> bool:
        """Whether what comes at a time may have come after the end."""
        return self._tape.is_torn or time_ns >= self._tail_ns

    def has_ended(self, life: Life | None) -> bool:
        """Whether all that a process ever did is on the tape."""
        mark = self._tape.mark_ns
        ended_ns = None if life is None else life.ended_ns
        return ended_ns is not None and not self._tape.is_torn and (mark is None or ended_ns <= mark)


class Bench:
    """Everybody who judges, and the time in B."""

    def __init__(
        self, one: Half, other: Half, names: Sequence[tuple[str, str]], options: ReplayOptions, most_kept: int
    ) -> None:
        self.tape, self.two = one.tape, other.tape
        self.masks = one.masks
        self.now = 0
        self._options = options
        live = [True] * len(self.tape.lives)
        self.assignment = _Settled(self.tape, self.masks, options.ephemeral)
        self.optional_in_b = Assignment(self.two, (), options.ephemeral).optional
        _mark_unanswered(self.tape, self.assignment.optional)
        _mark_unanswered(self.two, self.optional_in_b)
        self.exchange = Exchange(self.tape, options.udp, Content(options.echo, self.masks))
        self.courses = make_courses(
            self.tape, live, self.assignment.is_taken, self.assignment.optional, self.exchange
        )
        self.referee = Referee(self.tape, live, self.assignment.optional, most_kept)
        self.judge = _JudgeOfBoth(self.tape, self.assignment, self.referee, Loose(0), self.may_do_more)
        self._lives_in_b = {life.process.name: life for life in self.two.lives}
        self._names_in_b = {mine: their for mine, their in names if mine}
        self._a_ends, self.b_ends = End(self.tape), End(self.two)

    def hear(self, process: int, event: int, side: int) -> None:
        """A process hears something; whether it had said all that it had said before, in A."""
        course = self.courses.get(process)
        if course is None:
            return
        while (front := course.front()) != NONE and front < event:
            part = course.parts.get(self.tape.record[front]) if self.tape.code[front] < DATAGRAM else None
            is_in_doubt = part is not None and part.comparison.is_in_doubt
            if course.is_awaiting and not is_in_doubt:
                course.give_up_before(event, side)
                self.referee.reordered += 1
                if self._options.strict_order:
                    self.referee.reorders(course, event, side)
                return
            course.pass_front()

    def may_do_more(self, course: Course) -> bool:
        """Whether a process may do now what lies after A's end."""
        return self._a_ends.is_after(self.now) and not self._a_ends.has_ended(course.life)

    def is_after_b(self, course: Course, event: int) -> bool:
        """Whether an event of A lies after B's end, and its process was there until then."""
        name = self._names_in_b.get(course.name, course.name)
        life = self._lives_in_b.get(name)
        if life is None or self.b_ends.has_ended(life):
            return False
        return self.b_ends.is_after(self.tape.time[event])
