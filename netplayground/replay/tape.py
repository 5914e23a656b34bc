"""The tape: a recording's connections as events in one total order, without their bytes.

An event is a number, its place in the recording; what is known of it stands in arrays, some forty bytes an
event, so that millions of them fit. Its payload stays in the recording's file and is read when it is due. An
event's code says what happened and, in its lowest bit, which side did it:

    SYN, ESTABLISHED                        the client asks, the server accepts
    CHUNK | side, FIN | side, RST | side
    DATAGRAM | side, ERROR | side           of a flow (flows.py); an ICMP error about a datagram

The events of one side of a record that follow its set-up form a chain: `Record.heads`, then `Tape.succ`.

The tape ends where plg began to end the run: what came after is not on it. Times count from the recording's
beginning, in nanoseconds.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv6Address
from typing import Protocol

from netplayground.dump.model import (
    CLIENT,
    SERVER,
    Address,
    Connection,
    Datagram,
    Event,
    EventKind,
    Fact,
    Process,
)
from netplayground.packet.quote import parse_quote
from netplayground.replay.flows import LINK_LOCAL, Flow, Flows, Letter, is_error
from netplayground.replay.redaction import Redactions, parse_redactions

SYN, ESTABLISHED, CHUNK, FIN, RST, DATAGRAM, ERROR = 0, 1, 2, 4, 6, 8, 10
NONE = 0xFFFFFFFF
"""No event."""
NOBODY = -1
"""No process of the recording."""

_CODES = {EventKind.SYN: SYN, EventKind.ESTABLISHED: ESTABLISHED}
_SIDED = {EventKind.CHUNK: CHUNK, EventKind.FIN: FIN, EventKind.RST: RST}

Read = Callable[[int, int], bytes]

EPHEMERAL = (32768, 60999)
"""Linux's net.ipv4.ip_local_port_range: a port in it was chosen by a kernel."""


class Outcome(Enum):
    """What became of a connect."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    UNANSWERED = "unanswered"
    ABORTED = "given up by the client"


_OUTCOMES = {
    EventKind.ESTABLISHED: Outcome.ACCEPTED,
    EventKind.REFUSED: Outcome.REFUSED,
    EventKind.UNREACHABLE: Outcome.UNREACHABLE,
    EventKind.UNANSWERED: Outcome.UNANSWERED,
    EventKind.ABORTED: Outcome.ABORTED,
}


class Recording(Protocol):
    """Where a tape comes from: a dump, whole or torn, one of the original program, or a capture."""

    @property
    def processes(self) -> Sequence[Process]: ...

    @property
    def connections(self) -> Sequence[Connection]: ...

    @property
    def missing(self) -> str:
        """What a torn recording lacks; nothing of a whole one."""

    def in_order(self) -> Iterator[tuple[int, Event] | Datagram]: ...

    def payload(self, event: Event | Datagram) -> bytes: ...

    def facts(self) -> Iterable[Fact]: ...

    def read(self, offset: int, length: int) -> bytes: ...


class Life:
    """One process in the recording; times are None where the recording does not tell."""

    __slots__ = ("ended_ns", "process", "started_ns", "was_ended_by_plg")

    def __init__(self, process: Process) -> None:
        self.process = process
        self.started_ns: int | None = None
        self.ended_ns: int | None = None  # when it ended by itself, on the tape
        self.was_ended_by_plg = False


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A connection of the recording that cannot be played, its bytes both ways, and why."""

    connection: Connection
    why: str

    @property
    def bytes(self) -> int:
        return sum(self.connection.bytes)


_INCOMPLETE = {
    "start-missing": "its beginning was not captured",
    "bytes-missing": "bytes of it were not captured",
    "end-missing": "its end was not captured",
    "cut": "too much of it was waiting for what was not captured",
}


class Record:
    """One recorded connection, by its number on the tape.

    Pairs are (client's, server's): `heads` the first event of each side after the set-up, `tails` the last,
    `bytes` what each said, `fins` and `rsts` the event in which it closed or aborted.
    """

    __slots__ = (
        "bytes",
        "client_port",
        "fins",
        "heads",
        "identity",
        "number",
        "outcome",
        "port",
        "processes",
        "rsts",
        "syn",
        "tails",
    )

    def __init__(self, number: int, connection: Connection, client: int, server: int) -> None:
        self.number = number
        self.identity = connection.id
        self.processes = (client, server)
        self.port = connection.server.port
        self.client_port = connection.client.port
        self.outcome = Outcome.UNANSWERED
        self.syn = NONE
        self.heads = [NONE, NONE]
        self.tails = [NONE, NONE]
        self.bytes = [0, 0]
        self.fins = [NONE, NONE]
        self.rsts = [NONE, NONE]

    @property
    def is_silent(self) -> bool:
        """Whether no byte went either way."""
        return not any(self.bytes)

    @property
    def is_open(self) -> bool:
        """Whether the tape ends before the connection does."""
        closed = NONE not in self.fins or self.rsts != [NONE, NONE]
        return self.outcome is Outcome.ACCEPTED and not closed


