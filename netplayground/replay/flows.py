"""Flows: what a recording's processes said to one another in datagrams.

A flow is (who sent first, who received first, the receiver's port); what comes back belongs to it. Ports of
the first sender do not matter: each `dig` has another. A datagram to a group or to all is a flow with no
receiver of its own, only the group's address. An ICMP error belongs to the flow of the packet that it quotes.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

from netplayground.dump.model import CLIENT, SERVER

NOBODY = -1
_ECHO_REQUESTS = frozenset({(1, 8), (58, 128)})  # protocol and type (RFC 792, RFC 4443)
_ECHO_REPLIES = frozenset({(1, 0), (58, 129)})
_ECHO_PORT = -1  # stands for the port where echo is asked for
_ERRORS = {1: frozenset({3, 4, 5, 11, 12}), 58: frozenset(range(1, 128))}
ICMP_HEADER = 8
LINK_LOCAL = 16  # set in an IP version: from the sender's link-local address
UDP, ICMP, ICMPV6 = 17, 1, 58  # IANA's protocol numbers


@dataclass(frozen=True, slots=True)
class Letter:
    """One datagram, recorded or live, as far as it matters to which flow it belongs.

    `receiver` is NOBODY and `group` the packed destination where it is for all others. `quoted` is, for an
    ICMP error, the letter that it is about.
    """

    protocol: int
    sender: int
    receiver: int
    group: bytes
    source_port: int
    port: int
    payload: bytes
    quoted: Letter | None = None

    def from_port(self, port: int) -> Letter:
        """The same from another port."""
        return self._with(port, self.port, self.quoted)

    def to_port(self, port: int) -> Letter:
        """The same to another port."""
        return self._with(self.source_port, port, self.quoted)

    def about(self, quoted: Letter) -> Letter:
        """The same error about another letter."""
        return self._with(self.source_port, self.port, quoted)

    def _with(self, source_port: int, port: int, quoted: Letter | None) -> Letter:
        return Letter(
            self.protocol,
            self.sender,
            self.receiver,
            self.group,
            source_port,
            port,
            self.payload,
            quoted,
        )

    @property
    def is_echo_request(self) -> bool:
        """Whether it is an ICMP echo request; its payload begins with type and code."""
        return (self.protocol, self.payload[0] if self.payload else -1) in _ECHO_REQUESTS

    @property
    def is_echo_reply(self) -> bool:
        """Whether it is the answer to one."""
        return (self.protocol, self.payload[0] if self.payload else -1) in _ECHO_REPLIES


def is_error(protocol: int, payload: bytes) -> bool:
    """Whether an ICMP message is an error, which quotes a packet."""
    return len(payload) > ICMP_HEADER and payload[0] in _ERRORS.get(protocol, ())


Key = tuple[int, int, int, bytes, int]


class Flow:
    """One flow on the tape: `events` are those that the first sender said, and those that came back."""

    __slots__ = ("events", "group", "key", "number", "port", "processes", "protocol")

    def __init__(self, number: int, key: Key) -> None:
        self.number = number
        self.key = key
        self.protocol, first, second, self.group, self.port = key
        self.processes = (first, second)
        self.events = (array("I"), array("I"))


class Flows:
    """All flows of a tape, and to which of them a letter belongs."""

    def __init__(self, ephemeral: tuple[int, int]) -> None:
        self.all: list[Flow] = []
        self._ephemeral = ephemeral
        self._by_key: dict[Key, Flow] = {}
        # The ports from which a flow's first sender spoke: what goes there comes back on that flow.
        self._callers: dict[tuple[int, int, int, int, int], Flow] = {}

    def __len__(self) -> int:
        return len(self.all)

    def __iter__(self) -> Iterator[Flow]:
        return iter(self.all)

    def find_or_make(self, letter: Letter) -> tuple[Flow, int]:
        """The flow of a recorded letter, and the side that says it."""
        found = self.find(letter)
        if found is None:
            flow = Flow(len(self.all), _forward(letter))
            self.all.append(flow)
            self._by_key[flow.key] = flow
            found = flow, CLIENT
        flow, side = found
        if side == CLIENT and letter.quoted is None:
            self.note_caller(flow, letter)
        return found

    def find(self, letter: Letter) -> tuple[Flow, int] | None:
        """The flow of a letter, and the side that says it; None where the tape has none."""
        if letter.quoted is not None:
            found = self.find(letter.quoted)
            if found is None:
                return None
            flow, side = found
            return flow, SERVER if side == CLIENT else CLIENT
        if not letter.is_echo_request:
            back = self._callers.get(_back(letter))
            if back is not None:
                return back, SERVER
        forward = self._by_key.get(_forward(letter))
        return None if forward is None else (forward, CLIENT)

    def note_caller(self, flow: Flow, letter: Letter) -> None:
        """A flow's first sender speaks from this port now."""
        if letter.receiver != NOBODY:
            port = _ECHO_PORT if letter.is_echo_request else letter.source_port
            self._callers[_kind(letter), letter.sender, port, letter.receiver, flow.port] = flow

    def is_dynamic(self, port: int) -> bool:
        """Whether a port was chosen by a kernel."""
        return self._ephemeral[0] <= port <= self._ephemeral[1]


def _kind(letter: Letter) -> int:
    """The protocol; echo is the same in both families, so that a client may choose the other one."""
    return ICMP if letter.is_echo_request or letter.is_echo_reply else letter.protocol


def _forward(letter: Letter) -> Key:
    port = _ECHO_PORT if letter.is_echo_request else letter.port
    return _kind(letter), letter.sender, letter.receiver, letter.group, port


def _back(letter: Letter) -> tuple[int, int, int, int, int]:
    """The caller that a letter is an answer to."""
    if letter.is_echo_reply:
        return ICMP, letter.receiver, _ECHO_PORT, letter.sender, _ECHO_PORT
    return letter.protocol, letter.receiver, letter.port, letter.sender, letter.source_port
