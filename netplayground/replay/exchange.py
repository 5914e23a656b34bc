"""The exchange: which recorded datagrams live processes have said, and what of theirs goes into an answer.

A live datagram belongs to a flow of the tape by who says it to whom (flows.py), and is one of the flow's by
its content. How strictly is the person's choice:

    strict   each in its turn, none missing, none twice
    lossy    one may come twice; one may be missing if a later one of its flow came. So each is looked for
             among all that have not come
    off      nothing is compared

Ports that kernels chose are others now: whenever a live datagram is found on the tape, the port from which it
came is known to stand for the recorded one. Until then nothing that was sent to that port can be given.
"""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import Enum

from netplayground.dump.model import SERVER
from netplayground.replay.flows import ICMP_HEADER, UDP, Flow, Letter
from netplayground.replay.masks import Mask
from netplayground.replay.options import EchoRule, Strictness
from netplayground.replay.tape import Tape

_COVERED = b"\0\0plg\0\0"  # what a mask covers, on the tape and in what is said


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


class _Lane:
    """One side of one flow in this replay."""

    __slots__ = ("highest", "next", "places")

    def __init__(self) -> None:
        self.next = 0  # the first that has not come, by its place among the side's events
        self.highest = -1  # the last event that has come
        self.places: dict[bytes, list[int]] | None = None  # events by content, once order is lost


