"""The connections of B, each beside its record in A, from its first event to its end."""

from __future__ import annotations

from netplayground.dump.model import CLIENT, SERVER
from netplayground.replay.compare import new_comparison
from netplayground.replay.course import Course
from netplayground.replay.judge import LATE, MORE_REFUSED, UNUSED
from netplayground.replay.part import Part
from netplayground.replay.streams import PIECE
from netplayground.replay.tape import CHUNK, ESTABLISHED, FIN, NONE, Outcome, Record, other
from netplayground.report.bench import Bench
from netplayground.report.pairing import Pairs

SHARED = "connections that shared the work of all otherwise"
STILL_OPEN = "connections that were open when B ended"
ENDED = "connections and bytes that lie after B's end"
FEWER = "connections on which less was said, or closed, before the peer's abort"
UNUSED_IN_A = "connections without a byte, and refusals before a server was up, in A only"

_CLOSING_NS = 200_000_000  # so much longer than in A a connection may stay open at B's end


class Talk:
    """One connection of B, with what its two sides play in A."""

    __slots__ = ("fins", "is_over", "parts", "record", "theirs")

    def __init__(self, record: Record, theirs: Record, parts: tuple[Part, Part]) -> None:
        self.record = record
        self.theirs = theirs
        self.parts = parts
        self.fins = 0
        self.is_over = False


