"""How long a live process is waited for, and when the tape can go no further.

Patience: a process that has been idle for so long longer than in the recording is given something else, if
there is anything that its own connection allows. Stall: when nothing at all has gone on for so long longer,
the run ends. At the end of the tape: who had ended by itself in the recording has that time to do it again.

An overdue process is looked at now and then. While one of its threads runs, sleeps uninterruptibly or is
stopped, its patience stands still, and the stall time too; but not for ever: a process that only spins, or
that has left the tape already, is not waited for without end, unless it is stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import Enum

from netplayground.dump.model import SERVER
from netplayground.replay.clock import TapeClock
from netplayground.replay.course import FOREVER, HEARS, Course
from netplayground.replay.options import SECOND_NS, Pace, ReplayOptions
from netplayground.replay.referee import Referee
from netplayground.replay.tape import NONE, Tape

_LOOK_NS = 50_000_000
_STALL_LOOK_NS = 250_000_000
_MOST_BUSY = 10  # stall times


class Activity(Enum):
    """What a process's threads do while the tape waits for it."""

    IDLE = "idle"
    BUSY = "busy"  # one runs, or is in uninterruptible sleep
    STOPPED = "stopped"  # by a debugger, or a signal


class Patience:
    """Watches the processes whose next doing stands at the front of their course."""

    def __init__(self, options: ReplayOptions, look_at: Callable[[int], Activity], referee: Referee) -> None:
        self._patience = options.patience_ns
        self._is_strict = options.strict_order
        self._step = max(1_000_000, min(_LOOK_NS, options.patience_ns // 4))
        self._look_at = look_at
        self._referee = referee

    def next_look(self, course: Course) -> int:
        """When to look at a process; FOREVER while there is no need."""
        if not course.is_awaiting or course.is_resigned or course.died or not course.has_started:
            return FOREVER
        overdue = course.idle_since + course.idle_in_recording()
        return max(overdue, course.looked_at) + self._step

    def has_run_out(self, course: Course, now: int) -> bool:
        """Look at a process, if it is time; whether its course goes on without what was awaited."""
        if now < self.next_look(course):
            return False
        instead = _instead(course)
        if instead is None:
            course.is_resigned = True  # until it does or hears something
            return False
        since = now - max(course.idle_since + course.idle_in_recording(), course.looked_at)
        course.looked_at = now
        if self._look_at(course.process) is not Activity.IDLE:
            course.idle_since += since
        else:
            # A look that comes late finds who could not be heard meanwhile: what we overslept does not count.
            course.idle_since += since - self._step
        if now - course.idle_since - course.idle_in_recording() < self._patience:
            return False
        course.give_up_before(*instead)
        course.idle_since = now
        self._referee.reordered += 1
        if self._is_strict:
            self._referee.reorders(course, *instead)
        return True


def _instead(course: Course) -> tuple[int, int] | None:
    """The earliest event behind the front that could go if nothing before it were awaited, and its side."""
    first = course.released_up_to()
    found = [
        (part.give, part.side)
        for part in course.open_parts
        if not (part.is_waived or part.is_full) and part.give > first and part.may_hear()
    ]
    connect = course.next_connect()
    if connect != NONE:
        found.append((connect, SERVER))
    datagram = course.next_datagram()
    if datagram != NONE:
        found.append((datagram, HEARS))
    return min(found, default=None)


class Stall:
    """Notices that the tape waits in vain."""

    def __init__(
        self,
        tape: Tape,
        courses: Mapping[int, Course],
        options: ReplayOptions,
        look_at: Callable[[int], Activity],
        referee: Referee,
    ) -> None:
        self._tape = tape
        self._courses = courses
        # Patience runs out before that.
        self._stall = max(options.stall_ns, 2 * options.patience_ns) if options.stall_ns else 0
        self._look_at = look_at
        self._referee = referee
        self._since = 0  # when something went on last, and the time since then that does not count
        self._looked_at = 0
        self._busy = 0

    def progress(self, now: int) -> None:
        """The tape has gone on."""
        self._since = self._looked_at = now
        self._busy = 0

    def next_look(self) -> int:
        """When to look, while the tape waits for live processes only."""
        if not self._stall:
            return FOREVER
        return min(self._looked_at + _STALL_LOOK_NS, max(self._looked_at, self._due()) + 1)

    def has_stalled(self, now: int) -> bool:
        """Look whether the waiting is over; what was awaited is told to the referee."""
        if now < self.next_look():
            return False
        waiting = self._first_waiting()
        if waiting is not None:
            self._excuse(self._look_at(waiting.process), now)
        self._looked_at = now
        if now <= self._due():
            return False
        self._tell(waiting)
        return True

    def _due(self) -> int:
        waiting = self._first_waiting()
        return self._since + self._stall + (waiting.idle_in_recording() if waiting is not None else 0)

    def _excuse(self, activity: Activity, now: int) -> None:
        """Time in which a process computes, or is stopped, does not count."""
        since = now - self._looked_at
        if (
            activity is Activity.BUSY
            and not self._referee.has_diverged
            and self._busy < _MOST_BUSY * self._stall
        ):
            self._busy += since
            self._since += since
        elif activity is Activity.STOPPED:
            self._since += since

    def _first_waiting(self) -> Course | None:
        """The process that is to do what comes first on the tape."""
        waiting = [
            course
            for course in self._courses.values()
            if course.index < len(course.events) and not course.died
        ]
        return min(waiting, key=Course.released_up_to, default=None)

    def _tell(self, course: Course | None) -> None:
        if course is not None:
            entry = course.events[course.index]
            self._referee.stalls(course, entry >> 1, entry & 1, self._stall / SECOND_NS)
            return
        for course in self._courses.values():
            for number, side in course.own_records() if course.remaining and not course.died else ():
                record = self._tape.records[number]
                if not self._referee.is_judged(record, side):
                    self._referee.stalls(course, record.syn, side, self._stall / SECOND_NS)
                    return


class Overtime:
    """The end: all is played and heard, and processes are still there."""

    def __init__(
        self,
        tape: Tape,
        courses: Mapping[int, Course],
        options: ReplayOptions,
        clock: TapeClock,
        referee: Referee,
        look_at: Callable[[int], Activity],
        signal: Callable[[int], None],
    ) -> None:
        self._tape = tape
        self._courses = courses
        self._options = options
        self._clock = clock
        self._referee = referee
        self._look_at = look_at
        self._signal = signal
        self._exit_by: dict[int, int] = {}
        self._looked_at = 0
        self.has_begun = False

    def begins_at(self, now: int) -> int:
        """When the end begins: at the recording's own, where that is told and time counts, else soon after
        the last event; FOREVER while something is left to be played or heard."""
        for course in self._courses.values():
            is_at_end = course.index >= len(course.events) and not course.remaining
            if not course.died and not (is_at_end and course.is_running):
                return FOREVER
        mark = self._tape.mark_ns
        if mark is None or self._options.pace is not Pace.TIMED:
            return max(now, self._last_words_are_read())
        at = self._clock.when(mark)
        return FOREVER if at is None else max(now, at)

    def _last_words_are_read(self) -> int:
        """When who is to be ended has had a moment for what it was given last, as in the recording."""
        mark, quiet = self._tape.mark_ns, self._options.patience_ns
        if mark is not None and self._tape.time:
            quiet = min(quiet, max(0, mark - self._tape.time[-1]))
        there = [course.idle_since for course in self._courses.values() if course.exited_at is None]
        return max(there, default=0) + quiet

    def begin(self, now: int) -> None:
        """Who was ended by plg in the recording is ended now; the others have their time."""
        self.has_begun = True
        self._looked_at = now
        time = self._clock.advance(now)
        for course in self._courses.values():
            if course.exited_at is not None:
                continue
            life = course.life
            if life.ended_ns is not None:
                self._exit_by[course.process] = now + max(0, life.ended_ns - time) + self._options.stall_ns
            elif life.was_ended_by_plg or not course.opens_connections:
                self._end(course)
            else:  # nobody knows how it ended: a client most often does so by itself
                self._exit_by[course.process] = now + self._options.stall_ns

    def next_look(self) -> int:
        """When to look again; FOREVER while there is no need."""
        if not self._exit_by or not self._options.stall_ns:
            return FOREVER
        return self._looked_at + _STALL_LOOK_NS

    def is_in_vain(self, now: int) -> bool:
        """Look who has not exited; whether one has had its time."""
        if now < self.next_look():
            return False
        since, self._looked_at = now - self._looked_at, now
        for process in list(self._exit_by):
            course = self._courses[process]
            if course.exited_at is not None:
                del self._exit_by[process]
            elif self._look_at(process) is Activity.STOPPED:
                self._exit_by[process] += since
            elif now >= self._exit_by[process]:
                if course.life.ended_ns is not None:
                    self._referee.stays(course, self._options.stall_ns / SECOND_NS)
                    return True
                del self._exit_by[process]
                self._end(course)
        return False

    def _end(self, course: Course) -> None:
        if not course.is_signalled:
            course.is_signalled = True
            self._signal(course.process)