class Exchange:
    """All flows of one replay."""

    def __init__(
        self, tape: Tape, strictness: Strictness, rules: Sequence[EchoRule], masks: Sequence[Mask]
    ) -> None:
        self._tape = tape
        self._flows = tape.flows
        self.strictness = strictness
        self._rules: dict[int, list[EchoRule]] = {}
        for rule in rules:
            self._rules.setdefault(rule.port, []).append(rule)
        self._masks = masks
        self._has_come = bytearray(len(tape))
        self._lanes = [(_Lane(), _Lane()) for _ in tape.flows]
        self._diverged: set[int] = set()
        self._now_for: dict[tuple[int, int], int] = {}  # (process, recorded port) -> the port of now
        self._recorded_for: dict[tuple[int, int], int] = {}  # (process, port of now) -> the recorded one
        self._latest: dict[tuple[int, int, int], Letter] = {}  # by flow, process, recorded port
        self._echoes: dict[tuple[int, int, bytes], Letter] = {}  # echo requests by flow, process, sequence
        self._versions: dict[tuple[int, int], int] = {}  # by flow and process
        self._told: set[tuple[int, int]] = set()  # flows, and processes that were given something there
        self.found = 0

    @property
    def is_compared(self) -> bool:
        """Whether datagrams are played and compared at all."""
        return self.strictness is not Strictness.OFF

    # What live processes say.

    def take(self, letter: Letter, version: int) -> tuple[Said, Flow | None, int]:
        """Look for a live datagram on the tape: what it is there, its flow, and the event that it is."""
        if self.strictness is Strictness.OFF:
            return Said.IGNORED, None, 0
        known = self._as_recorded(letter)
        place = self._flows.find(known)
        if place is None:
            return Said.UNKNOWN, None, 0
        flow, side = place
        self._versions[flow.number, letter.sender] = version
        said, event = self._look_up(flow, side, known)
        if said is Said.FOUND:
            self._come(flow, side, event)
            if letter.quoted is None:
                self._learn(letter, flow, event)
        if flow.number in self._diverged:
            said = Said.IGNORED
        return said, flow, event

    def _as_recorded(self, letter: Letter) -> Letter:
        """With the recorded ports in place of those that are known to stand for them."""
        quoted = letter.quoted
        return replace(
            letter,
            source_port=self._recorded_for.get((letter.sender, letter.source_port), letter.source_port),
            port=self._recorded_for.get((letter.receiver, letter.port), letter.port),
            quoted=None if quoted is None else self._as_recorded(quoted),
        )

    def _look_up(self, flow: Flow, side: int, letter: Letter) -> tuple[Said, int]:
        lane, events = self._lanes[flow.number][side], flow.events[side]
        content = self._content(flow, letter.payload, letter.protocol, is_said=True)
        while lane.next < len(events) and self._has_come[events[lane.next]]:
            lane.next += 1
        expected = events[lane.next] if lane.next < len(events) else None
        if expected is not None and self._recorded(flow, expected) == content:
            return Said.FOUND, expected
        if lane.places is None:
            lane.places = self._sort(flow, events)
        same = lane.places.get(content, [])
        if self.strictness is Strictness.STRICT:
            return (Said.OUT_OF_TURN if same else Said.UNKNOWN), expected or 0
        for event in same:
            if not self._has_come[event]:
                return Said.FOUND, event
        if same:
            return Said.REPEATED, same[-1]
        return Said.UNKNOWN, expected if expected is not None else (events[-1] if events else 0)

    def _sort(self, flow: Flow, events: array[int]) -> dict[bytes, list[int]]:
        places: dict[bytes, list[int]] = {}
        for event in events:
            places.setdefault(self._recorded(flow, event), []).append(event)
        return places

    def _recorded(self, flow: Flow, event: int) -> bytes:
        tape = self._tape
        payload = tape.read(tape.offset[event], tape.length[event])
        return self._content(flow, payload, tape.protocol_of(event), is_said=False)

    def _content(self, flow: Flow, payload: bytes, protocol: int, is_said: bool) -> bytes:
        """What is compared of a datagram."""
        if protocol != UDP:
            return _icmp_content(protocol, payload)
        for rule in self._rules.get(flow.port, ()):
            end = rule.offset + rule.length
            if len(payload) >= end:
                payload = payload[: rule.offset] + bytes(rule.length) + payload[end:]
        for mask in self._masks:
            if not mask.is_address:
                payload = mask.pattern.sub(_COVERED, payload)
            elif is_said:
                for recorded, either in mask.said.items():
                    payload = either.pattern.sub(recorded, payload)
        return payload

    def _come(self, flow: Flow, side: int, event: int) -> None:
        self._has_come[event] = 1
        self.found += 1
        lane = self._lanes[flow.number][side]
        lane.highest = max(lane.highest, event)

    def _learn(self, letter: Letter, flow: Flow, event: int) -> None:
        """A live datagram was found: its port stands for the recorded one."""
        recorded, _ = self._tape.ports_of(event)
        if letter.protocol == UDP:
            self._now_for[letter.sender, recorded] = letter.source_port
            self._recorded_for[letter.sender, letter.source_port] = recorded
        if letter.is_echo_request:
            self._echoes[flow.number, letter.sender, letter.payload[6:8]] = letter
        self._latest[flow.number, letter.sender, recorded] = letter

    def is_done(self, event: int) -> bool:
        """Whether a datagram has come, or is forgiven."""
        flow = self._tape.flow_of(event)
        if self._has_come[event] or flow.number in self._diverged or self.strictness is Strictness.OFF:
            return True
        if self.strictness is Strictness.STRICT:
            return False
        return self._lanes[flow.number][self._tape.code[event] & 1].highest > event

    def has_come(self, event: int) -> bool:
        """Whether a live process has said this datagram."""
        return bool(self._has_come[event])

    def awaits_listener(self, event: int, process: int) -> bool:
        """Whether a process must listen before it is given a datagram: it is the first that it is told on a
        flow, and in the recording no error came back."""
        tape, flow = self._tape, self._tape.flow_of(event)
        if tape.code[event] & 1 == SERVER or (flow.number, process) in self._told:
            return False
        return flow.protocol == UDP and not any(tape.is_error(each) for each in flow.events[SERVER])

    def tell(self, event: int, process: int) -> None:
        """A process was given a datagram."""
        self._told.add((self._tape.record[event], process))

    def diverge(self, flow: Flow) -> None:
        """Compare this flow no longer."""
        self._diverged.add(flow.number)

    def missing(self, flow: Flow, side: int, before: int) -> list[int]:
        """The datagrams of a side, before an event of the tape, that have not come and are not forgiven."""
        return [event for event in flow.events[side] if event < before and not self.is_done(event)]

    # What live processes hear.

    def delivery(self, event: int, process: int) -> Delivery | None:
        """A recorded datagram for a live process; None while the port that it is for is not known."""
        tape, flow = self._tape, self._tape.flow_of(event)
        source_port, port = tape.ports_of(event)
        side, protocol = tape.code[event] & 1, tape.protocol_of(event)
        payload = tape.read(tape.offset[event], tape.length[event])
        version = self._versions.get((flow.number, process), tape.version_of(event))
        sender = tape.sender_of(event)
        quoted = None
        if tape.is_error(event):
            quoted = self._latest.get((flow.number, process, source_port))
            if quoted is None:
                return None
        elif protocol == UDP:
            here = self._port_of(process, port, flow)
            if here is None:
                return None
            question = self._latest.get((flow.number, process, port))
            port = here
            if side == SERVER and question is not None:
                payload = self._repeat(flow, question.payload, payload)
        elif side == SERVER:
            request = self._echoes.get((flow.number, process, payload[6:8]))
            if request is not None:
                payload = payload[:4] + request.payload[4:]
        receiver = process if not flow.group else -1
        letter = Letter(protocol, sender, receiver, flow.group, source_port, port, payload, quoted)
        return Delivery(letter, version)

    def _port_of(self, process: int, recorded: int, flow: Flow) -> int | None:
        now = self._now_for.get((process, recorded))
        if now is not None:
            return now
        return None if self._tape.flows.is_dynamic(recorded) and not flow.group else recorded

    def _repeat(self, flow: Flow, request: bytes, answer: bytes) -> bytes:
        for rule in self._rules.get(flow.port, ()):
            end = rule.offset + rule.length
            if len(request) >= end and len(answer) >= end:
                answer = answer[: rule.offset] + request[rule.offset : end] + answer[end:]
        return answer


def _icmp_content(protocol: int, payload: bytes) -> bytes:
    """Of echo the sequence number, of an error that it is one; the rest is whole."""
    letter = Letter(protocol, 0, 0, b"", 0, 0, payload)
    if letter.is_echo_request:
        return b"echo request" + payload[6:8]
    if letter.is_echo_reply:
        return b"echo reply" + payload[6:8]
    return b"error" if len(payload) > ICMP_HEADER and protocol in (1, 58) else payload
