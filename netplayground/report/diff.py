"""Two recordings, A and B, compared as a replay of A compares what live processes say.

The processes of B are the live ones, every one of them, and what B holds is what they say and do. A replay's
player is not in this: it decides what a process hears, and when, and waits for it. In B a process heard what
its peer said in B, so there is nothing to play and nobody to wait for. All that judges is the replay's own:
its comparisons and masks, its `Judge` for bytes and ends, its `PostOffice` for datagrams, its `Course` for
the order of what each process says and hears, its `Referee` and verdict. Who plays which record is settled
before (pairing.py).

What differs is told once for each connection: at its first difference in B. What either side says after that
may be said because of it.

Where a recording was cut short (plg ended the run, a capture ended, a dump is torn), the other one may go on:
what comes after A's end is a note, as in a replay, and so is what is missing after B's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from netplayground.dump.model import CLIENT, SERVER
from netplayground.packet.quote import parse_quote
from netplayground.replay.assignment import Assignment, Move
from netplayground.replay.compare import new_comparison
from netplayground.replay.content import Content
from netplayground.replay.course import HEARS, Course, make_courses
from netplayground.replay.exchange import Exchange, Said
from netplayground.replay.flows import Letter
from netplayground.replay.judge import LATE, MORE_REFUSED, UNUSED, Judge
from netplayground.replay.loose import Loose
from netplayground.replay.options import ReplayOptions, Strictness
from netplayground.replay.part import Part
from netplayground.replay.post import PostOffice
from netplayground.replay.referee import MOST_KEPT, Referee
from netplayground.replay.streams import PIECE
from netplayground.replay.tape import (
    CHUNK,
    DATAGRAM,
    ESTABLISHED,
    FIN,
    NONE,
    SYN,
    Life,
    Outcome,
    Record,
    Tape,
    other,
)
from netplayground.replay.verdict import Verdict
from netplayground.report.halves import Halves
from netplayground.report.pairing import Half, Pairs, pair_up
from netplayground.report.pools import shared_otherwise

SHARED = "connections that shared the work of all otherwise"
STILL_OPEN = "connections that were open when B ended"
ENDED = "connections and bytes that lie after B's end"
ENDED_POST = "datagrams that lie after B's end"
FEWER = "connections on which less was said, or closed, before the peer's abort"
UNUSED_IN_A = "connections without a byte, and refusals before a server was up, in A only"

_TAIL_NS = 20_000_000  # at most so long before a recording's end, what comes may have come after it
_CLOSING_NS = 200_000_000  # so much longer than in A a connection may stay open at B's end

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Difference:
    """What a comparison came to. `only_in_a` and `only_in_b` are connections, by their numbers there."""

    verdict: Verdict
    only_in_a: tuple[int, ...]
    only_in_b: tuple[int, ...]
    processes: tuple[tuple[str, str], ...]
    """Whose names are not the same: in A, and in B; "" for nobody."""
    pairs: Pairs

    @property
    def is_same(self) -> bool:
        return not self.verdict.has_diverged


def compare(
    halves: Halves,
    options: ReplayOptions,
    progress: Progress = lambda done: None,
    most_kept: int = MOST_KEPT,
) -> Difference:
    """Compare two recordings; `progress` hears how far in B's file it is."""
    one, other = halves.under(options.ignore)
    pairs = pair_up(one, other, options.ephemeral)
    pairs.shared = shared_otherwise(one, other, pairs.record_of, pairs.differing)
    return _Comparing(one, other, halves.names, options, pairs, most_kept).run(progress)


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


class _Talk:
    """One connection of B, with what its two sides play in A."""

    __slots__ = ("fins", "is_over", "parts", "record", "theirs")

    def __init__(self, record: Record, theirs: Record, parts: tuple[Part, Part]) -> None:
        self.record = record
        self.theirs = theirs
        self.parts = parts
        self.fins = 0
        self.is_over = False


