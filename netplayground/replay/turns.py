"""Whose turn it is to hear something, where several connections of a process could.

In the recording a process reacted to what it heard, on one connection after the other: workers that share a
queue took what was next in it in that order. To be given the same in the same order is not enough for that to
happen again: threads race. So what a client reacts to soon is given when everything that it said before that
reaction has been said: who reacted first hears first, and has a moment to react before the next one hears.

A server does what it is asked in the order in which it is asked, though it may answer in another one (redis
writes the answers of one round in reverse). So it hears in the recorded order, with a moment for each answer.

A moment is all: where the process does not react (it had to hear the other thing first), it goes on, and the
moments become shorter. A process that has not had the processor yet has longer ones. Where nothing follows
soon, nobody waits for anybody.
"""

from __future__ import annotations

from collections.abc import Callable

from netplayground.dump.model import SERVER
from netplayground.replay.clock import TapeClock
from netplayground.replay.course import LONGEST_COURTESY_NS, SHORTEST_COURTESY_NS, Course
from netplayground.replay.part import Part
from netplayground.replay.tape import CHUNK, DATAGRAM, NONE, Tape
from netplayground.replay.waiting import Activity

_SHORT_GAP_NS = 2_000_000
_SOON_NS = 20_000_000  # between what is heard and the reaction, in the recording
_BUSY_TIMES = 10  # a moment is so much longer for a process that runs, or waits for the processor
_FARTHEST = 128  # events that are looked through for what was said before a reaction


class Turns:
    """Decides what goes next to a process, among the events whose time has come."""

    def __init__(
        self, tape: Tape, clock: TapeClock, is_timed: bool, look_at: Callable[[int], Activity]
    ) -> None:
        self._tape = tape
        self._look_at = look_at
        self._clock = clock
        self._is_timed = is_timed

    def choose(self, course: Course, event: int, now: int) -> tuple[int, int]:
        """The event to be given in place of that at the front, most often that one, and when."""
        code = self._tape.code[event]
        if code >= DATAGRAM:
            return event, 0
        part = course.parts.get(self._tape.record[event])
        if part is None or part.side == SERVER:
            return event, self._answer_ends(course, event, part, now)
        before = None
        if code & ~1 == CHUNK:
            before = self._first_said_before(course, part, self._reaction(part, event))
        if before is None:
            return event, self._gap_ends(course, event, part)
        said, other = before
        if other is not None and other.give < said:
            return self._other_first(course, event, other)
        until = self._moment_ends(course, now)
        if until > now:
            return event, until
        course.not_waited_for = said
        return event, self._gap_ends(course, event, part)

    def _answer_ends(self, course: Course, event: int, part: Part | None, now: int) -> int:
        """When a server has had its moment to answer what it was asked last."""
        last, gap_ends = course.last_given, self._gap_ends(course, event, part)
        if last is None or last is part or last.is_waived:
            return gap_ends
        answer = self._reaction(last, course.last_event)
        # What it says only after it has heard more is no answer to what it heard.
        if answer == NONE or answer > last.give or answer == course.not_waited_for:
            return gap_ends
        until = self._moment_ends(course, now)
        if until > now:
            return max(until, gap_ends)
        course.not_waited_for = answer
        return gap_ends

    def _moment_ends(self, course: Course, now: int) -> int:
        """Until when a process has time to react to what it was given last; when that is over, the next
        moment is shorter."""
        until = course.last_given_at + course.courtesy_ns
        if until > now:
            return until
        is_busy = self._look_at(course.process) is Activity.BUSY
        if is_busy and now < course.last_given_at + _BUSY_TIMES * course.courtesy_ns:
            return now + SHORTEST_COURTESY_NS
        course.courtesy_ns = max(SHORTEST_COURTESY_NS, course.courtesy_ns // 2)
        return until

    def reacts(self, course: Course, part: Part) -> None:
        """The process said something that the tape has."""
        if course.last_given is part:
            course.courtesy_ns = min(LONGEST_COURTESY_NS, course.courtesy_ns * 2)

    def _other_first(self, course: Course, event: int, other: Part) -> tuple[int, int]:
        """Another connection's reaction came before: it hears first, if it can."""
        if other.is_full or not other.may_hear():
            return event, 0
        if not self._is_timed:
            return other.give, 0
        at = self._clock.when(self._tape.time[other.give])
        return (event, 0) if at is None else (other.give, at)

    def _reaction(self, part: Part, event: int) -> int:
        """What the process is to say when it has heard an event, and before it hears more; NONE if nothing,
        or much later."""
        said = part.next_said()
        if said == NONE or self._tape.time[said] - self._tape.time[event] > _SOON_NS:
            return NONE
        return said

    def _first_said_before(self, course: Course, part: Part, reaction: int) -> tuple[int, Part | None] | None:
        """The first thing that the process is to say before a reaction, on another connection, and on which;
        None if there is none."""
        tape, events = self._tape, course.events
        last = min(course.index + _FARTHEST, len(events))
        for index in range(course.index + 1, last if reaction != NONE else 0):
            event, side = events[index] >> 1, events[index] & 1
            if event >= reaction:
                return None
            if event == course.not_waited_for or tape.code[event] >= DATAGRAM:
                continue
            if tape.code[event] & ~1 != CHUNK or tape.code[event] & 1 != side:
                continue
            other = course.parts.get(tape.record[event])
            if other is part or other is None or other.is_waived or other.has_done(event):
                continue
            return event, other
        return None

    def _gap_ends(self, course: Course, event: int, part: Part | None) -> int:
        """Between two connections gaps of up to 2 ms stay as they were; a connect (no part yet) races with
        nobody, for the one before it stands."""
        if course.last_given is None or course.last_given is part or part is None:
            return 0
        gap = self._tape.time[event] - self._tape.time[course.last_event]
        return course.last_given_at + max(0, min(_SHORT_GAP_NS, gap))