class Tape:
    """A recording, ready to be played. The arrays are indexed by event, `records` by record number."""

    def __init__(self, processes: Sequence[Process], read: Read) -> None:
        self.lives = [Life(process) for process in processes]
        self.read = read
        self.records: list[Record] = []
        self.code = array("B")
        self.record = array("I")
        self.time = array("Q")
        self.offset = array("Q")
        self.length = array("I")
        self.succ = array("I")
        """The next event of the same side of the same record."""
        self.upto = array("Q")
        """What its side has said on the connection with this event, in bytes."""
        self.against = array("Q")
        """What the other side had said before it."""
        self.flows = Flows(EPHEMERAL)
        self.labels = array("Q")
        """Of a datagram protocol, IP version and ports, else 0; its `record` is its flow's number."""
        self.mark_ns: int | None = None
        """When plg began to end the run; None where it ended by itself, or nobody knows."""
        self.missing = ""
        self.left_out: list[LeftOut] = []
        self.redactions = Redactions()
        """The bytes that stand for others; of streams by the recording's connection."""
        self.began_ns = 0

    def __len__(self) -> int:
        return len(self.code)

    @property
    def is_torn(self) -> bool:
        return bool(self.missing)

    def add(self, record: int, code: int, time_ns: int, offset: int = 0, length: int = 0) -> int:
        """Append an event; gives its number."""
        event, side, entry = len(self.code), code & 1, self.records[record]
        entry.bytes[side] += length
        self.code.append(code)
        self.record.append(record)
        # A clock may be read out of order by who recorded; on the tape time never goes back.
        self.time.append(max(self.time[-1] if event else 0, time_ns - self.began_ns))
        self.offset.append(offset)
        self.length.append(length)
        self.succ.append(NONE)
        self.labels.append(0)
        self.upto.append(entry.bytes[side])
        self.against.append(entry.bytes[1 - side])
        if code == SYN:
            entry.syn = event
        elif code != ESTABLISHED:
            self._chain(entry, side, code & ~1, event)
        return event

    def add_datagram(self, letter: Letter, version: int, time_ns: int, offset: int, length: int) -> int:
        """Append a datagram; gives its number, NONE for an error about nothing that is on the tape."""
        if letter.quoted is not None and self.flows.find(letter) is None:
            return NONE
        flow, side = self.flows.find_or_make(letter)
        event = len(self.code)
        self.code.append((ERROR if letter.quoted is not None else DATAGRAM) | side)
        self.record.append(flow.number)
        self.time.append(max(self.time[-1] if event else 0, time_ns - self.began_ns))
        self.offset.append(offset)
        self.length.append(length)
        self.succ.append(NONE)
        self.upto.append(0)
        self.against.append(0)
        named = letter.quoted or letter  # an error has no ports but those of what it is about
        self.labels.append(letter.protocol << 40 | version << 32 | named.source_port << 16 | named.port)
        flow.events[side].append(event)
        return event

    def flow_of(self, event: int) -> Flow:
        """The flow of a datagram."""
        return self.flows.all[self.record[event]]

    def is_error(self, event: int) -> bool:
        """Whether a datagram is an ICMP error about another one."""
        return self.code[event] & ~1 == ERROR

    def ports_of(self, event: int) -> tuple[int, int]:
        """From which port a datagram came, and to which; of an error, those of what it is about."""
        label = self.labels[event]
        return label >> 16 & 0xFFFF, label & 0xFFFF

    def protocol_of(self, event: int) -> int:
        """IP's protocol number of a datagram."""
        return self.labels[event] >> 40

    def version_of(self, event: int) -> int:
        """The version of IP that carried a datagram."""
        return self.labels[event] >> 32 & 0xFF

    def _chain(self, entry: Record, side: int, what: int, event: int) -> None:
        if entry.tails[side] == NONE:
            entry.heads[side] = event
        else:
            self.succ[entry.tails[side]] = event
        entry.tails[side] = event
        if what == FIN:
            entry.fins[side] = event
        elif what == RST:
            entry.rsts[side] = event


