"""The decisions of a replay: what live processes do goes in, what they are to hear comes out.

No descriptor, no clock: times are integer nanoseconds of any one clock that never goes back, handed in. What
is to be done is asked of a `Stage`, which must not call back before it returns. After every input, `deadline`
says when `on_timer` wants to be called.

Each live process has its course (course.py) and plays its parts (part.py) for itself; a connection with two
live ends is two parts. An event goes to a process when

1. on its own connection the process has said all that it had said before (`Part.may_hear`);
2. it is at the front of the process's course, or released (`Course.front`);
3. its time has come (`TapeClock`), and the process has had its turn on what it was given before
   (`_turn_ends`).

What comes otherwise goes to the referee. How a run ends is said in waiting.py.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import Protocol

from netplayground.dump.model import CLIENT, SERVER
from netplayground.replay.assignment import Assignment
from netplayground.replay.clock import TapeClock
from netplayground.replay.compare import Mismatch
from netplayground.replay.course import (
    FOREVER,
    LONGEST_COURTESY_NS,
    SHORTEST_COURTESY_NS,
    Course,
    make_courses,
)
from netplayground.replay.masks import Mask
from netplayground.replay.options import OnDivergence, Pace, ReplayOptions
from netplayground.replay.part import Part
from netplayground.replay.referee import Referee
from netplayground.replay.tape import CHUNK, FIN, NOBODY, NONE, RST, SYN, Outcome, Tape
from netplayground.replay.verdict import Verdict
from netplayground.replay.waiting import Activity, Overtime, Patience, Stall

_SHORT_GAP_NS = 2_000_000
_SOON_NS = 5_000_000  # an answer that came so soon in the recording is worth a moment's waiting
_RETRY_NS = 10_000_000
_LAST_WORDS_NS = 250_000_000  # what its kernel has for a process that is gone
_TAIL_NS = 20_000_000  # so long before the recording's end, what comes may as well have come after it


class Answer(Enum):
    """What becomes of a live client's SYN."""

    ACCEPT = "accept"
    REFUSE = "refuse"
    UNREACHABLE = "unreachable"
    SILENCE = "silence"


_ANSWERS = {
    Outcome.REFUSED: Answer.REFUSE,
    Outcome.UNREACHABLE: Answer.UNREACHABLE,
    Outcome.UNANSWERED: Answer.SILENCE,
    Outcome.ABORTED: Answer.SILENCE,
}


class Stage(Protocol):
    """Carries out what the player decides. `part.line` is its own."""

    def start(self, process: int) -> None:
        """The process's time has come."""

    def connect(self, part: Part) -> None:
        """Connect to the live server; answer with `on_connected` or `on_connect_failed`."""

    def give(self, part: Part, offset: int, length: int) -> bool:
        """Hand the process these bytes of the tape's file; whether it is to have no more before
        `on_drained`."""

    def fin(self, part: Part) -> None:
        """Close the direction toward the process, after all that it was given."""

    def reset(self, part: Part) -> None:
        """Abort the connection, after all that the process was given."""

    def signal(self, process: int) -> None:
        """Send the process the kill signal."""

    def look_at(self, process: int) -> Activity:
        """What its threads do."""

    def end(self, why: str) -> None:
        """End the run; comes once."""