class Talks:
    """All connections of B."""

    def __init__(self, bench: Bench, pairs: Pairs) -> None:
        self._bench = bench
        self._pairs = pairs
        self._talks: dict[int, Talk] = {}
        self._failed: list[Record] = []  # connects of B that A does not have
        self._failing: set[int] = set()  # those of them that are differences
        paired = set(pairs.record_of.values())
        self._left_in_a = [  # connects that came to nothing, and not in B
            record
            for record in bench.tape.records
            if record.outcome is not Outcome.ACCEPTED
            and not bench.assignment.optional[record.number]
            and record.number not in paired
        ]
        self.only_in_a: list[int] = []
        self.only_in_b: list[int] = []
        self.matched = 0  # bytes

    def open(self, theirs: Record) -> None:
        """A process of B connects."""
        number = self._pairs.record_of.get(theirs.number)
        if number is None:
            self._one_more(theirs)
            return
        record = self._bench.tape.records[number]
        self._bench.hear(record.processes[SERVER], record.syn, SERVER)
        if record.outcome is not Outcome.ACCEPTED:
            self._bench.assignment.spend(record)
            self._bench.referee.answers(record)
            return
        parts = self._cast(record, CLIENT), self._cast(record, SERVER)
        if theirs.number in self._pairs.shared:
            self._bench.referee.notes[SHARED] += 1
            self.matched += sum(record.bytes)
            for part in parts:
                self._bench.referee.settles(part)
                self._bench.judge.settle(part)
                part.has_diverged = True  # nothing more is compared
            return
        self._talks[theirs.number] = Talk(record, theirs, parts)

    def _cast(self, record: Record, side: int) -> Part:
        bench = self._bench
        course = bench.courses[record.processes[side]]
        if side == SERVER and record.processes[CLIENT] == record.processes[SERVER]:
            # A course has one part of a record: who talks to himself is a client there.
            comparison = new_comparison(bench.tape, record, side, bench.masks)
            return Part(bench.tape, course, side, record, comparison)
        return bench.assignment.cast(course, side, record)

    def _one_more(self, theirs: Record) -> None:
        """A connection of B that A does not have."""
        bench = self._bench
        course = bench.courses.get(theirs.processes[CLIENT])
        is_failed = theirs.outcome is not Outcome.ACCEPTED
        if bench.optional_in_b[theirs.number] or course is None:
            bench.referee.notes[MORE_REFUSED if is_failed else UNUSED] += 1
        elif bench.may_do_more(course):
            bench.referee.notes[LATE] += 1
        elif is_failed:
            self._failing.add(theirs.number)
        elif (record := self._failed_in_a(theirs)) is not None:
            self._only_failed(course, record)
        else:
            self._tell_one_more(theirs)
        if is_failed:
            self._failed.append(theirs)  # it may be what came of one that A has

    def _failed_in_a(self, theirs: Record) -> Record | None:
        """A connect of A, of the same ends, that came to nothing and that no connect of B is."""
        for record in self._left_in_a:
            if record.processes == theirs.processes and record.port == theirs.port:
                self._left_in_a.remove(record)
                return record
        return None

    def _only_failed(self, course: Course, record: Record) -> None:
        self._bench.assignment.spend(record)
        self._bench.referee.comes_not(course, record, CLIENT, "accepted in B")

    def _tell_one_more(self, theirs: Record) -> None:
        client, server = theirs.processes
        course = self._bench.courses[client]
        text = f"opened a connection that A does not have: connection {theirs.identity} of B"
        if theirs.outcome is not Outcome.ACCEPTED:
            text += f" ({theirs.outcome.value})"
        self.only_in_b.append(theirs.identity)
        course.front()
        self._bench.referee.comes_unknown(course, server, theirs.port, course.released_up_to(), text)

    def go_on(self, event: int, code: int) -> None:
        """Something happens on a connection of B."""
        talk = self._talks.get(self._bench.two.record[event])
        if talk is None or talk.is_over:
            return
        if code == ESTABLISHED:
            for part in talk.parts:
                part.is_connected = True
            return
        side, what = code & 1, code & ~1
        part, peer = talk.parts[side], talk.parts[other(side)]
        before = self._bench.referee.count
        if what == CHUNK:
            self._say(part, event)
        elif what == FIN:
            part.fin_seen = True
            talk.fins += 1
            if not part.has_diverged:
                self._bench.judge.closes(part, self._bench.now)
        else:
            part.rst_seen = True
            if not (part.has_diverged or part.is_settled):
                self._bench.judge.closes(part, self._bench.now)
        if self._bench.referee.count > before:
            self._drop(talk)
            return
        if not part.has_diverged:
            self._told(peer, part.comparison.position, what)
        for each in talk.parts:
            self._bench.judge.check(each)
        if what not in (CHUNK, FIN) or talk.fins == 2:
            self._end(talk, part if what not in (CHUNK, FIN) else None)

    def _say(self, part: Part, event: int) -> None:
        two, done = self._bench.two, 0
        while done < two.length[event] and not part.has_diverged:
            data = two.read(two.offset[event] + done, min(PIECE, two.length[event] - done))
            done += len(data)
            self._bench.judge.says(part, memoryview(data), self._bench.now)

    def _told(self, part: Part, position: int, what: int) -> None:
        """A process hears what its peer has said up to a position of A, or that it closes, or aborts."""
        tape, heard = self._bench.tape, NONE
        while part.give != NONE:
            code = tape.code[part.give] & ~1
            if code == CHUNK:
                if tape.upto[part.give] > position:
                    break
            elif code != what:
                break
            heard = part.give
            part.step()
        part.given = max(part.given, position)
        if heard != NONE:
            self._bench.hear(part.course.process, heard, part.side)

    def _end(self, talk: Talk, aborter: Part | None) -> None:
        """Both sides have closed, or one has aborted."""
        talk.is_over = True
        before = self._bench.referee.count
        for part in talk.parts:
            if aborter is not None and part is not aborter and not part.has_diverged:
                self._is_cut_short(part)
            self._bench.judge.ends(part)
            if self._bench.referee.count > before:
                break
        self._forget(talk)

    def _is_cut_short(self, part: Part) -> None:
        """Its peer aborted, as in A: how much it had said or done by then was a matter of buffers."""
        was_to_close = part.record.fins[part.side] != NONE
        if not part.said_all or (was_to_close and not part.fin_seen):
            self._bench.referee.notes[FEWER] += 1
            self._bench.referee.settles(part)
            self._bench.judge.settle(part)

    def _drop(self, talk: Talk) -> None:
        """It differs: nothing more is compared."""
        talk.is_over = True
        for part in talk.parts:
            part.has_diverged = True
            self._bench.judge.ends(part)
        self._forget(talk)

    def _forget(self, talk: Talk) -> None:
        for part in talk.parts:
            if not part.is_over:
                part.has_diverged = True
                self._bench.judge.ends(part)
            self._bench.referee.counts(part)
        self.matched += sum(
            min(part.comparison.position, part.record.bytes[part.side]) for part in talk.parts
        )
        del self._talks[talk.theirs.number]

    def finish(self) -> None:
        """B is over: what has not come by now is missing."""
        for talk in sorted(self._talks.values(), key=lambda talk: talk.record.syn):
            self._finish_talk(talk)
        for record in self._bench.tape.records:
            self._miss(record)
        for theirs in self._failed:
            if theirs.number in self._failing:
                self._tell_one_more(theirs)

    def _finish_talk(self, talk: Talk) -> None:
        """It was open when B ended."""
        for part in talk.parts:
            mismatch = part.comparison.finish()
            if mismatch is not None:
                self._bench.referee.differs(part, mismatch)
                self._drop(talk)
                return
        lacking = [(self._next_of(part), part.side) for part in talk.parts if not part.said_all]
        if not lacking:
            self._look_whether_closed(talk)
        else:
            event, side = min(lacking)
            part = talk.parts[side]
            if self._bench.is_after_b(part.course, event):
                self._bench.referee.notes[ENDED] += 1
                self._settle(talk)
            else:
                self._bench.referee.lacks(part, "said nothing more")
        self._forget(talk)

    def _next_of(self, part: Part) -> int:
        event = part.next_said()
        return event if event != NONE else part.record.syn

    def _look_whether_closed(self, talk: Talk) -> None:
        """All is said: whoever closed in A may still do so after B's end, if that came soon."""
        closing = [
            part for part in talk.parts if part.has_to_close() and not (part.fin_seen or part.rst_seen)
        ]
        overdue = [part for part in closing if self._is_overdue(talk, part)]
        if overdue:
            self._bench.referee.closes_otherwise(overdue[0], "did not close it")
            return
        self._bench.referee.notes[STILL_OPEN] += bool(closing)
        self._settle(talk)

    def _is_overdue(self, talk: Talk, part: Part) -> bool:
        """Whether B went on long enough for it to close, by the time that it took in A."""
        tape, two, b_ends = self._bench.tape, self._bench.two, self._bench.b_ends
        closes = min(part.record.fins[part.side], part.record.rsts[part.side])
        took = tape.time[closes] - tape.time[self._before(part, closes)]
        last = max((event for event in talk.theirs.tails if event != NONE), default=talk.theirs.syn)
        return not two.is_torn and b_ends.last_ns - two.time[last] > took + _CLOSING_NS

    def _before(self, part: Part, closes: int) -> int:
        """The last event of the record before it closes, or the connect."""
        tape, last = self._bench.tape, part.record.syn
        for head in part.record.heads:
            event = head
            while event != NONE and event < closes:
                last = max(last, event)
                event = tape.succ[event]
        return last

    def _settle(self, talk: Talk) -> None:
        for part in talk.parts:
            self._bench.referee.settles(part)
            self._bench.judge.settle(part)

    def _miss(self, record: Record) -> None:
        """A record that no connection of B is."""
        bench = self._bench
        if bench.assignment.is_taken(record.number):
            return
        course = bench.courses.get(record.processes[CLIENT])
        if bench.assignment.optional[record.number] or course is None:
            bench.referee.notes[UNUSED_IN_A] += 1
        elif bench.is_after_b(course, record.syn):
            bench.referee.notes[ENDED] += 1
        else:
            self.only_in_a.append(record.identity)
            bench.referee.comes_not(course, record, CLIENT, self._what_came(record))

    def _what_came(self, record: Record) -> str:
        """What a connect that does not stand came to in B."""
        for theirs in self._failed:
            if theirs.processes == record.processes and theirs.port == record.port:
                self._failed.remove(theirs)
                return f"{theirs.outcome.value} in B"
        return ""
