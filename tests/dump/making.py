"""Dumps for the tests: a run of two processes, a clock that the test turns, connections of every ending."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

from netplayground.dump.connection import ConnectionWriter
from netplayground.dump.model import CLIENT, SERVER, Process, RunHeader
from netplayground.dump.writer import DumpWriter

WALL_NS = 1_700_000_000_000_000_000
RUN = RunHeader(
    subnets=("10.0.0.0/24", "fd00:706c:67::/64"),
    processes=(
        Process("db", 1, (ip_address("10.0.0.1"), ip_address("fd00:706c:67::1")), "serve --all"),
        Process("app", 2, (ip_address("10.0.0.2"), ip_address("fd00:706c:67::2")), "ask 'db'"),
    ),
    options={"mtu": 1500, "ready": ["db:80"]},
)
FAMILIES = (4, 6)
ONE_SIDED = ("refused", "unreachable", "unanswered", "aborted")


class Clock:
    """Monotonic nanoseconds that go on by one microsecond whenever somebody looks."""

    def __init__(self) -> None:
        self.now = 5_000

    def __call__(self) -> int:
        self.now += 1_000
        return self.now


def create(path: Path, first_sequence: int = 0x10000000, wall_ns: int = WALL_NS) -> DumpWriter:
    """Begin a dump whose times are always the same."""
    return DumpWriter.create(path, RUN, wall_ns, Clock(), first_sequence)


@contextmanager
def writing(path: Path, first_sequence: int = 0x10000000, wall_ns: int = WALL_NS) -> Iterator[DumpWriter]:
    """Write a dump that is complete at the end of the block."""
    writer = create(path, first_sequence, wall_ns)
    try:
        yield writer
    except BaseException:
        writer.close(complete=False)
        raise
    writer.close()


def connect(
    writer: DumpWriter, family: int = 4, port: int = 40000, server_port: int = 80
) -> ConnectionWriter:
    """Give a connection of the second process to the first, before its SYN."""
    which = 0 if family == 4 else 1
    client, server = RUN.processes[1].addresses[which], RUN.processes[0].addresses[which]
    return writer.connection(family, client.packed, port, server.packed, server_port)


def opened(writer: DumpWriter, family: int = 4, port: int = 40000, server_port: int = 80) -> ConnectionWriter:
    """Give an established connection."""
    connection = connect(writer, family, port, server_port)
    connection.syn()
    connection.established()
    return connection


def say(connection: ConnectionWriter, side: int, data: bytes) -> None:
    """Write a chunk."""
    connection.chunk(side, memoryview(data))


def every_ending(writer: DumpWriter, family: int, port: int = 40000) -> None:
    """Write nine connections, one after another on one pair of ports: each ends in another way."""
    orderly = opened(writer, family, port)
    say(orderly, CLIENT, b"question")
    orderly.fin(CLIENT)
    say(orderly, SERVER, b"answer after the half-close")
    orderly.fin(SERVER)
    speaks_first = opened(writer, family, port)
    say(speaks_first, SERVER, b"220 ready")
    speaks_first.fin(SERVER)
    say(speaks_first, CLIENT, b"still talking")
    speaks_first.fin(CLIENT)
    for side in (CLIENT, SERVER):
        reset = opened(writer, family, port)
        say(reset, SERVER, b"half an ans")
        reset.rst(side)
    for ending in ONE_SIDED:
        connection = connect(writer, family, port)
        connection.syn()
        getattr(connection, ending)()
    lasting = opened(writer, family, port)
    say(lasting, CLIENT, b"and then?")


@contextmanager
def length_limit(most: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
