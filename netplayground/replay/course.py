"""A course: the events in which one live process takes part, in recorded order, and how far it has come.

What the process does itself is awaited; what it is to hear is given. The front is the first event that is
neither done nor waived: while something awaited stands there, the process hears nothing that came later.
Where that is given up, the front moves on. What is to be heard there and cannot be, for its own connection
has not come so far, is passed when its time has come: an event before the front is released, and goes as soon
as its own connection allows it. The front never goes back.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence

from netplayground.dump.model import CLIENT, SERVER
from netplayground.replay.exchange import Exchange
from netplayground.replay.part import Part
from netplayground.replay.tape import DATAGRAM, ERROR, ESTABLISHED, NONE, SYN, Life, Outcome, Tape

LONGEST_COURTESY_NS = 20_000_000
SHORTEST_COURTESY_NS = 100_000
SAYS, HEARS = 0, 1  # what stands for the side, where an event is a datagram
_FARTHEST = 4096  # events that are looked through for a datagram
FOREVER = 1 << 63


class Course:
    """One live process: its events, each as event << 1 | its side, and its parts by record number."""

    __slots__ = (
        "_exchange",
        "_is_taken",
        "_optional",
        "_tape",
        "connects",
        "courtesy_ns",
        "died",
        "events",
        "exited_at",
        "gone_at",
        "has_started",
        "idle_since",
        "index",
        "is_awaiting",
        "is_held",
        "is_resigned",
        "is_running",
        "is_signalled",
        "knocks_at",
        "last_event",
        "last_given",
        "last_given_at",
        "late",
        "life",
        "looked_at",
        "not_waited_for",
        "open_parts",
        "opens_connections",
        "own",
        "parts",
        "post_end",
        "process",
        "remaining",
        "wake",
    )

    def __init__(
        self,
        tape: Tape,
        process: int,
        is_taken: Callable[[int], bool],
        optional: bytearray,
        exchange: Exchange,
    ) -> None:
        self._tape = tape
        self._exchange = exchange
        self._optional = optional  # by record: it may as well not come
        self._is_taken = is_taken  # whether a live connection has the record of that number
        self.process = process
        self.life: Life = tape.lives[process]
        self.events = array("Q")
        self.connects = array("Q")  # those of them that are connects to it
        self.index = 0
        self.is_awaiting = False  # what stands at the front is the process's to do
        self.is_held = False  # what stands at the front is to be heard, but cannot be
        self.own = array("Q")  # record << 1 | side of those that have to come
        self.parts: dict[int, Part] = {}
        self.open_parts: set[Part] = set()
        self.late: dict[int, list[int]] = {}  # datagrams whose time has come, by the port to be known first
        self.knocks_at = FOREVER  # when to look again whether it listens
        self.post_end = 0  # behind the last datagram among `events`
        self.remaining = 0  # records that are still to be settled
        self.opens_connections = False
        self.has_started = self.is_running = self.is_signalled = self.died = False
        self.exited_at: int | None = None
        self.gone_at: int | None = None
        self.idle_since = 0
        self.looked_at = 0
        self.is_resigned = False  # there is nothing to hear in place of what is awaited
        self.last_event = NONE  # what it heard last, on which part, and when
        self.last_given: Part | None = None
        self.last_given_at = 0
        self.courtesy_ns = LONGEST_COURTESY_NS
        self.not_waited_for = NONE  # what was to be said first, and was waited for in vain
        self.wake = FOREVER

    @property
    def name(self) -> str:
        """The process's name."""
        return self.life.process.name

    def front(self) -> int:
        """The event at the front, NONE at the end; `is_awaiting` says whose it is."""
        events, index, end = self.events, self.index, len(self.events)
        while index < end:
            entry = events[index]
            if self._stands(entry >> 1, entry & 1):
                self.index = index
                return entry >> 1
            index += 1
        self.index = index
        self.is_awaiting = self.is_held = False
        return NONE

    def pass_front(self) -> None:
        """Release what stands at the front."""
        self.index += 1

    def own_records(self) -> Iterator[tuple[int, int]]:
        """The records that have to come, and the process's side in each."""
        return ((entry >> 1, entry & 1) for entry in self.own)

    def released_up_to(self) -> int:
        """Events before this one are released."""
        return self.events[self.index] >> 1 if self.index < len(self.events) else NONE

    def last_passed(self) -> int:
        """The event before the front; -1 where there is none."""
        return self.events[self.index - 1] >> 1 if self.index else -1

    def _stands(self, event: int, side: int) -> bool:
        """Whether the event is still to come, and in its turn."""
        tape = self._tape
        number, code = tape.record[event], tape.code[event]
        self.is_held = False
        if self.died:
            return False
        if code >= DATAGRAM:
            self.is_awaiting = side == SAYS
            if self.is_awaiting:
                return not self._exchange.is_done(event)
            self.is_held = not self._exchange.is_deliverable(event, self.process)
            return True
        part = self.parts.get(number)
        if code <= ESTABLISHED:
            return self._set_up_stands(event, side, part)
        self.is_awaiting = code & 1 == side
        if self._optional[number] and (part is None or self.is_awaiting):
            return False
        if part is None:
            self.is_held = not self.is_awaiting
            return True
        if part.is_waived:
            return False
        if not part.is_connected:
            self.is_awaiting = True
            return not self._optional[number]
        if self.is_awaiting:
            return not part.has_done(event)
        self.is_held = not (part.give == event and part.may_hear())
        return part.give <= event

    def _set_up_stands(self, event: int, side: int, part: Part | None) -> bool:
        tape = self._tape
        number = tape.record[event]
        if side == CLIENT:
            self.is_awaiting = True
            return not (self._optional[number] or self._is_taken(number))
        if tape.code[event] == SYN:
            self.is_awaiting = False
            return part is None
        self.is_awaiting = True
        if self._optional[number]:
            return False
        return part is not None and not (part.is_connected or part.is_waived)

    def give_up_before(self, event: int, side: int) -> None:
        """Await nothing that came before this event any more."""
        self.index = bisect_left(self.events, event << 1 | side)

    def idle_in_recording(self) -> int:
        """How long the process did and heard nothing before what stands at the front, in ns."""
        tape, index = self._tape, self.index
        if index >= len(self.events):
            return 0
        before = tape.time[self.events[index - 1] >> 1] if index else self.life.started_ns or 0
        return max(0, tape.time[self.events[index] >> 1] - before)

    @property
    def has_post(self) -> bool:
        """Whether datagrams are still to be said or heard."""
        return self.index < self.post_end

    def next_datagram(self) -> int:
        """The first datagram behind the front that can be heard; NONE when there is none near."""
        for index in range(self.index + 1, min(self.index + _FARTHEST, self.post_end)):
            entry = self.events[index]
            is_heard = self._tape.code[entry >> 1] >= DATAGRAM and entry & 1 == HEARS
            if is_heard and self._exchange.is_deliverable(entry >> 1, self.process):
                return entry >> 1
        return NONE

    def next_connect(self) -> int:
        """The first connect to it behind the front that has not been made; NONE when there is none."""
        at = bisect_left(self.connects, self.events[self.index]) if self.index < len(self.events) else None
        while at is not None and at < len(self.connects):
            event = self.connects[at] >> 1
            if self._tape.record[event] not in self.parts:
                return event
            at += 1
        return NONE