class Player:
    """Plays one tape to the live processes, once."""

    def __init__(
        self, tape: Tape, live: Sequence[bool], options: ReplayOptions, masks: Sequence[Mask], stage: Stage
    ) -> None:
        """`live`: for each process of the tape, whether it runs."""
        self._tape = tape
        self._options = options
        self._stage = stage
        self._is_timed = options.pace is Pace.TIMED
        self._is_flood = options.pace is Pace.FLOOD
        self._assignment = Assignment(tape, masks, options.ephemeral)
        self._courses = make_courses(tape, live, self._assignment.is_taken, self._assignment.optional)
        self._referee = Referee(tape, live, self._assignment.optional)
        self._clock = TapeClock(options.speed)
        self._patience = Patience(options, stage.look_at, self._referee)
        self._stall = Stall(tape, self._courses, options, stage.look_at, self._referee)
        self._overtime = Overtime(
            tape, self._courses, options, self._clock, self._referee, stage.look_at, stage.signal
        )
        self._now = 0
        self._time = 0  # on the tape
        self._retries: list[tuple[int, Part]] = []
        self._loose: set[Part] = set()  # diverged, with something left to hear
        self._has_ended = False

    @property
    def assignment(self) -> Assignment:
        """Who plays what."""
        return self._assignment

    # What comes in.

    def start(self, now: int) -> None:
        """The run begins."""
        self._now = now
        self._clock.start(now)
        self._stall.progress(now)
        self._go_on()

    def on_process_started(self, process: int, now: int) -> None:
        """A live process runs."""
        self._begin(now)
        course = self._courses[process]
        self._is_active(course)
        self._go_on(course)

    def on_process_exited(self, process: int, now: int) -> None:
        """A live process's command has ended; what its kernel still says may come after this."""
        self._begin(now)
        self._courses[process].exited_at = now
        self._stall.progress(now)
        self._go_on()

    def on_process_gone(self, process: int, now: int) -> None:
        """Nothing is left of a live process, but for what its kernel still says."""
        self._begin(now)
        course = self._courses[process]
        course.gone_at = now
        course.exited_at = now if course.exited_at is None else course.exited_at
        self._is_active(course)
        self._go_on(course)

    def on_syn(self, client: int, server: int, port: int, now: int) -> tuple[Answer, Part | None]:
        """A live client asks for a connection (a new SYN, not one again); `server` is NOBODY where nobody has
        that address. With ACCEPT comes the part that it plays, from `on_connected` on."""
        self._begin(now)
        course = self._courses[client]
        self._is_active(course)
        record = self._assignment.find(client, server, port)
        part = None
        if record is None:
            answer = Answer.UNREACHABLE if server == NOBODY else Answer.REFUSE
            self._referee.comes_unknown(course, server, port, course.released_up_to())
        else:
            self._stall.progress(now)
            if record.outcome is Outcome.ACCEPTED:
                answer, part = Answer.ACCEPT, self._assignment.cast(course, CLIENT, record)
            else:
                answer = _ANSWERS[record.outcome]
                self._assignment.spend(record)
                self._referee.answers(record)
                if not self._assignment.optional[record.number]:
                    course.remaining -= 1
        self._go_on(course)
        return answer, part

    def on_connected(self, part: Part, now: int) -> None:
        """A connection stands, with a live client or a live server."""
        self._begin(now)
        part.is_connected = True
        self._is_active(part.course)
        self._stall.progress(now)
        self._release(part)
        self._go_on(part.course)

    def on_connect_failed(self, part: Part, now: int) -> None:
        """What `Stage.connect` was for came to nothing, and is tried again as long as the stall rule lets it;
        or a live client gave up before its connection stood."""
        self._begin(now)
        if part.side == SERVER:
            self._retries.append((now + _RETRY_NS, part))
        else:
            self._assignment.release(part)
            part.is_over = True
        self._go_on(part.course)

    def on_bytes(self, part: Part, data: memoryview, now: int) -> None:
        """The live process of the part said something; `data` is not kept."""
        self._begin(now)
        self._is_active(part.course)
        if part.has_diverged:
            part.has_spoken, part.quiet_since = True, now
        elif not part.is_over:
            before = part.comparison.position
            mismatch = part.comparison.feed(data)
            if mismatch is not None:
                self._leave(part, mismatch, data)
            elif part.comparison.position > before:
                self._answers(part)
            self._release(part)
            self._check(part)
        self._go_on(part.course)

    def on_fin(self, part: Part, now: int) -> None:
        """The live process of the part has said its last byte."""
        self._begin(now)
        self._is_active(part.course)
        part.fin_seen = True
        if part.has_diverged:
            part.has_spoken, part.quiet_since = True, now
        elif not part.is_over:
            self._close(part)
            self._release(part)
            self._check(part)
        self._go_on(part.course)

    def on_reset(self, part: Part, now: int) -> None:
        """The live process of the part aborted the connection."""
        self._begin(now)
        self._is_active(part.course)
        part.rst_seen = True
        if not (part.has_diverged or part.is_settled or part.is_over):
            self._abort(part)
        self._finish_part(part)
        self._go_on(part.course)

    def on_closed(self, part: Part, now: int) -> None:
        """Both directions of the part's connection are closed, and the process has everything."""
        self._begin(now)
        self._finish_part(part)
        self._go_on(part.course)

    def on_drained(self, part: Part, now: int) -> None:
        """The process may be given more on this part."""
        self._begin(now)
        part.is_full = False
        self._is_active(part.course)
        self._stall.progress(now)
        self._release(part)
        self._go_on(part.course)

    def on_timer(self, now: int) -> None:
        """Time has passed."""
        self._begin(now)
        self._retry()
        for part in list(self._loose):
            self._play_loosely(part)
        for course in self._courses.values():
            self._advance(course)
            if self._patience.has_run_out(course, now):
                self._advance(course)
        self._go_on()
        if self._has_ended:
            return
        if self._overtime.has_begun:
            if self._overtime.is_in_vain(now):
                self._end("a process does not exit")
        elif not self._goes_on_by_itself() and self._stall.has_stalled(now):
            self._end("stalled")

    def finish(self, now: int) -> Verdict:
        """The run is over: what has not come by now is missing. Once, at the end."""
        self._begin(now)
        for course in self._courses.values():
            self._bury(course)
        return self._referee.verdict()

    # Between inputs.

    def deadline(self) -> int | None:
        """When `on_timer` wants to be called, whatever happens before; None: not at all."""
        first = min((at for at, _ in self._retries), default=FOREVER)
        for part in self._loose:
            if part.has_spoken:
                first = min(first, part.quiet_since + self._options.patience_ns)
        for course in self._courses.values():
            if not course.has_started:
                first = min(first, self._start_time(course))
            elif not course.died:
                first = min(first, course.wake, self._patience.next_look(course))
                if course.gone_at is not None:
                    first = min(first, course.idle_since + _LAST_WORDS_NS)
        if not self._has_ended:
            first = min(first, self._next_look_at_the_end())
        return None if first >= FOREVER else max(first, self._now)

    def _next_look_at_the_end(self) -> int:
        if self._overtime.has_begun:
            return self._overtime.next_look()
        begins_at = self._overtime.begins_at(self._now)
        if begins_at < FOREVER or self._goes_on_by_itself():
            return begins_at
        return self._stall.next_look()

    def _begin(self, now: int) -> None:
        """Something comes: what the clock says before anything changes."""
        self._now = now
        self._time = self._clock.advance(now)

    def _go_on(self, course: Course | None = None) -> None:
        """Something came: go on as far as that lets the tape go on."""
        if course is not None:
            self._advance(course)
        for each in self._courses.values():
            if not each.has_started:
                self._start_if_due(each)
            elif each.gone_at is not None and not each.died:
                self._bury_if_silent(each)
        if self._is_timed:
            self._set_limit()
        if self._referee.has_diverged and self._options.on_divergence is OnDivergence.STOP:
            self._end("diverged")
        if not self._overtime.has_begun and self._overtime.begins_at(self._now) <= self._now:
            self._overtime.begin(self._now)

    def _start_if_due(self, course: Course) -> None:
        if self._start_time(course) <= self._now:
            course.has_started = True
            self._is_active(course)
            self._stage.start(course.process)

    def _start_time(self, course: Course) -> int:
        if not self._is_timed:
            return 0
        at = self._clock.when(course.life.started_ns or 0)
        return FOREVER if at is None else at

    def _set_limit(self) -> None:
        """The tape's clock goes no further than what is awaited first; where it goes on, processes may."""
        limit: int | None = None
        for course in self._courses.values():
            if course.is_awaiting and not course.died:
                time = self._tape.time[course.released_up_to()]
                limit = time if limit is None else min(limit, time)
        if limit != self._clock.limit:
            self._clock.limit = limit
            for course in self._courses.values():
                if not course.is_awaiting:
                    self._advance(course)

    def _goes_on_by_itself(self) -> bool:
        """Whether something is due at a time that is known."""
        if any(part.has_spoken for part in self._loose):
            return True
        return any(
            course.wake < FOREVER if course.has_started else self._start_time(course) < FOREVER
            for course in self._courses.values()
            if not course.died
        )

    def _is_active(self, course: Course) -> None:
        course.idle_since = self._now
        course.is_resigned = False

    # What is given.

    def _advance(self, course: Course) -> None:
        """Give the process what it may hear now; `course.wake` is when the next may go."""
        course.wake = FOREVER
        while not course.died:
            event = course.front()
            if event == NONE:
                return
            if course.is_awaiting:
                if not self._is_flood:
                    return
                course.give_up_before(event + 1, CLIENT)
                continue
            at = self._when(course, event)
            if at > self._now:
                course.wake = at
                return
            self._play(course, event)

    def _when(self, course: Course, event: int) -> int:
        """When the event at the front of a course may go; FOREVER while something else must come first."""
        part = course.parts.get(self._tape.record[event])
        if part is not None and part.is_full:
            return FOREVER
        if self._is_flood:
            return 0
        turn = self._turn_ends(course, event, part)
        if not self._is_timed:
            return turn
        at = self._clock.when(self._tape.time[event])
        return FOREVER if at is None else max(at, turn)

    def _turn_ends(self, course: Course, event: int, part: Part | None) -> int:
        """When a process has had its turn on the connection on which it was given something last.

        Between two connections gaps of up to 2 ms stay. And where it answered soon in the recording, it has a
        moment for that now: else workers that share a queue race for what is next in it.
        """
        last = course.last_given
        if last is None or last is part:
            return 0
        time = self._tape.time
        since = time[course.last_event]
        turn = course.last_given_at + min(_SHORT_GAP_NS, time[event] - since)
        answer = NONE if last.is_waived else last.next_said()
        if answer == NONE or time[answer] - since > _SOON_NS:
            return turn
        longest = course.last_given_at + course.courtesy_ns
        if longest > self._now:
            return max(turn, longest)
        course.courtesy_ns = max(SHORTEST_COURTESY_NS, course.courtesy_ns // 2)
        course.last_given = None
        return turn

    def _answers(self, part: Part) -> None:
        """The process said something that the tape has."""
        self._stall.progress(self._now)
        course = part.course
        if course.last_given is part:
            course.courtesy_ns = min(LONGEST_COURTESY_NS, course.courtesy_ns * 2)

    def _play(self, course: Course, event: int) -> None:
        """Give the event at the front."""
        number = self._tape.record[event]
        if self._tape.code[event] == SYN:
            part = self._assignment.cast(course, SERVER, self._tape.records[number])
            self._stage.connect(part)
        else:
            part = course.parts[number]
            self._give(part)
        course.last_given, course.last_event, course.last_given_at = part, event, self._now

    def _give(self, part: Part) -> None:
        """The next event for it to hear goes."""
        tape, event = self._tape, part.give
        what = tape.code[event] & ~1
        if what == CHUNK:
            length = tape.length[event] - part.into
            part.is_full = self._stage.give(part, tape.offset[event] + part.into, length)
        elif what == FIN:
            self._stage.fin(part)
        else:
            self._stage.reset(part)
        part.step()
        self._is_active(part.course)
        self._stall.progress(self._now)
        self._check(part)
        if what == RST:
            self._finish_part(part)

    def _release(self, part: Part) -> None:
        """Give what lies behind the front already, as far as its own connection has come."""
        limit = part.course.released_up_to()
        while part.give < limit and not (part.is_full or part.is_waived):
            if not (part.may_hear() or (self._is_flood and part.is_connected)):
                return
            self._give(part)

    def _play_loosely(self, part: Part) -> None:
        """A diverged part hears its next event when it has said something since the last, and been quiet."""
        is_quiet = part.has_spoken and self._now >= part.quiet_since + self._options.patience_ns
        if is_quiet and not (part.is_full or part.give == NONE or part.is_over):
            part.has_spoken = False
            self._give(part)
        if part.give == NONE or part.is_over:
            self._loose.discard(part)
            self._settle(part)

    def _retry(self) -> None:
        """Connect again to servers that were not up yet."""
        due = [part for at, part in self._retries if at <= self._now]
        self._retries = [entry for entry in self._retries if entry[0] > self._now]
        for part in due:
            if not (part.course.died or part.is_over):
                self._stage.connect(part)

    # What is said.

    def _leave(self, part: Part, mismatch: Mismatch, data: memoryview) -> None:
        """What it says is not what its record says: is there another record for it?"""
        if self._rematch(part, data):
            return
        if mismatch.is_extra and part.record.is_open and self._is_beyond_tape(part.course):
            self._referee.notes["connections that went on after the recording's end"] += 1
            self._settle(part)
            part.has_diverged = True
            return
        self._referee.differs(part, mismatch)
        self._diverge(part)

    def _rematch(self, part: Part, data: memoryview | None) -> bool:
        has_begun = part.comparison.position > 0 or part.given > 0
        ends = self._assignment.rematch(part, data)
        if ends is None:
            return False
        self._referee.rematched += has_begun
        self._stall.progress(self._now)
        for end in ends:
            if end is not part:
                self._release(end)
                self._check(end)
        return True

    def _is_beyond_tape(self, course: Course) -> bool:
        """Whether what a process does now lies where the recording had ended."""
        if course.index < len(course.events):
            return False
        mark = self._tape.mark_ns
        if self._tape.is_torn or mark is None:
            return self._tape.is_torn
        return not self._is_timed or self._time >= mark - _TAIL_NS

    def _close(self, part: Part) -> None:
        """The process closed its direction: was that all?"""
        mismatch = part.comparison.finish()
        if mismatch is None and part.said_all:
            self._stall.progress(self._now)
        elif not self._rematch(part, None):
            if self._is_silent_client(part):
                self._leave_silently(part)
            elif mismatch is not None:
                self._referee.differs(part, mismatch)
                self._diverge(part)
            else:
                self._referee.lacks(part, "closed it")
                self._diverge(part)

    def _abort(self, part: Part) -> None:
        """The process aborted: was it to?"""
        record, side = part.record, part.side
        was_to = record.rsts[side] != NONE
        if not part.said_all:
            if self._is_silent_client(part):
                self._leave_silently(part)
            else:
                self._referee.lacks(part, "aborted it")
                self._diverge(part)
        elif was_to or part.heard_all:
            if not was_to:
                self._referee.notes["connections aborted after everything was said and heard"] += 1
            elif not part.heard_all:
                self._referee.notes["connections aborted a little earlier than recorded"] += 1
            self._settle_as_recorded(part)
        else:
            what = "closed it in order" if record.fins[side] != NONE else "kept it open"
            self._referee.closes_otherwise(part, f"aborted it; in the recording it {what}")
            self._diverge(part)

    @staticmethod
    def _is_silent_client(part: Part) -> bool:
        return part.side == CLIENT and not (part.comparison.position or part.given)

    def _leave_silently(self, part: Part) -> None:
        """A connection on which nothing was said: its record is for another one."""
        self._referee.notes["connections without a byte"] += 1
        self._assignment.release(part)
        part.has_diverged = part.is_settled = True
        if not part.rst_seen:
            self._stage.fin(part)

    def _check(self, part: Part) -> None:
        """Whether the part has come to its recorded end."""
        if not (part.is_settled or part.has_diverged) and part.has_closed_as_recorded():
            self._stall.progress(self._now)
            self._settle_as_recorded(part)

    def _settle_as_recorded(self, part: Part) -> None:
        self._referee.settles(part)
        self._settle(part)

    def _settle(self, part: Part) -> None:
        """Nothing more is awaited of the part, nor is there anything for it to hear."""
        if not part.is_settled:
            part.is_settled = True
            self._referee.counts(part)
            if not self._assignment.optional[part.record.number]:
                part.course.remaining -= 1

    def _diverge(self, part: Part) -> None:
        """From here on the part is no longer compared."""
        part.has_diverged = part.has_spoken = True
        part.quiet_since = self._now
        self._stall.progress(self._now)
        if part.give == NONE or part.is_over:
            self._settle(part)
        else:
            self._loose.add(part)

    def _finish_part(self, part: Part) -> None:
        """The part's connection is over, however."""
        part.is_over = True
        self._loose.discard(part)
        part.course.open_parts.discard(part)
        if not (part.is_settled or part.has_diverged):
            self._judge_end(part)
        self._settle(part)

    def _judge_end(self, part: Part) -> None:
        """It is over, and did not come to its recorded end."""
        if part.has_closed_as_recorded():
            self._settle_as_recorded(part)
        elif not part.said_all:
            self._referee.lacks(part, "ended")
        elif part.heard_all:
            self._referee.notes["connections that ended otherwise after everything was said and heard"] += 1
            self._settle_as_recorded(part)
        else:
            self._referee.closes_otherwise(part, "ended it before it had heard everything")

    # The end.

    def _bury_if_silent(self, course: Course) -> None:
        if not course.open_parts or self._now >= course.idle_since + _LAST_WORDS_NS:
            self._bury(course)

    def _bury(self, course: Course) -> None:
        """Nothing more will come of a process: what it has not done is missing."""
        if course.died:
            return
        for part in list(course.open_parts):
            if not (part.is_settled or part.has_diverged):
                self._miss(part)
            self._settle(part)
        for record in self._tape.records:
            if course.process in record.processes and not self._assignment.optional[record.number]:
                side = CLIENT if record.processes[CLIENT] == course.process else SERVER
                is_played = side == CLIENT or record.outcome is Outcome.ACCEPTED
                if is_played and not (record.number in course.parts or self._referee.is_judged(record, side)):
                    self._referee.comes_not(course, record, side)
        course.died = True
        course.remaining = 0
        course.wake = FOREVER

    def _miss(self, part: Part) -> None:
        if self._referee.is_judged(part.record, part.side):
            return
        if part.side == SERVER and not part.is_connected:
            self._referee.comes_not(part.course, part.record, SERVER)
        elif not part.said_all:
            self._referee.lacks(part, "said nothing more")
        elif not part.heard_all:
            if not self._referee.has_diverged:
                self._referee.closes_otherwise(part, "was not there to hear the rest")
        elif part.record.fins[part.side] != NONE or part.record.rsts[part.side] != NONE:
            self._referee.closes_otherwise(part, "did not close it")

    def _end(self, why: str) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._stage.end(why)
