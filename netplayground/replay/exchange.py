"""The exchange: which recorded datagrams live processes have said, and what of theirs goes into an answer.

A live datagram belongs to a flow of the tape by who says it to whom (flows.py), and is one of the flow's by
its content. How strictly is the person's choice:

    strict   each in its turn, none missing, none twice
    lossy    one may come twice; one may be missing if a later one of its flow came. So each is looked for
             among all that have not come
    off      nothing is compared

Ports that kernels chose are others now: whenever a live datagram is found on the tape, the port from which it
came is known to stand for the recorded one. Until then nothing that was sent to that port can be given. What
processes hear comes from recorded ports: so those to which they answer are recorded ones too.

`take` and `is_deliverable` are asked for each datagram: on this path nothing is read from the tape's file but
the one payload that is compared.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b

from netplayground.dump.model import SERVER
from netplayground.replay.content import Content
from netplayground.replay.flows import ICMP, NOBODY, UDP, Flow, Letter
from netplayground.replay.options import Strictness
from netplayground.replay.redaction import Layouts
from netplayground.replay.refusals import Refusals
from netplayground.replay.tape import NONE, Tape

_SHORT = 32  # octets; longer ones are known by a digest
_MOST_ANSWERS = 16  # to one request, given again
_NEAR = 64  # datagrams that are looked through for answers


class Said(Enum):
    """What a live datagram is on the tape."""

    FOUND = "found"
    REPEATED = "repeated"
    OUT_OF_TURN = "out of turn"
    UNKNOWN = "unknown"
    IGNORED = "ignored"


@dataclass(frozen=True, slots=True)
class Delivery:
    """A recorded datagram made ready for a live process. `quoted` is the live letter that an ICMP error is
    about; `version` is the IP version in which the process speaks on this flow, or was spoken to."""

    letter: Letter
    version: int


class _Pile:
    """The events of one side of one flow that have the same content, in order."""

    __slots__ = ("events", "next")

    def __init__(self) -> None:
        self.events: list[int] = []
        self.next = 0  # those before this place have come


class _Lane:
    """One side of one flow in this replay."""

    __slots__ = ("highest", "layouts", "next", "piles")

    def __init__(self) -> None:
        self.next = 0  # the first that has not come, by its place among the side's events
        self.highest = -1  # the last event that has come
        self.piles: dict[bytes | tuple[bytes, int], _Pile] | None = None
        """By content, and by content and recorded port; once order is lost."""
        self.layouts: Layouts | None = None


class Exchange:
    """All flows of one replay."""

    def __init__(self, tape: Tape, strictness: Strictness, content: Content) -> None:
        self._tape = tape
        self._flows = tape.flows
        self.strictness = strictness
        self._content = content
        self._refusals = Refusals(tape)
        self._has_come = bytearray(len(tape))
        self._lanes = [(_Lane(), _Lane()) for _ in tape.flows]
        self._diverged: set[int] = set()
        self._now_for: dict[tuple[int, int], int] = {}  # (process, recorded port) -> the port of now
        self._recorded_for: dict[tuple[int, int], int] = {}  # (process, port of now) -> the recorded one
        self._latest: dict[tuple[int, int, int], Letter] = {}  # by flow, process, recorded port
        # Requests by flow, process, and what their answer repeats: of echo the number, else as in the tape.
        self._requests: dict[tuple[int, int, bytes], Letter] = {}
        self._versions: dict[tuple[int, int], int] = {}  # by flow and process
        self._given: dict[int, bytearray] = {}  # by process: events that it was given
        self._told: set[tuple[int, int]] = set()  # flows, and processes that were given something there
        self._spoken_from = self._find_speakers()

    @property
    def is_compared(self) -> bool:
        """Whether datagrams are played and compared at all."""
        return self.strictness is not Strictness.OFF

    def _find_speakers(self) -> set[tuple[int, int]]:
        """Processes, and the ports from which they speak, where there are groups: who speaks from a group's
        port is sure to listen there too."""
        tape = self._tape
        if not any(flow.group for flow in tape.flows):
            return set()
        return {
            (flow.processes[side], tape.ports_of(event)[0])
            for flow in tape.flows
            if flow.protocol == UDP
            for side in (0, 1)
            for event in flow.events[side]
            if not tape.is_error(event)
        }

    # What live processes say.

    def take(self, letter: Letter, version: int) -> tuple[Said, Flow | None, int]:
        """Look for a live datagram on the tape: what it is there, its flow, and the event that it
        is, or was expected to be."""
        if self.strictness is Strictness.OFF:
            return Said.IGNORED, None, NONE
        known = self._as_recorded(letter)
        place = self._flows.find(known)
        if place is None:
            return Said.UNKNOWN, None, NONE
        flow, side = place
        self._versions[flow.number, letter.sender] = version
        said, event = self._look_up(flow, side, known)
        if said is Said.FOUND:
            self._has_come[event] = 1
            if letter.quoted is None:
                lane = self._lanes[flow.number][side]
                lane.highest = max(lane.highest, event)
        if letter.quoted is None and said in (Said.FOUND, Said.REPEATED):
            self._learn(letter, flow, event)
        elif letter.quoted is None and said is Said.UNKNOWN:
            self._stand_in(letter, known, flow, side, event)
        if flow.number in self._diverged:
            said = Said.IGNORED
        return said, flow, event

    def _stand_in(self, letter: Letter, known: Letter, flow: Flow, side: int, event: int) -> None:
        """A live datagram is another than recorded: its sender is still to hear what it had heard then."""
        if event != NONE and not self._has_come[event]:
            if not self._is_known(known):
                self._learn(letter, flow, event)
            self._lanes[flow.number][side].next += 1

    def _as_recorded(self, letter: Letter) -> Letter:
        """With the recorded port in place of the one that is known to stand for it."""
        quoted = letter.quoted
        if quoted is None:
            port = self._recorded_for.get((letter.sender, letter.source_port), letter.source_port)
            return letter if port == letter.source_port else letter.from_port(port)
        # The error quotes what the process heard: from a recorded port to one of now.
        port = self._recorded_for.get((quoted.receiver, quoted.port), quoted.port)
        return letter if port == quoted.port else letter.about(quoted.to_port(port))

    def _look_up(self, flow: Flow, side: int, letter: Letter) -> tuple[Said, int]:
        lane, events = self._lanes[flow.number][side], flow.events[side]
        payload = self._layouts(flow, side).recorded_for(letter.payload)
        content = self._content.of(flow, payload, letter.protocol, is_said=True)
        # An error is its kernel's, which may say it or not.
        while lane.next < len(events) and (
            self._has_come[events[lane.next]] or self._tape.is_error(events[lane.next])
        ):
            lane.next += 1
        expected = events[lane.next] if lane.next < len(events) else None
        is_strict = self.strictness is Strictness.STRICT
        if expected is not None and self._recorded(flow, expected) == content:
            source_port = self._tape.ports_of(expected)[0]
            if is_strict or source_port == letter.source_port or not self._is_known(letter):
                return Said.FOUND, expected
        piles = self._piles(flow, side)
        key = _key(content)
        same = piles.get(key)
        if same is None:
            return Said.UNKNOWN, expected if expected is not None else (events[-1] if events else NONE)
        if is_strict:
            return Said.OUT_OF_TURN, events[-1] if expected is None else expected
        of_port = piles.get((key, letter.source_port))
        for pile in (of_port, same):
            found = NONE if pile is None else self._first_to_come(pile)
            if found != NONE:
                return Said.FOUND, found
        return Said.REPEATED, (of_port or same).events[-1]

    def _layouts(self, flow: Flow, side: int) -> Layouts:
        lane = self._lanes[flow.number][side]
        if lane.layouts is None:
            events = flow.events[side] if self._tape.redactions.datagrams else ()
            lane.layouts = Layouts(self._tape, self._tape.redactions, events)
        return lane.layouts

    def _is_known(self, letter: Letter) -> bool:
        """Whether its port stands for a recorded one."""
        return (letter.sender, letter.source_port) in self._now_for

    def _first_to_come(self, pile: _Pile) -> int:
        while pile.next < len(pile.events):
            event = pile.events[pile.next]
            if not self._has_come[event]:
                return event
            pile.next += 1
        return NONE

    def _piles(self, flow: Flow, side: int) -> dict[bytes | tuple[bytes, int], _Pile]:
        lane = self._lanes[flow.number][side]
        if lane.piles is None:
            lane.piles = {}
            for event in flow.events[side]:
                key = _key(self._recorded(flow, event))
                for each in (key, (key, self._tape.ports_of(event)[0])):
                    lane.piles.setdefault(each, _Pile()).events.append(event)
        return lane.piles

    def _recorded(self, flow: Flow, event: int) -> bytes:
        tape = self._tape
        payload = tape.read(tape.offset[event], tape.length[event])
        return self._content.of(flow, payload, tape.protocol_of(event), is_said=False)

    def shared_length(self, flow: Flow, expected: bytes, said: bytes) -> int:
        """Where what is said begins to differ from what was expected."""
        return self._content.shared_length(flow, expected, said)

    def _learn(self, letter: Letter, flow: Flow, event: int) -> None:
        """A live datagram was found: its port stands for the recorded one."""
        tape = self._tape
        recorded, _ = tape.ports_of(event)
        if letter.protocol == UDP:
            self._now_for[letter.sender, recorded] = letter.source_port
            self._recorded_for[letter.sender, letter.source_port] = recorded
            if self._content.has_rule(flow):
                payload = tape.read(tape.offset[event], tape.length[event])
                self._requests[flow.number, letter.sender, self._content.echoed(flow, payload)] = letter
        elif letter.is_echo_request:
            self._requests[flow.number, letter.sender, letter.payload[6:8]] = letter
        self._latest[flow.number, letter.sender, recorded] = letter

    def is_done(self, event: int) -> bool:
        """Whether a datagram has come, or is forgiven."""
        if self._has_come[event] or self.strictness is Strictness.OFF:
            return True
        number = self._tape.record[event]
        if number in self._diverged:
            return True
        if self.strictness is Strictness.STRICT:
            return False
        return self._lanes[number][self._tape.code[event] & 1].highest > event

    def has_come(self, event: int) -> bool:
        """Whether a live process has said this datagram."""
        return bool(self._has_come[event])

    def excuse(self, event: int) -> None:
        """A datagram is not awaited."""
        self._has_come[event] = 1

    def diverge(self, flow: Flow) -> None:
        """Compare this flow no longer."""
        self._diverged.add(flow.number)

    def has_diverged(self, flow: Flow) -> bool:
        """Whether this flow is compared no longer."""
        return flow.number in self._diverged

    # What live processes hear.

    def is_heard(self, event: int) -> bool:
        """Whether a datagram reached anybody in the recording."""
        return event not in self._refusals

    def awaits_listener(self, event: int, process: int) -> bool:
        """Whether a process must listen before it is given a datagram: it is the first that it is told on a
        flow, and it listened in the recording."""
        flow = self._tape.flow_of(event)
        if (flow.number, process) in self._told or self._tape.code[event] & 1 == SERVER:
            return False
        if flow.group:
            return (process, flow.port) in self._spoken_from
        return flow.protocol == UDP and not self._refusals.is_deaf(flow, SERVER)

    def tell(self, event: int, process: int) -> None:
        """A process was given a datagram."""
        self._told.add((self._tape.record[event], process))
        if process not in self._given:
            self._given[process] = bytearray(len(self._tape))
        self._given[process][event] = 1

    def answers_again(self, question: int, process: int) -> Iterator[int]:
        """What a process was given in answer to a datagram that it says once more."""
        tape, flow, side = self._tape, self._tape.flow_of(question), self._tape.code[question] & 1
        given = self._given.get(process)
        if given is None or flow.group:
            return
        own, theirs = flow.events[side], flow.events[1 - side]
        port = tape.ports_of(question)[0]
        place = bisect_right(own, question)
        following = (event for event in own[place : place + _NEAR] if tape.ports_of(event)[0] == port)
        next_question = next(following, NONE)
        count, place = 0, bisect_right(theirs, question)
        for event in theirs[place : place + _NEAR]:
            # At least one, though the next question may have come before its answer.
            if not given[event] or count == _MOST_ANSWERS or (count and event > next_question):
                return
            if self.awaited_port(event) == port:
                count += 1
                yield event

    def awaited_port(self, event: int) -> int:
        """The recorded port that must be known before a datagram can be given."""
        source_port, port = self._tape.ports_of(event)
        return source_port if self._tape.is_error(event) else port

    def is_deliverable(self, event: int, process: int) -> bool:
        """Whether the port that a datagram is for is known."""
        tape, flow = self._tape, self._tape.flow_of(event)
        if tape.is_error(event):
            return (flow.number, process, tape.ports_of(event)[0]) in self._latest
        if tape.protocol_of(event) != UDP or flow.group:
            return True
        port = tape.ports_of(event)[1]
        return (process, port) in self._now_for or not self._flows.is_dynamic(port)

    @staticmethod
    def reply_to_echo(request: Letter, version: int) -> Delivery:
        """What the kernel of a canned process answers, where the tape has nothing."""
        payload = bytes(4) + request.payload[4:]
        return Delivery(Letter(ICMP, request.receiver, request.sender, b"", 0, 0, payload), version)

    def delivery(self, event: int, process: int) -> Delivery | None:
        """A recorded datagram for a live process; None while the port that it is for is not known."""
        if not self.is_deliverable(event, process):
            return None
        tape, flow = self._tape, self._tape.flow_of(event)
        source_port, port = tape.ports_of(event)
        side, protocol = tape.code[event] & 1, tape.protocol_of(event)
        payload = tape.read(tape.offset[event], tape.length[event])
        version = self._versions.get((flow.number, process), tape.version_of(event))
        quoted = None
        if tape.is_error(event):
            quoted = self._latest[flow.number, process, source_port]
        elif protocol == UDP:
            if side == SERVER and self._content.has_rule(flow):
                payload = self._answer(flow, process, port, payload)
            port = self._now_for.get((process, port), port)
        elif side == SERVER:
            request = self._requests.get((flow.number, process, payload[6:8]))
            if request is not None:
                payload = payload[:4] + request.payload[4:]
        receiver = NOBODY if flow.group else process
        sender = flow.processes[side]
        letter = Letter(protocol, sender, receiver, flow.group, source_port, port, payload, quoted)
        return Delivery(letter, version)

    def _answer(self, flow: Flow, process: int, port: int, payload: bytes) -> bytes:
        """Of several requests under way the one whose bytes the answer repeated in the recording; else the
        latest from that port."""
        echoed = self._content.echoed(flow, payload)
        request = self._requests.get((flow.number, process, echoed)) or self._latest.get(
            (flow.number, process, port)
        )
        return payload if request is None else self._content.repeat(flow, request.payload, payload)


def _key(content: bytes) -> bytes:
    return content if len(content) <= _SHORT else blake2b(content, digest_size=_SHORT + 1).digest()
