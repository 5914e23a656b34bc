"""Who spoke to whom, as the page shows it: connections, and datagrams gathered by their two ends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from netplayground.dump.model import Address, Connection, Datagram, Endpoint, Process

_PROTOCOLS = {1: "ICMP", 2: "IGMP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}
_STRANGERS_MOST = 12

End = tuple[Address, int]


class Lanes:
    """The places on the page between which arrows go: the processes, then addresses that are nobody's."""

    def __init__(self, processes: Sequence[Process]) -> None:
        self.names = [process.name for process in processes]
        self._by_name = {name: at for at, name in enumerate(self.names)}
        self._strangers: dict[Address, int] = {}

    def find(self, name: str | None, address: Address) -> int:
        """The lane of a process, or of an address without one; those that are too many share one."""
        if name is not None and name in self._by_name:
            return self._by_name[name]
        lane = self._strangers.get(address)
        if lane is None:
            if len(self._strangers) <= _STRANGERS_MOST:
                full = len(self._strangers) == _STRANGERS_MOST
                self.names.append("other addresses" if full else str(address))
            lane = self._strangers[address] = len(self.names) - 1
        return lane


@dataclass(slots=True)
class Flow:
    """A connection, or the datagrams between two ends; pairs are (client's, server's).

    The client of datagrams is who sent the first. `identity` is a connection's id. `kept` counts the bytes,
    `events` the chunks that the page holds.
    """

    protocol: str
    identity: int | None
    lanes: tuple[int, int]
    ends: tuple[str, str]
    opened_ns: int
    closed_ns: int | None
    bytes: list[int] = field(default_factory=lambda: [0, 0])
    chunks: list[int] = field(default_factory=lambda: [0, 0])
    ending: str = ""
    payload: tuple[bytearray, bytearray] = field(default_factory=lambda: (bytearray(), bytearray()))
    kept_chunks: int = 0


def flow_of_connection(connection: Connection, lanes: Lanes) -> Flow:
    """A connection as the page has it."""
    client, server = connection.client, connection.server
    return Flow(
        "TCP",
        connection.id,
        (
            lanes.find(connection.client_process, client.address),
            lanes.find(connection.server_process, server.address),
        ),
        (str(client), str(server)),
        connection.opened_ns,
        connection.closed_ns,
        list(connection.bytes),
        list(connection.chunks),
        connection.ending.value,
    )


class DatagramFlows:
    """Datagrams by protocol and ends. The page's flows come in the order of the first datagrams."""

    def __init__(self, lanes: Lanes, most: int) -> None:
        self.flows: list[Flow] = []
        self._lanes = lanes
        self._most = most
        self._known: dict[tuple[int, End, End], tuple[int, int]] = {}

    def find(self, each: Datagram) -> tuple[int, int] | None:
        """Which flow a datagram belongs to, and who sent it (0: the client); None where they are too many."""
        there = (each.source, each.source_port)
        back = (each.destination, each.destination_port)
        found = self._known.get((each.protocol, there, back))
        if found is None and len(self.flows) < self._most:
            found = self._add(each, there, back)
        return found

    def count(self, each: Datagram) -> None:
        """Add a datagram to the sums of its flow."""
        found = self.find(each)
        if found is not None:
            at, side = found
            flow = self.flows[at]
            flow.bytes[side] += each.length
            flow.chunks[side] += 1
            flow.closed_ns = each.time_ns

    def _add(self, each: Datagram, there: End, back: End) -> tuple[int, int]:
        at = len(self.flows)
        lanes = (
            self._lanes.find(each.sender, each.source),
            self._lanes.find(each.receiver, each.destination),
        )
        protocol = _PROTOCOLS.get(each.protocol, f"protocol {each.protocol}")
        self.flows.append(
            Flow(protocol, None, lanes, (_end_text(there), _end_text(back)), each.time_ns, each.time_ns)
        )
        self._known.setdefault((each.protocol, back, there), (at, 1))
        self._known[each.protocol, there, back] = (at, 0)
        return at, 0


def _end_text(end: End) -> str:
    address, port = end
    return str(Endpoint(address, port)) if port else str(address)