def make_courses(
    tape: Tape,
    live: Sequence[bool],
    is_taken: Callable[[int], bool],
    optional: bytearray,
    exchange: Exchange,
) -> dict[int, Course]:
    """The course of each live process, by its number. `optional`, by record: whether it may as well not
    come."""
    courses = {
        process: Course(tape, process, is_taken, optional, exchange)
        for process, is_live in enumerate(live)
        if is_live
    }
    accepted = bytearray(record.outcome is Outcome.ACCEPTED for record in tape.records)
    for event in range(len(tape)):
        number, code = tape.record[event], tape.code[event]
        if code >= DATAGRAM:
            if exchange.is_compared:
                _add_datagram(tape, courses, event, exchange.is_heard(event))
            continue
        client, server = tape.records[number].processes
        course = courses.get(client)
        if course is not None and code != ESTABLISHED and (accepted[number] or not optional[number]):
            course.events.append(event << 1 | CLIENT)
            course.opens_connections = True
        course = courses.get(server)
        if course is not None and accepted[number] and server != client:
            course.events.append(event << 1 | SERVER)
            if code == SYN:
                course.connects.append(event << 1 | SERVER)
    for record in tape.records:
        client, server = record.processes
        if not optional[record.number]:
            if client in courses:
                courses[client].own.append(record.number << 1 | CLIENT)
            if server in courses and server != client and accepted[record.number]:
                courses[server].own.append(record.number << 1 | SERVER)
    for course in courses.values():
        course.remaining = len(course.own)
    return courses


def _add_datagram(tape: Tape, courses: Mapping[int, Course], event: int, is_heard: bool) -> None:
    """Put a datagram into the courses of who says it and of who hears it. An error that a live process's
    kernel says about what it hears now is its own matter."""
    flow, side = tape.flow_of(event), tape.code[event] & 1
    sender = flow.processes[side]
    if flow.group:
        hearers = [course for process, course in courses.items() if process != sender]
    else:
        hearer = courses.get(flow.processes[1 - side])
        hearers = [] if hearer is None or not is_heard else [hearer]
    for course in hearers:
        course.events.append(event << 1 | HEARS)
        course.post_end = len(course.events)
    said_by = courses.get(sender)
    if said_by is not None and tape.code[event] & ~1 != ERROR:
        said_by.events.append(event << 1 | SAYS)
        said_by.post_end = len(said_by.events)
        if side == CLIENT:
            said_by.opens_connections = True
