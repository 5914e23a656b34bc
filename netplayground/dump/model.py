"""The values that a dump tells: processes, connections, events, datagrams."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv6Address

from netplayground import __version__
from netplayground.packet import ip

CLIENT = 0
SERVER = 1
SIDES = ("client", "server")

PROCESSES_FOLLOW = "processes follow"
"""Among a run's options: there are more processes than in its header, a PROCESS_FACT each, told before the
first event in which one takes part. Whoever reads a capture does not know who will come."""
PROCESS_FACT = "process"

Address = IPv4Address | IPv6Address


class EventKind(Enum):
    """What happened on a connection; an event's side is who did it. A datagram belongs to none."""

    SYN = "syn"
    ESTABLISHED = "established"
    CHUNK = "chunk"
    FIN = "fin"
    RST = "rst"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    UNANSWERED = "unanswered"
    ABORTED = "aborted"
    DATAGRAM = "datagram"


class Ending(Enum):
    """How a connection ended; the value is what a person reads, the order is that of the file's codes."""

    OPEN = "open"
    CLOSED = "closed"
    RESET_BY_CLIENT = "reset by client"
    RESET_BY_SERVER = "reset by server"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    UNANSWERED = "unanswered"
    ABORTED = "aborted"


class State(Enum):
    """Whether the run that wrote the dump came to its orderly end."""

    COMPLETE = "complete"
    TORN = "torn"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One end of a connection."""

    address: Address
    port: int

    def __str__(self) -> str:
        shown = f"[{self.address}]" if self.address.version == 6 else str(self.address)
        return f"{shown}:{self.port}"


@dataclass(frozen=True, slots=True)
class Process:
    """One command of the run."""

    name: str
    position: int
    addresses: tuple[Address, ...]
    command: str

    @property
    def link_local(self) -> IPv6Address:
        """The further address that every process has, by its position."""
        return IPv6Address(f"fe80::{self.position:x}")


@dataclass(frozen=True, slots=True)
class RunHeader:
    """What the dump says of its run before the first packet; `options` holds what JSON can hold."""

    subnets: tuple[str, ...]
    processes: tuple[Process, ...]
    options: Mapping[str, object] = field(default_factory=dict)
    version: str = __version__
    started_ns: int = 0


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a connection; `offset` and `length` are those of a chunk's payload in the file, else 0."""

    kind: EventKind
    side: int
    time_ns: int
    offset: int = 0
    length: int = 0


@dataclass(frozen=True, slots=True)
class Connection:
    """The summary of one connection; pairs are (client's, server's), times are None where it never happened.

    `first` and `last` are the file offsets between which all of its blocks begin.
    """

    id: int
    client: Endpoint
    server: Endpoint
    client_process: str | None
    server_process: str | None
    opened_ns: int
    established_ns: int | None
    closed_ns: int | None
    bytes: tuple[int, int]
    chunks: tuple[int, int]
    ending: Ending
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Datagram:
    """One packet that is not TCP's, whole: a datagram of UDP, a message of ICMP, or whatever `protocol` is.

    `offset` and `length` say where in the file its payload lies: what comes after UDP's header, else after
    the headers of IP. `packet_offset` and `packet_length` are those of the packet. Ports are 0 where there
    are none. `sender` is None where the playground itself answered in place of nobody; `receiver` is None
    where that is no process, but all others (`destination` is a group or a broadcast address) or nobody.
    """

    time_ns: int
    protocol: int
    source: Address
    source_port: int
    destination: Address
    destination_port: int
    sender: str | None
    receiver: str | None
    offset: int
    length: int
    packet_offset: int
    packet_length: int

    @property
    def is_udp(self) -> bool:
        return self.protocol == ip.UDP


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that no packet can tell; `connection` is the id of the one that it is about, if any."""

    kind: str
    time_ns: int
    connection: int | None
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Totals:
    """What a whole dump comes to; facts and datagrams are among the events; `bytes` is (said by clients,
    said by servers)."""

    connections: int
    events: int
    facts: int
    bytes: tuple[int, int]
    datagrams: int = 0


def names_by_address(processes: Iterable[Process]) -> dict[bytes, str]:
    """Who has which packed address, the link-local ones among them."""
    return {
        address.packed: process.name
        for process in processes
        for address in (process.link_local, *process.addresses)
    }
