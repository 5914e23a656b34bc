"""From which connections and datagrams rules are learned, in which order, and whether they are enough.

Round by round: what is surest to belong together is learned from, the rest is paired anew under the rules so
far. It ends when a round brings nothing new. Then every recording is compared with the first one under all
rules, in both directions, as anybody will compare them: what still differs no rule covers.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from netplayground.dump.model import CLIENT, SERVER, SIDES
from netplayground.replay.content import Content
from netplayground.replay.flows import UDP, Flow
from netplayground.replay.options import EchoRule, ReplayOptions, Strictness
from netplayground.replay.referee import connection_text, flow_text
from netplayground.replay.rules import Rules
from netplayground.replay.streams import TapeStream, window_of
from netplayground.replay.tape import NOBODY, Record, Tape
from netplayground.report.diff import Difference, compare
from netplayground.report.gaps import Readable, Two
from netplayground.report.halves import Halves, make_halves
from netplayground.report.learning import Walk
from netplayground.report.pairing import Half, Pairs, pair_up, side_says_same
from netplayground.report.pools import Exchange, exchanges_of, shared_otherwise
from netplayground.report.rulebook import Rule, RuleBook

_MOST_ROUNDS = 24
_LONGEST = 1 << 24  # bytes of a stream in which exchanges are looked at
_ECHOED = 64  # bytes of a request in which one that its answer repeats is looked for
_DNS = 53
_DNS_ID = EchoRule(0, 2, _DNS)

Load = Callable[[], Tape]


@dataclass(frozen=True, slots=True)
class Lesson:
    """What was learned: rules, what is to be said of each of `rules.ignore`, and what they do not cover."""

    rules: Rules
    comments: tuple[tuple[str, ...], ...]
    differences: tuple[Difference, ...]
    spread_ns: int
    """From the beginning of the first recording to that of the last."""

    @property
    def is_enough(self) -> bool:
        return all(difference.is_same for difference in self.differences)


def learn(first: Load, others: Sequence[Load], options: ReplayOptions) -> Lesson:
    """Learn the rules for what differs between one recording and others; `options` hold those that there are
    already. What is loaded is changed, and so loaded anew for each comparison."""
    book = RuleBook()
    echo = options.echo
    began: list[int] = []
    for other in others:
        halves = make_halves(first(), other())
        began += [tape.began_ns for tape in halves.tapes]
        echo = _Pupil(halves, replace(options, echo=echo), book).learn()
    book.prune()
    rules = Rules(book.emit(), tuple(rule for rule in echo if rule not in options.echo))
    under = replace(options, ignore=(*options.ignore, *rules.ignore), echo=echo)
    differences = [
        compare(make_halves(one(), two()), under)
        for other in others
        for one, two in ((first, other), (other, first))
    ]
    return Lesson(rules, tuple(_comments(book)), tuple(differences), max(began) - min(began))


def _comments(book: RuleBook) -> Iterator[tuple[str, ...]]:
    told: set[bytes] = set()
    for rule in book.rules:
        if rule.emit() not in told:
            told.add(rule.emit())
            yield _comment(rule)


def _comment(rule: Rule) -> tuple[str, ...]:
    seen = " / ".join(ascii(value.decode("latin-1")[:60]) for value in rule.examples())
    return (f"{rule.where}: {seen}",)


class _Pupil:
    """Learns from two recordings."""

    def __init__(self, halves: Halves, options: ReplayOptions, book: RuleBook) -> None:
        self._halves = halves
        self._options = options
        self._book = book

    def learn(self) -> tuple[EchoRule, ...]:
        """Add to the book; gives the rules of --echo."""
        for _ in range(_MOST_ROUNDS):
            if not self._learn_of_streams():
                break
        echo = self._options.echo
        if self._options.udp is not Strictness.OFF:
            echo = self._learn_of_datagrams()
        return echo

    def _halves_now(self) -> tuple[Half, Half]:
        return self._halves.under((*self._options.ignore, *self._book.emit()))

    def _learn_of_streams(self) -> bool:
        """One round; whether there may be more to learn."""
        one, other = self._halves_now()
        pairs = pair_up(one, other, self._options.ephemeral)
        shared = shared_otherwise(one, other, pairs.record_of, pairs.differing)
        sure, others = _by_certainty(one, other, pairs, shared)
        walk = Walk(self._book, self._options.ignore, one, other)
        if others and not sure:
            self._learn_of_exchanges(walk, one, other, others)
        for ours, theirs, sides in sure if sure or walk.has_learned else others:
            for side in sides:
                walk.learn(_two(one.tape, other.tape, ours, theirs, side))
        return walk.has_learned

    def _learn_of_exchanges(self, walk: Walk, one: Half, other: Half, pairs: Sequence[_Unsure]) -> None:
        """Which connection says what may be another each time; but what is asked in the same words is
        answered alike."""
        answers: dict[tuple[_Ends, bytes], list[tuple[Record, Exchange]]] = defaultdict(list)
        for ours, _, _ in pairs:
            for each in exchanges_of(one, ours):
                answers[_ends_of(ours), each.question].append((ours, each))
        for _, theirs, _ in pairs:
            for each in exchanges_of(other, theirs):
                known = answers.get((_ends_of(theirs), each.question))
                if known:
                    ours, mine = known.pop(0)
                    if mine.answer != each.answer and max(mine.end, each.end) < _LONGEST:
                        walk.learn(_two_answers(one.tape, other.tape, (ours, mine), (theirs, each)))

    # Datagrams.

    def _learn_of_datagrams(self) -> tuple[EchoRule, ...]:
        one, two = self._halves.tapes
        flows = {_flow_key(flow, flow.processes): flow for flow in one.flows}
        echo = list(self._options.echo)
        together = [
            (flows[key], flow)
            for flow in two.flows
            if flow.protocol == UDP and (key := _flow_key(flow, flow.processes)) in flows
        ]
        for mine, their in together:
            rule = _echo_rule(one, two, mine, their)
            if rule is not None and rule not in echo:
                echo.append(rule)
        for mine, their in together:
            for side in (CLIENT, SERVER):
                self._learn_of_flow(mine, their, side, echo)
        return tuple(echo)

    def _learn_of_flow(self, mine: Flow, their: Flow, side: int, echo: Sequence[EchoRule]) -> None:
        one, other = self._halves_now()
        walk = Walk(self._book, self._options.ignore, one, other)
        where = f"{flow_text(one.tape, mine)}, {SIDES[side]}"
        for first, second in self._differing(one, other, mine, their, side, echo):
            walk.learn(
                Two(
                    lambda at, data=first: Readable(data[at:]),  # type: ignore[misc]
                    lambda at, data=second: Readable(data[at:]),  # type: ignore[misc]
                    where,
                    (first, second),
                )
            )

    def _differing(
        self, one: Half, other: Half, mine: Flow, their: Flow, side: int, echo: Sequence[EchoRule]
    ) -> list[tuple[bytes, bytes]]:
        """The datagrams of one side that the other recording does not have, in order."""
        contents = []
        for half, flow in ((one, mine), (other, their)):
            masks = [mask for mask in one.masks if not mask.is_address]
            content = Content(echo, masks)
            said = [
                _blank(half.tape.read(half.tape.offset[event], half.tape.length[event]), echo, flow.port)
                for event in flow.events[side]
                if not half.tape.is_error(event)
            ]
            contents.append([(content.of(mine, data, UDP, is_said=False), data) for data in said])
        counts = [Counter(key for key, _ in each) for each in contents]
        rests = []
        for number, each in enumerate(contents):
            spare = counts[number] - counts[1 - number]
            rest = []
            for key, data in each:
                if spare[key]:
                    spare[key] -= 1
                    rest.append(data)
            rests.append(rest)
        return list(zip(*rests, strict=False))


def _blank(data: bytes, echo: Sequence[EchoRule], port: int) -> bytes:
    """A datagram without what its answer repeats."""
    for rule in echo:
        if rule.port == port and len(data) >= rule.offset + rule.length:
            data = data[: rule.offset] + bytes(rule.length) + data[rule.offset + rule.length :]
    return data


def _flow_key(flow: Flow, processes: tuple[int, int]) -> tuple[object, ...]:
    return flow.protocol, processes, flow.group, flow.port


def _echo_rule(one: Tape, two: Tape, mine: Flow, their: Flow) -> EchoRule | None:
    """The bytes of a request that differ, and that its answer repeats, in both recordings."""
    if NOBODY in mine.processes:
        return None
    for first, second in zip(_asked(one, mine), _asked(two, their), strict=False):
        span = _differing_span(first[0][:_ECHOED], second[0][:_ECHOED])
        if span is None:
            continue
        start, end = span[0] & ~1, span[1] + (span[1] & 1)
        if all(question[start:end] == answer[start:end] for question, answer in (first, second)):
            if mine.port == _DNS and start < _DNS_ID.length:
                return _DNS_ID
            return EchoRule(start, end - start, mine.port)
    return None


def _asked(tape: Tape, flow: Flow) -> Iterator[tuple[bytes, bytes]]:
    """Requests, and the first answer to the port of each behind it."""
    answers = [event for event in flow.events[SERVER] if not tape.is_error(event)]
    for question in flow.events[CLIENT]:
        port = tape.ports_of(question)[0]
        answer = next(
            (event for event in answers if event > question and tape.ports_of(event)[1] == port), None
        )
        if answer is not None:
            yield (
                tape.read(tape.offset[question], tape.length[question]),
                tape.read(tape.offset[answer], tape.length[answer]),
            )


def _differing_span(one: bytes, other: bytes) -> tuple[int, int] | None:
    """The first run of bytes that differ."""
    places = [at for at, (mine, their) in enumerate(zip(one, other, strict=False)) if mine != their]
    if not places:
        return None
    end = places[0]
    for place in places:
        if place > end + 1:
            break
        end = place
    return places[0], end + 1


def _two(one: Tape, other: Tape, ours: Record, theirs: Record, side: int) -> Two:
    def opened(tape: Tape, record: Record) -> Callable[[int], TapeStream]:
        def open_at(at: int) -> TapeStream:
            stream = TapeStream(tape, record, side)
            stream.skip(at)
            return stream

        return open_at

    where = f"{connection_text(one, ours)}, {SIDES[side]}"
    return Two(opened(one, ours), opened(other, theirs), where, (ours.number, theirs.number, side))


def _two_answers(
    one: Tape, other: Tape, ours: tuple[Record, Exchange], theirs: tuple[Record, Exchange]
) -> Two:
    """Two answers to the same question."""
    first, second = (
        window_of(tape, record, SERVER, exchange.start, exchange.end - exchange.start)
        for tape, (record, exchange) in ((one, ours), (other, theirs))
    )
    where = f"{connection_text(one, ours[0])}, {SIDES[SERVER]}"
    key = ours[0].number, ours[1].start, theirs[0].number, theirs[1].start
    return Two(lambda at: Readable(first[at:]), lambda at: Readable(second[at:]), where, key)


_Unsure = tuple[Record, Record, tuple[int, ...]]
"""Two records that may belong together, and their sides that differ."""


def _by_certainty(
    one: Half, other: Half, pairs: Pairs, shared: frozenset[int]
) -> tuple[list[_Unsure], list[_Unsure]]:
    """The differing pairs that are sure to belong together, and the others."""
    alone = Counter(map(_ends_of, one.tape.records))
    sure: list[_Unsure] = []
    others: list[_Unsure] = []
    for number in pairs.differing:
        if number in shared:
            continue
        theirs, ours = other.tape.records[number], one.tape.records[pairs.record_of[number]]
        sides = tuple(side for side in (CLIENT, SERVER) if not side_says_same(one, other, ours, theirs, side))
        is_sure = alone[_ends_of(ours)] == 1 or (len(sides) == 1 and ours.bytes[1 - sides[0]] > 0)
        if sides:
            (sure if is_sure else others).append((ours, theirs, sides))
    return sure, others


_Ends = tuple[int, int, int]


def _ends_of(record: Record) -> _Ends:
    client, server = record.processes
    return client, server, record.port