class _End:
    """Where a recording ends, for each process."""

    def __init__(self, tape: Tape, numbers: Sequence[int] | None = None) -> None:
        self._tape = tape
        self._last_ns = tape.mark_ns if tape.mark_ns is not None else tape.time[-1] if tape.time else 0
        self._tail_ns = self._last_ns - min(_TAIL_NS, self._last_ns // 10)

    @property
    def last_ns(self) -> int:
        return self._last_ns

    def is_after(self, time_ns: int) -> bool:
        """Whether what comes at a time may have come after the end."""
        return self._tape.is_torn or time_ns >= self._tail_ns

    def has_ended(self, life: Life | None) -> bool:
        """Whether all that a process ever did is on the tape."""
        mark = self._tape.mark_ns
        ended_ns = None if life is None else life.ended_ns
        return ended_ns is not None and not self._tape.is_torn and (mark is None or ended_ns <= mark)


class _Comparing:
    def __init__(
        self,
        half: Half,
        other_half: Half,
        names: tuple[tuple[str, str], ...],
        options: ReplayOptions,
        pairs: Pairs,
        most_kept: int,
    ) -> None:
        one, two = half.tape, other_half.tape
        self._tape, self._two, self._pairs = one, two, pairs
        self._masks = half.masks
        self._names = names
        self._options = options
        live = [True] * len(one.lives)
        self._assignment = _Settled(one, self._masks, options.ephemeral)
        self._optional_in_b = Assignment(two, (), options.ephemeral).optional
        _mark_unanswered(one, self._assignment.optional)
        _mark_unanswered(two, self._optional_in_b)
        self._exchange = Exchange(one, options.udp, Content(options.echo, self._masks))
        self._courses = make_courses(
            one, live, self._assignment.is_taken, self._assignment.optional, self._exchange
        )
        self._referee = Referee(one, live, self._assignment.optional, most_kept)
        self._judge = _JudgeOfBoth(one, self._assignment, self._referee, Loose(0), self._is_after_end)
        self._post = PostOffice(one, self._exchange, self._referee, self._may_say_more)
        for course in self._courses.values():
            self._post.expect_of(course)
        self._lives_in_b = {life.process.name: life for life in two.lives}
        self._names_in_b = {mine: their for mine, their in names if mine}
        self._a_ends, self._b_ends = _End(one), _End(two)
        self._talks: dict[int, _Talk] = {}
        self._only_in_a: list[int] = []
        self._only_in_b: list[int] = []
        self._matched = 0
        self._ports: dict[tuple[int, int], int] = {}  # (process, port in B) -> the port in A
        self._lost_flows: set[int] = set()
        self._now = 0

    def run(self, progress: Progress) -> Difference:
        """Go through all of B, then look what of A is missing."""
        two = self._two
        for event in range(len(two)):
            self._now = two.time[event]
            code = two.code[event]
            if code >= DATAGRAM:
                self._take_datagram(event)
            elif code == SYN:
                self._open(two.records[two.record[event]])
            elif (talk := self._talks.get(two.record[event])) is not None and not talk.is_over:
                self._go_on(talk, event, code)
            if not event & 0xFFF:
                progress(two.offset[event])
        self._now = max(self._now, self._b_ends.last_ns)
        self._finish()
        return self._difference()

    # Connections.

    def _open(self, theirs: Record) -> None:
        number = self._pairs.record_of.get(theirs.number)
        if number is None:
            self._one_more(theirs)
            return
        record = self._tape.records[number]
        self._hear(record.processes[SERVER], record.syn, SERVER)
        if record.outcome is not Outcome.ACCEPTED:
            self._assignment.spend(record)
            self._referee.answers(record)
            return
        parts = self._cast(record, CLIENT), self._cast(record, SERVER)
        if theirs.number in self._pairs.shared:
            self._referee.notes[SHARED] += 1
            self._matched += sum(record.bytes)
            for part in parts:
                self._referee.settles(part)
                self._judge.settle(part)
                part.has_diverged = True  # nothing more is compared
            return
        self._talks[theirs.number] = _Talk(record, theirs, parts)

    def _cast(self, record: Record, side: int) -> Part:
        course = self._courses[record.processes[side]]
        if side == SERVER and record.processes[CLIENT] == record.processes[SERVER]:
            # A course has one part of a record: who talks to himself is a client there.
            return Part(
                self._tape, course, side, record, new_comparison(self._tape, record, side, self._masks)
            )
        return self._assignment.cast(course, side, record)

    def _one_more(self, theirs: Record) -> None:
        """A connection of B that A does not have."""
        client, server = theirs.processes
        course = self._courses.get(client)
        if self._optional_in_b[theirs.number] or course is None:
            is_refused = theirs.outcome is not Outcome.ACCEPTED
            self._referee.notes[MORE_REFUSED if is_refused else UNUSED] += 1
            return
        if self._a_ends.is_after(self._now) and not self._a_ends.has_ended(course.life):
            self._referee.notes[LATE] += 1
            return
        text = f"opened a connection that A does not have: connection {theirs.identity} of B"
        if theirs.outcome is not Outcome.ACCEPTED:
            text += f" ({theirs.outcome.value})"
        self._only_in_b.append(theirs.identity)
        course.front()
        self._referee.comes_unknown(course, server, theirs.port, course.released_up_to(), text)

    def _go_on(self, talk: _Talk, event: int, code: int) -> None:
        if code == ESTABLISHED:
            for part in talk.parts:
                part.is_connected = True
            return
        side, what = code & 1, code & ~1
        part, peer = talk.parts[side], talk.parts[other(side)]
        before = self._referee.count
        if what == CHUNK:
            self._say(part, event)
        elif what == FIN:
            part.fin_seen = True
            talk.fins += 1
            if not part.has_diverged:
                self._judge.closes(part, self._now)
        else:
            part.rst_seen = True
            if not (part.has_diverged or part.is_settled):
                self._judge.closes(part, self._now)
        if self._referee.count > before:
            self._drop(talk)
            return
        if not part.has_diverged:
            self._told(peer, part.comparison.position, what)
        for each in talk.parts:
            self._judge.check(each)
        if what not in (CHUNK, FIN) or talk.fins == 2:
            self._end(talk, part if what not in (CHUNK, FIN) else None)

    def _say(self, part: Part, event: int) -> None:
        two, done = self._two, 0
        while done < two.length[event] and not part.has_diverged:
            data = two.read(two.offset[event] + done, min(PIECE, two.length[event] - done))
            done += len(data)
            self._judge.says(part, memoryview(data), self._now)

    def _told(self, part: Part, position: int, what: int) -> None:
        """A process hears what its peer has said up to a position of A, or that it closes, or aborts."""
        tape, heard = self._tape, NONE
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
            self._hear(part.course.process, heard, part.side)

    def _end(self, talk: _Talk, aborter: Part | None) -> None:
        """Both sides have closed, or one has aborted."""
        talk.is_over = True
        before = self._referee.count
        for part in talk.parts:
            if aborter is not None and part is not aborter and not part.has_diverged:
                self._is_cut_short(part)
            self._judge.ends(part)
            if self._referee.count > before:
                break
        self._forget(talk)

    def _is_cut_short(self, part: Part) -> None:
        """Its peer aborted, as in A: how much it had said or done by then was a matter of buffers."""
        was_to_close = part.record.fins[part.side] != NONE
        if not part.said_all or (was_to_close and not part.fin_seen):
            self._referee.notes[FEWER] += 1
            self._referee.settles(part)
            self._judge.settle(part)

    def _drop(self, talk: _Talk) -> None:
        """It differs: nothing more is compared."""
        talk.is_over = True
        for part in talk.parts:
            part.has_diverged = True
            self._judge.ends(part)
        self._forget(talk)

    def _forget(self, talk: _Talk) -> None:
        for part in talk.parts:
            if not part.is_over:
                part.has_diverged = True
                self._judge.ends(part)
            self._referee.counts(part)
        self._matched += sum(
            min(part.comparison.position, part.record.bytes[part.side]) for part in talk.parts
        )
        del self._talks[talk.theirs.number]

    def _hear(self, process: int, event: int, side: int) -> None:
        """A process hears something; whether it had said all that it had said before, in A."""
        course = self._courses.get(process)
        if course is None:
            return
        while (front := course.front()) != NONE and front < event:
            if course.is_awaiting:
                course.give_up_before(event, side)
                self._referee.reordered += 1
                if self._options.strict_order:
                    self._referee.reorders(course, event, side)
                return
            course.pass_front()

    # Datagrams.

    def _take_datagram(self, event: int) -> None:
        flow = self._two.record[event]
        if flow in self._lost_flows or self._options.udp is Strictness.OFF:
            return
        letter = self._letter(event)
        course = self._courses.get(letter.sender)
        if course is None:
            return
        before = self._referee.count
        said, found = self._post.takes(course, letter, self._two.version_of(event))
        if found != NONE and letter.quoted is None and said in (Said.FOUND, Said.REPEATED):
            self._ports[letter.sender, letter.source_port] = self._tape.ports_of(found)[0]
            self._heard_by(letter, found)
        if self._referee.count > before:
            self._lost_flows.add(flow)

    def _heard_by(self, letter: Letter, event: int) -> None:
        for process in self._courses if letter.group else (letter.receiver,):
            if process != letter.sender:
                self._hear(process, event, HEARS)

    def _letter(self, event: int) -> Letter:
        """A datagram of B, to the port that its receiver has in A."""
        two, side = self._two, self._two.code[event] & 1
        flow = two.flow_of(event)
        sender, receiver = flow.processes[side], flow.processes[other(side)]
        source_port, port = two.ports_of(event)
        payload = two.read(two.offset[event], two.length[event])
        protocol = two.protocol_of(event)
        if two.is_error(event):
            quoted = None
            quote = parse_quote(payload)
            if quote is not None:
                source_port = self._ports.get((receiver, source_port), source_port)
                quoted = Letter(quote.protocol, receiver, sender, b"", source_port, port, quote.payload)
            return Letter(protocol, sender, receiver, b"", 0, 0, payload, quoted)
        group = flow.group if side == CLIENT else b""
        port = self._ports.get((receiver, port), port)
        return Letter(protocol, sender, receiver, group, source_port, port, payload)

    def _may_say_more(self, course: Course) -> bool:
        return self._a_ends.is_after(self._now) and not self._a_ends.has_ended(course.life)

    def _is_after_end(self, course: Course) -> bool:
        return self._a_ends.is_after(self._now)

    # The end.

    def _finish(self) -> None:
        """What has not come by now is missing."""
        for talk in sorted(self._talks.values(), key=lambda talk: talk.record.syn):
            self._finish_talk(talk)
        for record in self._tape.records:
            self._miss(record)
        for course in self._courses.values():
            self._excuse_post(course)
            self._post.bury(course)

    def _finish_talk(self, talk: _Talk) -> None:
        """It was open when B ended."""
        lacking = [(self._next_of(part), part.side) for part in talk.parts if not part.said_all]
        if lacking:
            event, side = min(lacking)
            self._lack(talk, talk.parts[side], event)
        else:
            self._look_whether_closed(talk)
        self._forget(talk)

    def _next_of(self, part: Part) -> int:
        event = part.next_said()
        return event if event != NONE else part.record.syn

    def _lack(self, talk: _Talk, part: Part, event: int) -> None:
        mismatch = part.comparison.finish()
        if mismatch is None and self._is_after_b(part.course, event):
            self._referee.notes[ENDED] += 1
            self._settle(talk)
        elif mismatch is not None:
            self._referee.differs(part, mismatch)
        else:
            self._referee.lacks(part, "said nothing more")

    def _look_whether_closed(self, talk: _Talk) -> None:
        """All is said: whoever closed in A may still do so after B's end, if that came soon."""
        for part in talk.parts:
            mismatch = part.comparison.finish()
            if mismatch is not None:
                self._referee.differs(part, mismatch)
                return
        for part in talk.parts:
            closes = min(part.record.fins[part.side], part.record.rsts[part.side])
            if closes == NONE or part.fin_seen or part.rst_seen:
                continue
            took = self._tape.time[closes] - self._tape.time[max(0, self._before(part, closes))]
            last = max((event for event in talk.theirs.tails if event != NONE), default=talk.theirs.syn)
            if self._b_ends.last_ns - self._two.time[last] > took + _CLOSING_NS and not self._two.is_torn:
                self._referee.closes_otherwise(part, "did not close it")
                return
            self._referee.notes[STILL_OPEN] += 1
            break
        self._settle(talk)

    def _before(self, part: Part, closes: int) -> int:
        """The last event of the record before it closes, or the connect."""
        tape, last = self._tape, part.record.syn
        for head in part.record.heads:
            event = head
            while event != NONE and event < closes:
                last = max(last, event)
                event = tape.succ[event]
        return last

    def _settle(self, talk: _Talk) -> None:
        for part in talk.parts:
            self._referee.settles(part)
            self._judge.settle(part)

    def _miss(self, record: Record) -> None:
        """A record that no connection of B is."""
        if self._assignment.is_taken(record.number):
            return
        course = self._courses.get(record.processes[CLIENT])
        if self._assignment.optional[record.number] or course is None:
            self._referee.notes[UNUSED_IN_A] += 1
        elif self._is_after_b(course, record.syn):
            self._referee.notes[ENDED] += 1
        else:
            self._only_in_a.append(record.identity)
            self._referee.comes_not(course, record, CLIENT)

    def _is_after_b(self, course: Course, event: int) -> bool:
        """Whether an event of A lies after B's end, and its process was there until then."""
        name = self._names_in_b.get(course.name, course.name)
        life = self._lives_in_b.get(name)
        if life is None or self._b_ends.has_ended(life):
            return False
        return self._b_ends.is_after(self._tape.time[event])

    def _excuse_post(self, course: Course) -> None:
        """What B had no time for is not missing."""
        for flow in self._tape.flows:
            for side, process in enumerate(flow.processes):
                for event in flow.events[side] if process == course.process else ():
                    if not self._exchange.is_done(event) and self._is_after_b(course, event):
                        self._referee.notes[ENDED_POST] += 1
                        self._exchange.excuse(event)

    def _difference(self) -> Difference:
        verdict = self._referee.verdict(is_over=True)
        size = sum(sum(record.bytes) for record in self._tape.records)
        left_out = (*verdict.left_out, *self._two.left_out)
        missing = "; ".join(
            f"{name} lacks {tape.missing}"
            for name, tape in (("A", self._tape), ("B", self._two))
            if tape.missing
        )
        return Difference(
            replace(
                verdict,
                bytes=size,
                bytes_matched=min(size, self._matched),
                rematched=self._pairs.rematched,
                left_out=left_out,
                missing=missing,
            ),
            tuple(self._only_in_a),
            tuple(self._only_in_b),
            self._names,
            self._pairs,
        )
