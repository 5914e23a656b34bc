"""The values that a dump tells: processes, connections, events."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from ipaddress import IPv4Address, IPv6Address

from netplayground import __version__

CLIENT = 0
SERVER = 1
SIDES = ("client", "server")

Address = IPv4Address | IPv6Address


class EventKind(Enum):
    """What happened on a connection; an event's side is who did it."""

    SYN = "syn"
    ESTABLISHED = "established"
    CHUNK = "chunk"
    FIN = "fin"
    RST = "rst"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    UNANSWERED = "unanswered"
    ABORTED = "aborted"


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
class Fact:
    """Something that no packet can tell; `connection` is the id of the one that it is about, if any."""

    kind: str
    time_ns: int
    connection: int | None
    fields: Mapping[str, object]


@dataclass(frozen=True, slots=True)
class Totals:
    """What a whole dump comes to; facts are among the events; `bytes` is (said by clients, said by
    servers)."""

    connections: int
    events: int
    facts: int
    bytes: tuple[int, int]
