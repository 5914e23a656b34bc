"""The reader of dumps of the original C++ program, through the interface of `reader.Dump`.

Such a file is a sequence of records, each a line of text and the bytes that it announces:

    TIMESTAMP_US LENGTH CLIENT_IP SERVER_IP SERVER_PORT DIRECTION\\n

DIRECTION is the side that spoke; LENGTH 0 is its shutdown. What the file does not tell is made up or missing:

    conversations       told apart by their shutdowns only (see `lanes`); `ambiguous` names those that are not
    opening             a SYN and its acceptance, at the time of the conversation's first record
    clients' ports      one of Linux's ephemeral range for each conversation: among 28,232 in a row none twice
    processes           the addresses: the original gave its n-th process the n-th address of the subnet
    refusals, resets, datagrams, facts, commands    none

The file is walked through when it is opened; held of it are four bytes a record and a summary a conversation.
One that ends within a record is torn: used as far as whole records go. Times are of the system's clock, as
they stand there: they may go back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv4Network
from types import TracebackType

from netplayground.dump.connections import Connections
from netplayground.dump.lanes import Ends, Lane, Sorter, cut_pieces
from netplayground.dump.model import (
    CLIENT,
    SERVER,
    Datagram,
    Event,
    EventKind,
    Fact,
    Process,
    RunHeader,
    State,
    Totals,
)
from netplayground.dump.source import Source
from netplayground.errors import NotADumpError

# A time of sixteen digits fits into 64 bits as nanoseconds.
_LINE = re.compile(
    rb"([1-9]\d{0,15}) (0|[1-9]\d{0,15}) "
    rb"((?:\d{1,3}\.){3}\d{1,3} (?:\d{1,3}\.){3}\d{1,3} [1-9]\d{0,4}) ([01])\n"
)
LINE_MOST = len("1795226058910912 1795226058910912 255.255.255.255 255.255.255.255 65535 0\n")
_CUT_LINE = re.compile(rb"[\d. ]*")
_READ = 1 << 20
_NAMED_MOST = 16
"""More than this are counted, not named one by one."""

Line = tuple[int, int, int, bytes, int, int]
"""Its offset, nanoseconds, side; client, server and port as they stand there; offset and length of what was
said."""


def is_tunreplay(head: bytes) -> bool:
    """Say whether a file that begins so is a dump of the original program: its first line can be read."""
    found = _LINE.match(head)
    return found is not None and _parse_ends(found[3]) is not None


def _parse_ends(text: bytes) -> Ends | None:
    *addresses, port = text.decode("ascii").split(" ")
    try:
        client, server = (IPv4Address(address).packed for address in addresses)
    except ValueError:
        return None
    return (client, server, int(port)) if int(port) < 1 << 16 else None


class _Walk:
    """The lines of whole records from one offset on; then `offset` is where it stopped, `broken` says why."""

    def __init__(self, source: Source, start: int, end: int) -> None:
        self.offset = start
        self.broken = ""
        self._source = source
        self._end = end

    def __iter__(self) -> Iterator[Line]:
        base, buffer = self.offset, b""
        while self.offset < self._end:
            place = self.offset - base
            if place + LINE_MOST > len(buffer) and base + len(buffer) < self._end:
                base, place = self.offset, 0
                buffer = self._source.read_some(base, min(_READ, self._end - base))
            found = _LINE.match(buffer, place)
            if found is None:
                self._stop(buffer[place : place + LINE_MOST])
                return
            time_us, length, ends, side = found.groups()
            said = base + found.end()
            after = said + int(length)
            if after > self._end:
                self.broken = f"{int(length)} bytes announced, {self._end - said} there"
                return
            yield self.offset, int(time_us) * 1000, int(side), ends, said, after - said
            self.offset = after

    def _stop(self, rest: bytes) -> None:
        """What cannot be read is a line that was cut off, if the file ends with it."""
        if len(rest) == LINE_MOST or not _CUT_LINE.fullmatch(rest):
            raise self._source.damaged(
                "not a line TIMESTAMP_US LENGTH CLIENT_IP SERVER_IP SERVER_PORT DIRECTION", self.offset
            )
        self.broken = "a line cut off"


class _Index:
    """What a walk through the whole file finds."""

    def __init__(self, source: Source) -> None:
        self.sorter = Sorter()
        self.started_ns = self.ended_ns = 0
        lanes: dict[bytes, Lane] = {}
        walk = _Walk(source, 0, source.size)
        for offset, now, side, text, _said, length in walk:
            lane = lanes.get(text)
            if lane is None:
                lane = lanes[text] = _open_lane(source, text, offset)
            self.started_ns = self.started_ns or now
            self.ended_ns = now
            self.sorter.take(lane, side, length, now, offset)
        self.end = walk.offset
        open_count = sum([self.sorter.finish(lane, self.end) for lane in lanes.values()])
        self.missing = _missing(walk, source.size, open_count) if walk.broken else ""
        self.ambiguous = _ambiguous([lane for lane in lanes.values() if lane.mixed])
        self.addresses = {IPv4Address(packed) for lane in lanes.values() for packed in lane.ends[:2]}


def _open_lane(source: Source, text: bytes, offset: int) -> Lane:
    ends = _parse_ends(text)
    if ends is None:
        raise source.damaged("an address or a port that cannot be", offset)
    return Lane(ends)


def _missing(walk: _Walk, size: int, open_count: int) -> str:
    text = f"what the last {size - walk.offset} bytes told, from byte {walk.offset} on ({walk.broken})"
    if open_count:
        text += f"; the end of {open_count} connection{'s' if open_count > 1 else ''}"
    return text


def _ambiguous(lanes: list[Lane]) -> str:
    if not lanes:
        return ""
    parts = [_name_mixed(lane) for lane in lanes[:_NAMED_MOST]]
    if len(lanes) > _NAMED_MOST:
        parts.append(f"those between {len(lanes) - _NAMED_MOST} more pairs")
    said = "may have been open at the same time, and the file does not say whose bytes are whose"
    return f"connections {'; '.join(parts)}: {said}"


def _name_mixed(lane: Lane) -> str:
    client, server, port = lane.ends
    named = ", ".join(map(str, sorted(lane.mixed)[:_NAMED_MOST]))
    more = f" and {len(lane.mixed) - _NAMED_MOST} more" if len(lane.mixed) > _NAMED_MOST else ""
    return f"{named}{more} from {IPv4Address(client)} to {IPv4Address(server)}:{port}"


def _find_run(addresses: Iterable[IPv4Address], started_ns: int) -> RunHeader:
    """Give the run whose processes had these addresses."""
    ordered = sorted(addresses)
    networks = sorted({IPv4Network((int(address), 24), strict=False) for address in ordered})
    subnet = networks[0]
    if len(networks) == 1 and ordered[0] != subnet[0]:
        # Between them are processes that said nothing and were told nothing.
        ordered = [subnet[place] for place in range(1, int(ordered[-1]) - int(subnet[0]) + 1)]
    processes = tuple(Process(f"p{place}", place, (address,), "") for place, address in enumerate(ordered, 1))
    return RunHeader(tuple(map(str, networks)), processes, version="tun-replay", started_ns=started_ns)


class TunReplayDump:
    """An open dump of the original program; clients' ports in it are made up."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.path = source.path
        self.size = source.size
        if not self.size:
            raise self._not_a_dump("the file is empty")
        if not is_tunreplay(source.read_some(0, LINE_MOST)):
            raise self._not_a_dump("not a dump of the original program")
        self._index = index = _Index(source)
        if not index.end:
            raise self._not_a_dump(f"cut off at byte {self.size}, nothing whole is left")
        sorter = index.sorter
        self.missing = index.missing
        self.ambiguous = index.ambiguous
        self.state = State.TORN if self.missing else State.COMPLETE
        self.ended_ns: int | None = None if self.missing else index.ended_ns
        self.run = _find_run(index.addresses, index.started_ns)
        said = sorter.bytes[CLIENT], sorter.bytes[SERVER]
        self.totals = Totals(len(sorter.starts), sorter.events, 0, said)
        self.connections = Connections(source, sorter.records, self.processes)

    def __enter__(self) -> TunReplayDump:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def fileno(self) -> int:
        """Give the descriptor of the file."""
        return self.source.fd

    def close(self) -> None:
        """Close the file."""
        self.source.close()

    @property
    def processes(self) -> tuple[Process, ...]:
        """The processes of the run, by position; an address met nowhere has one that says nothing."""
        return self.run.processes

    def events(self, connection_id: int) -> Iterator[Event]:
        """Give the events of one connection, in order."""
        connection = self.connections[connection_id]
        for identity, event in self._told(connection.id, connection.first, connection.last):
            if identity == connection.id:
                yield event

    def all_events(self) -> Iterator[tuple[int, Event]]:
        """Give every connection's events with its id, in the order of the file."""
        return self._told(0, 0, self._index.end)

    def in_order(self) -> Iterator[tuple[int, Event] | Datagram]:
        """Give the same: there are no datagrams among them."""
        return self.all_events()

    def datagrams(self) -> Iterator[Datagram]:
        """Give none: the original did not record them."""
        return iter(())

    def payload(self, event: Event | Datagram) -> bytes:
        """Give the bytes of a chunk, none for any other event."""
        return self.source.read(event.offset, event.length) if event.length else b""

    def read(self, offset: int, length: int) -> bytes:
        """Give payload by its place in the file, as an event has it."""
        return self.source.read(offset, length)

    def facts(self) -> Iterator[Fact]:
        """Give none: there are none."""
        return iter(())

    def _told(self, next_id: int, first: int, last: int) -> Iterator[tuple[int, Event]]:
        """Follow the lines from `first`, with which connection `next_id` begins, to `last`."""
        owners, number = self._index.sorter.owners, self._index.sorter.starts[next_id]
        walk = _Walk(self.source, first, self._index.end)
        for offset, now, side, _text, said, length in walk:
            if offset > last or number == len(owners):
                return
            identity = owners[number]
            if identity == next_id:
                yield identity, Event(EventKind.SYN, CLIENT, now)
                yield identity, Event(EventKind.ESTABLISHED, SERVER, now)
                next_id += 1
            if not length:
                yield identity, Event(EventKind.FIN, side, now)
            for at, piece in cut_pieces(length):
                yield identity, Event(EventKind.CHUNK, side, now, said + at, piece)
            number += 1
        if walk.broken:
            raise self.source.damaged("it was changed after it was opened", walk.offset)

    def _not_a_dump(self, cause: str) -> NotADumpError:
        return NotADumpError(f"cannot read {self.path}: {cause}")
