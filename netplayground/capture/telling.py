"""Events of captured connections to a dump, as the packets that bring them about are read.

The dump's clock is the capture's: `Clock` is set for each packet, and never runs backwards, as a dump's time
never does. What a capture lacks of a connection is told by facts, so that a replay can leave it out:

    start-missing     its first packets were not captured
    bytes-missing     a side said so many bytes here that were not captured
    end-missing       what a side said last was not captured: a FIN, or a byte
    bytes-differ      so many bytes came twice, and not alike; those that came first are told
    cut               no more of it is told (--when-full cut)
    put-right         at its end: how many segments had to wait, how many bytes came twice, ...
"""

from __future__ import annotations

import os
from collections import deque

from netplayground.capture.connection import COUNTS, Connection, Counts
from netplayground.capture.hosts import Hosts, is_one_host
from netplayground.capture.network import turned
from netplayground.dump.connection import ConnectionWriter, State
from netplayground.dump.datagram import ROOM
from netplayground.dump.model import CLIENT, PROCESS_FACT, SERVER, SIDES, Ending, Process
from netplayground.dump.writer import DumpWriter
from netplayground.packet.checksum import Octets

START_MISSING = "start-missing"
BYTES_MISSING = "bytes-missing"
END_MISSING = "end-missing"
BYTES_DIFFER = "bytes-differ"
CUT = "cut"
PUT_RIGHT = "put-right"
_REMEMBERED = 32


class Clock:
    """The time of the capture, in nanoseconds since the epoch; never 0, which says in a dump that something
    has not happened. A capture may begin there: its writer had no clock, or it has simple packets only."""

    __slots__ = ("now",)

    def __init__(self) -> None:
        self.now = 1

    def __call__(self) -> int:
        return self.now


class Told:
    """What has been told of one connection: its writer, and where in the dump its last chunks lie."""

    __slots__ = ("chunks", "is_whole", "writer")

    def __init__(self, writer: ConnectionWriter) -> None:
        self.writer = writer
        self.is_whole = True
        self.chunks: deque[tuple[int, int, int, int]] | None = None
        """Side, sequence number, length, offset in the file."""

    def recall(self, fd: int, side: int, sequence: int, length: int) -> bytes | None:
        """Give what `side` has said there, None if not all of it is remembered."""
        known = bytearray(length)
        found = 0
        end = sequence + length
        for who, begin, size, offset in self.chunks or ():
            low, high = max(begin, sequence), min(begin + size, end)
            if who == side and low < high:
                known[low - sequence : high - sequence] = os.pread(fd, high - low, offset + low - begin)
                found += high - low
        return bytes(known) if found == length else None


