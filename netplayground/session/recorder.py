"""What hears the connections of a recording: the dump's writer, and for `-v` a line a connection; and what
carries its datagrams.

Without `-v` the connector and the pipes talk to the dump's `ConnectionWriter` itself: nothing of ours is on
the path of a chunk. With it a `NarratedConnection` stands between.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address

from netplayground.dump.connection import ConnectionWriter
from netplayground.dump.model import CLIENT, SERVER, Ending, Endpoint
from netplayground.dump.writer import DumpWriter
from netplayground.session.outcome import Traffic
from netplayground.traffic.connect import ConnectionListener
from netplayground.traffic.courier import Courier
from netplayground.traffic.link import Link


class Recorder:
    """Makes the listener of each new connection, and says at the end what there was."""

    def __init__(
        self, writer: DumpWriter, links: Mapping[bytes, Link], narrate: Callable[[str], None] | None
    ) -> None:
        self._writer = writer
        self._links = links
        self._narrate = narrate
        self.courier = Courier(writer.datagrams())

    def new_connection(
        self, family: int, client: bytes, client_port: int, server: bytes, server_port: int
    ) -> ConnectionListener:
        """The listener of one connection, from its SYN on."""
        connection = self._writer.connection(family, client, client_port, server, server_port)
        if self._narrate is None:
            return connection
        ends = f"{self._end(client, client_port)} -> {self._end(server, server_port)}"
        return NarratedConnection(connection, ends, self._narrate)

    def traffic(self, drops: Mapping[str, Mapping[str, int]]) -> Traffic:
        """The totals of the run."""
        totals = self._writer.totals
        return Traffic(
            connections=totals.connections,
            refused=totals.endings.get(Ending.REFUSED, 0),
            unreachable=totals.endings.get(Ending.UNREACHABLE, 0),
            unanswered=totals.endings.get(Ending.UNANSWERED, 0),
            aborted=totals.endings.get(Ending.ABORTED, 0),
            bytes_to_server=totals.bytes[CLIENT],
            bytes_to_client=totals.bytes[SERVER],
            datagrams=totals.datagrams,
            drops=drops,
        )

    def _end(self, address: bytes, port: int) -> str:
        link = self._links.get(address)
        endpoint = Endpoint(ip_address(address), port)
        return str(endpoint) if link is None else f"{link.name} {endpoint}"


class NarratedConnection:
    """Passes on what it hears, and tells of the connection's beginning and end."""

    __slots__ = ("_bytes", "_connection", "_ends", "_fins", "_narrate")

    def __init__(self, connection: ConnectionWriter, ends: str, narrate: Callable[[str], None]) -> None:
        self._connection = connection
        self._ends = ends
        self._narrate = narrate
        self._bytes = [0, 0]
        self._fins = 0

    def syn(self) -> None:
        self._connection.syn()

    def established(self) -> None:
        self._connection.established()
        self._tell("open")

    def refused(self) -> None:
        self._connection.refused()
        self._tell("refused")

    def unreachable(self) -> None:
        self._connection.unreachable()
        self._tell("unreachable")

    def unanswered(self) -> None:
        self._connection.unanswered()
        self._tell("no answer")

    def aborted(self) -> None:
        self._connection.aborted()
        self._tell("given up by the client")

    def chunk(self, side: int, data: memoryview) -> int:
        self._bytes[side] += len(data)
        return self._connection.chunk(side, data)

    def extents(self, offset: int, skip: int, length: int) -> list[tuple[int, int]]:
        return self._connection.extents(offset, skip, length)

    def fin(self, side: int) -> None:
        self._connection.fin(side)
        self._fins += 1
        if self._fins == 2:
            self._tell(f"closed, {self._bytes[CLIENT]:,} bytes there, {self._bytes[SERVER]:,} back")

    def rst(self, side: int) -> None:
        self._connection.rst(side)
        who = "client" if side == CLIENT else "server"
        self._tell(f"reset by the {who}, {self._bytes[CLIENT]:,} bytes there, {self._bytes[SERVER]:,} back")

    def note(self, kind: str, **fields: object) -> None:
        self._connection.note(kind, **fields)

    def _tell(self, what: str) -> None:
        self._narrate(f"{self._ends}: {what}")