def load_tape(recording: Recording) -> Tape:
    """Make the tape of a recording."""
    tape = Tape(recording.processes, recording.read)
    tape.missing = recording.missing
    tape.redactions = parse_redactions(recording.facts())
    mark_ns = _take_facts(tape, recording.facts())
    numbers = {life.process.name: number for number, life in enumerate(tape.lives)}
    connections = recording.connections
    places: dict[int, int] = {}
    incomplete = _incomplete(recording)
    post = _Post(recording, numbers)
    for told in recording.in_order():
        event = told if isinstance(told, Datagram) else told[1]
        if mark_ns is not None and event.time_ns > mark_ns:
            break
        if not tape.began_ns:
            _begin(tape, event.time_ns)
        if isinstance(told, Datagram):
            post.take(tape, told)
            continue
        identity, event = told
        if identity in incomplete:
            continue
        kind = event.kind
        if kind is EventKind.SYN:
            places[identity] = len(tape.records)
            tape.records.append(_record(len(tape.records), connections[identity], numbers))
        place = places[identity]
        if kind in _OUTCOMES:
            tape.records[place].outcome = _OUTCOMES[kind]
        code = _CODES.get(kind)
        if code is None and kind in _SIDED:
            code = _SIDED[kind] | event.side
        if code is not None:
            tape.add(place, code, event.time_ns, event.offset, event.length)
    tape.left_out = [LeftOut(connections[identity], why) for identity, why in sorted(incomplete.items())]
    if not tape.began_ns:
        _begin(tape, mark_ns)
    tape.mark_ns = None if mark_ns is None else max(0, mark_ns - tape.began_ns)
    return tape


def _incomplete(recording: Recording) -> dict[int, str]:
    """The connections of a capture that are not whole, and why."""
    return {
        fact.connection: _INCOMPLETE[fact.kind]
        for fact in recording.facts()
        if fact.connection is not None and fact.kind in _INCOMPLETE
    }


class _Post:
    """Makes letters of a recording's datagrams."""

    def __init__(self, recording: Recording, numbers: Mapping[str, int]) -> None:
        self._payload = recording.payload
        self._numbers = numbers
        self._process_at = {
            address.packed: numbers[process.name]
            for process in recording.processes
            for address in (*process.addresses, IPv6Address(f"fe80::{process.position:x}"))
        }

    def take(self, tape: Tape, datagram: Datagram) -> None:
        """Put one onto the tape, but for what the playground itself answered, and answers again."""
        if datagram.sender is None:
            return
        payload = b"" if datagram.is_udp else self._payload(datagram)
        quoted = None
        if is_error(datagram.protocol, payload):
            quoted = self._quoted(payload)
            if quoted is None:
                return
        receiver = NOBODY if datagram.receiver is None else self._numbers[datagram.receiver]
        destination = datagram.destination
        is_group = receiver == NOBODY and (destination.is_multicast or _is_broadcast(destination))
        letter = Letter(
            datagram.protocol,
            self._numbers[datagram.sender],
            receiver,
            destination.packed if is_group else b"",
            datagram.source_port,
            datagram.destination_port,
            payload,
            quoted,
        )
        version: int = destination.version
        if datagram.source.version == 6 and datagram.source.is_link_local:
            version |= LINK_LOCAL
        tape.add_datagram(letter, version, datagram.time_ns, datagram.offset, datagram.length)

    def _quoted(self, payload: bytes) -> Letter | None:
        quote = parse_quote(payload)
        if quote is None or quote.source not in self._process_at:
            return None
        return Letter(
            quote.protocol,
            self._process_at[quote.source],
            self._process_at.get(quote.destination, NOBODY),
            b"",
            quote.source_port,
            quote.destination_port,
            quote.payload,
        )


def _is_broadcast(address: Address) -> bool:
    """Whether an address to which nobody answers, and everybody listens; the subnet's own ends like it."""
    return address.version == 4 and address.packed[-1] == 0xFF


def _begin(tape: Tape, first_event_ns: int | None) -> None:
    """Set the tape's zero: the first process's start, or where no start is told the first event."""
    times = (first_event_ns, *(life.started_ns for life in tape.lives))
    tape.began_ns = min((time for time in times if time is not None), default=0)
    for life in tape.lives:
        if life.started_ns is not None:
            life.started_ns -= tape.began_ns
        if life.ended_ns is not None:
            life.ended_ns -= tape.began_ns


def _record(number: int, connection: Connection, numbers: dict[str, int]) -> Record:
    client, server = connection.client_process, connection.server_process
    return Record(
        number,
        connection,
        NOBODY if client is None else numbers[client],
        NOBODY if server is None else numbers[server],
    )


def _take_facts(tape: Tape, facts: Iterable[Fact]) -> int | None:
    """Take what the facts tell of processes; gives the time at which plg began to end the run."""
    lives = {life.process.name: life for life in tape.lives}
    mark_ns: int | None = None
    for fact in facts:
        if fact.kind == "ending":
            mark_ns = fact.time_ns
        life = lives.get(str(fact.fields.get("process")))
        if life is None:
            continue
        if fact.kind == "process-started":
            life.started_ns = fact.time_ns
        elif fact.kind == "process-signalled":
            life.was_ended_by_plg = True
        elif fact.kind == "process-ended" and not life.was_ended_by_plg:
            life.ended_ns = fact.time_ns
    return mark_ns


def other(side: int) -> int:
    """The other side of a connection."""
    return CLIENT if side == SERVER else SERVER