class Teller:
    """The listener of a reassembler that writes a dump."""

    def __init__(self, writer: DumpWriter, hosts: Hosts) -> None:
        self._writer = writer
        self._hosts = hosts
        self._datagrams = writer.datagrams()
        self.incomplete = 0
        self.missing = 0
        self.differing = 0

    def prepare(self, connection: Connection, numbers: tuple[int, int, int] | None = None) -> Told:
        """Give a connection its place in the dump: the next, or that which was reserved for it."""
        told = self._make(connection)
        told.writer.claim(numbers)
        return told

    def _make(self, connection: Connection) -> Told:
        key = connection.key if connection.client == 0 else turned(connection.key)
        half = (len(key) - 4) // 2
        client, server = key[:half], key[half : 2 * half]
        ports = int.from_bytes(key[-4:-2], "big"), int.from_bytes(key[-2:], "big")
        writer = self._writer.connection(4 if half == 4 else 6, client, ports[0], server, ports[1])
        connection.told = told = Told(writer)
        return told

    def resume(self, connection: Connection, state: State) -> Told:
        """Give a connection its place where somebody else has told it so far."""
        told = self._make(connection)
        told.writer.resume(state)
        return told

    def opened(self, connection: Connection, has_start: bool) -> None:
        """Begin the connection in the dump; `has_start`: its SYN was captured."""
        told = connection.told if isinstance(connection.told, Told) else self.prepare(connection)
        writer, key = told.writer, connection.key
        half = (len(key) - 4) // 2
        ends = key[:half], key[half : 2 * half]
        self.meet(*(ends if connection.client == 0 else ends[::-1]))
        writer.syn()
        if not has_start:
            writer.note(START_MISSING)
            self._is_incomplete(told)

    def knows(self, address: bytes) -> bool:
        """Say whether an address has been told of."""
        return self._hosts.knows(address)

    def meet(self, *addresses: bytes) -> None:
        """Tell of the processes that are new."""
        self.commit_datagrams()
        for process in self._hosts.meet(*addresses):
            self._writer.fact(PROCESS_FACT, **process_fields(process))

    def _is_incomplete(self, told: Told) -> None:
        self.incomplete += told.is_whole
        told.is_whole = False

    def established(self, connection: Connection) -> None:
        """Tell that the server has accepted."""
        self._told(connection).writer.established()

    def said(self, connection: Connection, side: int, sequence: int, data: Octets) -> None:
        """Tell what a side has said."""
        told = self._told(connection)
        offset = told.writer.chunk(side, memoryview(data))
        if told.chunks is None:
            told.chunks = deque(maxlen=_REMEMBERED)
        for place, length in told.writer.extents(offset, 0, len(data)):
            told.chunks.append((side, sequence, length, place))
            sequence += length

    def missed(self, connection: Connection, side: int, length: int) -> None:
        """Tell that something is missing."""
        told = self._told(connection)
        told.writer.note(BYTES_MISSING, side=SIDES[side], bytes=length)
        self.missing += length
        self._is_incomplete(told)

    def end_missed(self, connection: Connection, side: int) -> None:
        """Tell that an end is missing."""
        told = self._told(connection)
        told.writer.note(END_MISSING, side=SIDES[side])
        self._is_incomplete(told)

    def differed(self, connection: Connection, side: int, count: int, is_opened: bool) -> None:
        """Tell that bytes came again as others; before a connection is opened, they are only counted."""
        self.differing += count
        if is_opened:
            self._told(connection).writer.note(BYTES_DIFFER, side=SIDES[side], bytes=count)

    def finished(self, connection: Connection, side: int) -> None:
        """Tell that a side will say no more."""
        self._told(connection).writer.fin(side)

    def ended(self, connection: Connection, ending: Ending, oddities: Counts = ()) -> None:
        """Tell how the connection ended."""
        writer = self._told(connection).writer
        if oddities:
            pairs = zip(oddities[: len(COUNTS)], oddities[len(COUNTS) :], strict=True)
            writer.note(PUT_RIGHT, **dict(zip(COUNTS, map(list, pairs), strict=True)))
        if ending is Ending.OPEN:
            if connection.is_cut:
                writer.note(CUT)
                self._is_incomplete(self._told(connection))
            writer.leave()
        elif ending is Ending.RESET_BY_CLIENT or ending is Ending.RESET_BY_SERVER:
            writer.rst(CLIENT if ending is Ending.RESET_BY_CLIENT else SERVER)
        elif ending is not Ending.CLOSED:
            getattr(writer, ending.value)()
        connection.told = None

    def recall(self, connection: Connection, side: int, sequence: int, length: int) -> bytes | None:
        """Give what was told of a side, None if it is not remembered."""
        self._writer.flush()
        told = connection.told
        # It may have begun with this very packet, of which nothing has been told yet.
        return told.recall(self._writer.fileno(), side, sequence, length) if isinstance(told, Told) else None

    def datagram(self, packet: bytes, source: bytes, destination: bytes, is_error: bool) -> None:
        """Tell a packet that is not TCP's.

        An ICMP error must say whose it is, or a reader would take it for one that plg gave itself.
        """
        strangers = [
            each for each in (source, destination) if not self._hosts.knows(each) and is_one_host(each)
        ]
        if strangers:
            self.meet(*strangers)
        datagrams = self._datagrams
        if datagrams.fill > ROOM:
            datagrams.commit()
        if is_error:
            datagrams.put_named(packet, self._hosts.position(source) if self._hosts.knows(source) else 0)
        else:
            datagrams.put(packet)

    def commit_datagrams(self) -> None:
        """Write the datagrams that wait."""
        self._datagrams.commit()

    def _told(self, connection: Connection) -> Told:
        told = connection.told
        assert isinstance(told, Told)
        if self._datagrams.fill:
            self._datagrams.commit()
        return told


def process_fields(process: Process) -> dict[str, object]:
    """Give the fact that tells a process."""
    return {
        "name": process.name,
        "position": process.position,
        "addresses": [str(address) for address in process.addresses],
        "command": process.command,
    }
