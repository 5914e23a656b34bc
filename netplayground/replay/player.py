"""The decisions of a replay: what live processes do goes in, what they are to hear comes out.

No descriptor, no clock: times are integer nanoseconds of any one clock that never goes back, handed in. What
is to be done is asked of a `Stage`, which must not call back before it returns. After every input, `deadline`
says when `on_timer` wants to be called.

Each live process has its course (course.py) and plays its parts (part.py) for itself; a connection with two
live ends is two parts. An event goes to a process when

1. on its own connection the process has said all that it had said before (`Part.may_hear`);
2. it is at the front of the process's course, or released (`Course.front`);
3. its time has come (`TapeClock`), and no other connection's turn is before it (`Turns`).

What comes otherwise goes to the referee. How a run ends is said in waiting.py.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from netplayground.dump.model import CLIENT, SERVER
from netplayground.replay import judge as judging
from netplayground.replay.assignment import Assignment
from netplayground.replay.clock import TapeClock
from netplayground.replay.content import Content
from netplayground.replay.course import (
    FOREVER,
    Course,
    make_courses,
)
from netplayground.replay.exchange import Exchange, Said
from netplayground.replay.flows import Letter
from netplayground.replay.judge import Judge
from netplayground.replay.loose import Loose
from netplayground.replay.masks import Mask
from netplayground.replay.options import OnDivergence, Pace, ReplayOptions
from netplayground.replay.part import Part
from netplayground.replay.post import PostOffice
from netplayground.replay.referee import Referee
from netplayground.replay.stage import ANSWERS, Answer, Stage
from netplayground.replay.tape import CHUNK, DATAGRAM, FIN, NOBODY, NONE, RST, SYN, Outcome, Record, Tape
from netplayground.replay.turns import Turns
from netplayground.replay.verdict import Divergence, Verdict
from netplayground.replay.waiting import Overtime, Patience, Stall

_RETRY_NS = 10_000_000
_LAST_WORDS_NS = 250_000_000  # what its kernel has for a process that is gone
_TAIL_NS = 20_000_000  # at most so long before the recording's end, what comes may have come after it
# A capture does not tell when its servers were started, only that they were up when it began.
_LEAD_NS = 1_000_000_000


def _comes_first(course: Course) -> bool:
    """Whether nobody knows when a process was started, and others connect to it."""
    return course.life.started_ns is None and len(course.connects) > 0 and not course.opens_connections


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
        content = Content(options.echo, masks)
        self._exchange = Exchange(tape, options.udp, content)
        self._courses = make_courses(
            tape, live, self._assignment.is_taken, self._assignment.optional, self._exchange
        )
        self._referee = Referee(tape, live, self._assignment.optional)
        self._clock = TapeClock(options.speed)
        self._turns = Turns(tape, self._clock, self._is_timed, stage.look_at)
        self._patience = Patience(options, stage.look_at, self._referee)
        self._stall = Stall(tape, self._courses, options, stage.look_at, self._referee)
        self._overtime = Overtime(
            tape, self._courses, options, self._clock, self._referee, stage.look_at, stage.signal
        )
        self._loose = Loose(options.patience_ns)
        self._judge = Judge(tape, self._assignment, self._referee, self._loose, self._is_beyond_tape)
        self._post = PostOffice(tape, self._exchange, self._referee, self._may_say_more)
        for course in self._courses.values():
            self._post.expect_of(course)
        # Where the tape ends: at the mark, else with its last event.
        self._tape_end = tape.mark_ns if tape.mark_ns is not None else tape.time[-1] if tape.time else 0
        self._began = 0
        self._now = 0
        self._time = 0  # on the tape
        self._retries: deque[tuple[int, Part]] = deque()
        self._has_ended = False
        self._is_incomplete = False  # a process went before it had done and heard all

    @property
    def assignment(self) -> Assignment:
        """Who plays what."""
        return self._assignment

    @property
    def found(self) -> tuple[Divergence, ...]:
        """The divergences so far, in recorded order."""
        return self._referee.divergences

    def said_by_now(self, process: int) -> dict[int, tuple[int, int]]:
        """How much of which recorded connection had been said when a live process had come as far as it has
        now: (by its client, by its server), in bytes."""
        tape, last = self._tape, self._courses[process].last_passed()
        found: dict[int, list[int]] = {}
        for event in range(last + 1):
            code = tape.code[event]
            if code < DATAGRAM:
                said = found.setdefault(tape.records[tape.record[event]].identity, [0, 0])
                said[code & 1] = max(said[code & 1], tape.upto[event])
        return {identity: (client, server) for identity, (client, server) in found.items()}

    def have_caught_up(self, process: int) -> bool:
        """Whether the other live processes have come as far as this one."""
        last = self._courses[process].last_passed()
        return all(
            course.died or course.released_up_to() > last
            for course in self._courses.values()
            if course.process != process
        )

    @property
    def is_at_end(self) -> bool:
        """Whether all was played and heard, and what is left is for processes to exit."""
        return self._overtime.has_begun

    @property
    def divergences(self) -> int:
        """So many were found so far."""
        return self._referee.count

    def position(self, now: int) -> tuple[int, int]:
        """How far the tape is, and its length: what is behind the front of every process; in ns."""
        end = self._tape_end
        fronts = (course.released_up_to() for course in self._courses.values() if not course.died)
        position = min((self._tape.time[event] for event in fronts if event != NONE), default=end)
        if self._is_timed:
            position = min(position, max(0, self._clock.advance(now)))
        return min(position, end), end

    # What comes in.

    def start(self, now: int) -> None:
        """The run begins; the tape a moment later, where a server must come up first."""
        self._now = now
        self._began = now + (_LEAD_NS if any(map(_comes_first, self._courses.values())) else 0)
        self._clock.start(self._began)
        self._stall.progress(now)
        self._go_on()

    def on_process_started(self, process: int, now: int) -> None:
        """A live process runs."""
        self._begin(now)
        course = self._courses[process]
        course.is_running = True
        self._is_active(course)
        self._go_on(course)

    def on_process_exited(self, process: int, now: int) -> None:
        """A live process's command has ended; what its kernel still says may come after this."""
        self._begin(now)
        self._courses[process].is_running = True  # or was
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
        if record is None:
            answered = self._answer_unknown(course, server, port)
        else:
            answered = self._answer(course, record)
        self._go_on(course)
        return answered

    def _answer(self, course: Course, record: Record) -> tuple[Answer, Part | None]:
        """A live client's connect takes a record."""
        self._stall.progress(self._now)
        if record.outcome is Outcome.ACCEPTED:
            return Answer.ACCEPT, self._assignment.cast(course, CLIENT, record)
        self._assignment.spend(record)
        self._referee.answers(record)
        if not self._assignment.optional[record.number]:
            course.remaining -= 1
        return ANSWERS[record.outcome], None

    def _answer_unknown(self, course: Course, server: int, port: int) -> tuple[Answer, Part | None]:
        """There is no record for a live client's connect."""
        usual = self._assignment.usual(course.process, server, port)
        if usual is not None:
            self._referee.notes[judging.MORE_REFUSED] += 1
            return ANSWERS[usual.outcome], None
        unused = self._assignment.find_unused(course, server, port)
        if unused is not None:
            record = unused.record
            self._judge.spare(unused)
            return Answer.ACCEPT, self._assignment.cast(course, CLIENT, record)
        if self._is_beyond_tape(course) and not self._has_ended_on_tape(course):
            self._referee.notes[judging.LATE] += 1
        else:
            self._referee.comes_unknown(course, server, port, course.released_up_to())
        return Answer.UNREACHABLE if server == NOBODY else Answer.REFUSE, None

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
            if not part.is_spare:
                self._assignment.release(part)
            part.course.open_parts.discard(part)
            part.is_over = True
        self._go_on(part.course)

    def on_bytes(self, part: Part, data: memoryview, now: int) -> None:
        """The live process of the part said something; `data` is not kept."""
        self._begin(now)
        self._is_active(part.course)
        if part.is_spare and not self._judge.use(part):
            self._stage.reset(part)
            self._judge.ends(part)
        elif part.has_diverged:
            self._loose.speaks(part, now)
        elif not part.is_over:
            before = part.comparison.position
            moved = self._judge.says(part, data, now)
            if part.comparison.position > before:
                self._answers(part)
            self._follow(part, moved)
        self._go_on(part.course)

    def on_fin(self, part: Part, now: int) -> None:
        """The live process of the part has said its last byte."""
        self._begin(now)
        self._is_active(part.course)
        part.fin_seen = True
        if part.has_diverged:
            self._loose.speaks(part, now)
        elif not (part.is_over or part.is_spare):
            moved = self._judge.closes(part, now)
            self._stall.progress(now)
            self._follow(part, moved)
        if part.is_spare:
            self._stage.fin(part)
        self._go_on(part.course)

    def on_reset(self, part: Part, now: int) -> None:
        """The live process of the part aborted the connection."""
        self._begin(now)
        self._is_active(part.course)
        part.rst_seen = True
        moved: Sequence[Part] = ()
        if not (part.has_diverged or part.is_settled or part.is_over):
            moved = self._judge.closes(part, now)
            self._stall.progress(now)
        self._judge.ends(part)
        self._follow(part, moved)
        self._go_on(part.course)

    def on_closed(self, part: Part, now: int) -> None:
        """Both directions of the part's connection are closed, and the process has everything."""
        self._begin(now)
        self._judge.ends(part)
        self._go_on(part.course)

    def on_drained(self, part: Part, now: int) -> None:
        """The process may be given more on this part."""
        self._begin(now)
        part.is_full = False
        self._is_active(part.course)
        self._stall.progress(now)
        if part.has_diverged:
            self._loose.drains(part, now)
        self._release(part)
        self._go_on(part.course)

    def on_datagram(self, letter: Letter, version: int, now: int) -> None:
        """A live process said what is not TCP; `version` is IP's."""
        self._begin(now)
        course = self._courses[letter.sender]
        self._is_active(course)
        said, event = self._post.takes(course, letter, version)
        if event != NONE and course.late:
            for late in course.late.pop(self._tape.ports_of(event)[0], ()):
                self._deliver(course, late)
        if said is Said.FOUND:
            self._stall.progress(now)
        elif said is Said.REPEATED:
            for answer in self._exchange.answers_again(event, course.process):
                self._hand_over(course, answer)
        elif letter.is_echo_request and letter.receiver not in (NOBODY, *self._courses):
            self._stage.deliver(course.process, self._exchange.reply_to_echo(letter, version), False)
        self._go_on(course)

    def _follow(self, part: Part, moved: Sequence[Part]) -> None:
        """A part, and others that had to make room for it, have come further."""
        for end in (part, *moved):
            self._release(end)
            self._check(end)

    def on_timer(self, now: int) -> None:
        """Time has passed."""
        self._begin(now)
        self._retry()
        while (part := self._loose.take_due(now)) is not None:
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
        is_over = not (self._is_incomplete or any(course.remaining for course in self._courses.values()))
        for course in self._courses.values():
            self._bury(course)
        for course in self._courses.values():
            for part in course.parts.values():
                self._referee.counts(part)
        return self._referee.verdict(is_over)

    # Between inputs.

    def deadline(self) -> int | None:
        """When `on_timer` wants to be called, whatever happens before; None: not at all."""
        first = self._loose.next_due()
        if self._retries:
            first = min(first, self._retries[0][0])
        for course in self._courses.values():
            if not course.has_started:
                first = min(first, self._start_time(course))
            elif not course.died:
                first = min(first, course.wake, course.knocks_at, self._patience.next_look(course))
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
        if _comes_first(course):
            return 0
        if not self._is_timed:
            return self._began
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
        course.wake = course.knocks_at = FOREVER
        if self._now < self._began:
            course.wake = self._began
            return
        while course.is_running and not course.died:
            event = course.front()
            if event == NONE or (course.is_awaiting and not self._is_flood):
                return
            is_passed = course.is_awaiting or course.is_held
            at = self._when(course, event)
            if at > self._now:
                course.wake = at
                return
            if is_passed:
                if course.is_held and self._tape.code[event] >= DATAGRAM:
                    self._keep(course, event)
                course.pass_front()
                continue
            event, at = (event, 0) if self._is_flood else self._turns.choose(course, event, self._now)
            if at > self._now:
                course.wake = at
                return
            if not self._play(course, event):
                course.knocks_at = self._now + _RETRY_NS
                return

    def _when(self, course: Course, event: int) -> int:
        """When the event at the front of a course may go; FOREVER while something else must come first."""
        is_datagram = self._tape.code[event] >= DATAGRAM
        part = None if is_datagram else course.parts.get(self._tape.record[event])
        if self._is_flood and (part is None or not part.is_full or course.is_awaiting):
            return 0
        if part is not None and part.is_full and not course.is_held:
            return FOREVER
        if not self._is_timed:
            return 0
        at = self._clock.when(self._tape.time[event])
        return FOREVER if at is None else at

    def _answers(self, part: Part) -> None:
        """The process said something that the tape has."""
        self._stall.progress(self._now)
        self._turns.reacts(part.course, part)

    def _play(self, course: Course, event: int) -> bool:
        """Give the event at the front; False when the process is not there to hear it yet."""
        if self._tape.code[event] >= DATAGRAM:
            if not self._deliver(course, event):
                return False
            course.last_given, course.last_event, course.last_given_at = None, event, self._now
            course.pass_front()
            return True
        number = self._tape.record[event]
        if self._tape.code[event] == SYN:
            part = self._assignment.cast(course, SERVER, self._tape.records[number])
            self._is_active(course)
            self._stall.progress(self._now)
            self._stage.connect(part)
        else:
            part = course.parts[number]
            self._give(part)
        course.last_given, course.last_event, course.last_given_at = part, event, self._now
        return True

    def _deliver(self, course: Course, event: int) -> bool:
        """Give a datagram, or keep it for later; False when the process does not listen yet."""
        if not self._exchange.is_deliverable(event, course.process):
            self._keep(course, event)
        elif not self._hand_over(course, event):
            return False
        else:
            self._exchange.tell(event, course.process)
            self._is_active(course)
            self._stall.progress(self._now)
        return True

    def _hand_over(self, course: Course, event: int) -> bool:
        delivery = self._exchange.delivery(event, course.process)
        assert delivery is not None, "a datagram to a port that is not known"
        awaits_listener = self._exchange.awaits_listener(event, course.process)
        return self._stage.deliver(course.process, delivery, awaits_listener)

    def _keep(self, course: Course, event: int) -> None:
        """A datagram's time has come before its port is known."""
        course.late.setdefault(self._exchange.awaited_port(event), []).append(event)

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
            self._judge.ends(part)
        elif what == FIN:
            self._assignment.fix(part)

    def _release(self, part: Part) -> None:
        """Give what lies behind the front already, as far as its own connection has come."""
        limit = part.course.released_up_to()
        while part.give < limit and not (part.is_full or part.is_waived):
            if not (part.may_hear() or (self._is_flood and part.is_connected)):
                return
            self._give(part)

    def _play_loosely(self, part: Part) -> None:
        """A diverged part hears its next event."""
        self._give(part)
        if part.give == NONE:
            self._judge.settle(part)

    def _retry(self) -> None:
        """Connect again to servers that were not up yet."""
        while self._retries and self._retries[0][0] <= self._now:
            part = self._retries.popleft()[1]
            if not (part.course.died or part.is_over):
                self._stage.connect(part)

    # Where it ends.

    def _check(self, part: Part) -> None:
        """Whether the part has come to its recorded end."""
        if self._judge.check(part):
            self._stall.progress(self._now)

    def _is_beyond_tape(self, course: Course) -> bool:
        """Whether what a process does now lies where the recording had ended."""
        if course.index < len(course.events):
            return False
        if self._overtime.has_begun or self._tape.is_torn:
            return True
        end = self._tape_end
        tail = end - min(_TAIL_NS, end // 10)
        # A process's own timers know of no lag, and of no speed.
        return self._now - self._began >= tail or (self._is_timed and self._time >= tail)

    def _may_say_more(self, course: Course) -> bool:
        """Whether a process was cut short by the recording's end."""
        return self._is_beyond_tape(course) and not self._has_ended_on_tape(course)

    def _has_ended_on_tape(self, course: Course) -> bool:
        """Whether all that the process ever did is on the tape."""
        ended_ns = course.life.ended_ns
        mark = self._tape.mark_ns
        return ended_ns is not None and not self._tape.is_torn and (mark is None or ended_ns <= mark)

    def _bury_if_silent(self, course: Course) -> None:
        if not (course.open_parts or course.has_post) or self._now >= course.idle_since + _LAST_WORDS_NS:
            self._bury(course)

    def _bury(self, course: Course) -> None:
        """Nothing more will come of a process."""
        if not course.died:
            self._is_incomplete |= course.remaining > 0
            self._judge.bury(course)
            self._post.bury(course)
            course.died = True
            course.remaining = 0
            course.wake = FOREVER
            course.is_awaiting = False

    def _end(self, why: str) -> None:
        if not self._has_ended:
            self._has_ended = True
            self._stage.end(why)
