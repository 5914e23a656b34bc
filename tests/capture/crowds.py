"""Captures in which nothing ever comes to an end: what an import may keep is bounded, whatever it is fed.

Each kind is a capture of `count` connections, packet by packet. Whose they are: an address for each 50,000.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from capture.frames import START_NS, Frame, pcap, tcp

from netplayground.packet.tcp import ACK, PSH, SYN

_PORTS = 50_000
_STEP_NS = 1_000
_WRITTEN_AT_ONCE = 10_000

Ends = tuple[tuple[str, int], tuple[str, int]]


def half_open(client: tuple[str, int], server: tuple[str, int]) -> Iterator[bytes]:
    """The server has answered, the client says nothing more."""
    yield tcp(client, server, 1000, 0, SYN)
    yield tcp(server, client, 5000, 1001, SYN | ACK)


def unanswered(client: tuple[str, int], server: tuple[str, int]) -> Iterator[bytes]:
    """Nobody answers."""
    yield tcp(client, server, 1000, 0, SYN)


def begun_before(client: tuple[str, int], server: tuple[str, int]) -> Iterator[bytes]:
    """The start was not captured."""
    yield tcp(client, server, 1000, 500, PSH | ACK, b"x" * 20)
    yield tcp(server, client, 500, 1020, ACK)


def waiting(client: tuple[str, int], server: tuple[str, int]) -> Iterator[bytes]:
    """A segment waits for the one before it."""
    yield from half_open(client, server)
    yield tcp(client, server, 1101, 5001, PSH | ACK, b"y" * 100)


def one_sided(client: tuple[str, int], server: tuple[str, int]) -> Iterator[bytes]:
    """A segment waits, and the other side is not in the capture."""
    yield tcp(client, server, 1000, 0, SYN)
    yield tcp(client, server, 1101, 5001, PSH | ACK, b"y" * 100)


def left_open(client: tuple[str, int], server: tuple[str, int]) -> Iterator[bytes]:
    """All is as it should be, and then nothing more is said."""
    yield from half_open(client, server)
    yield tcp(client, server, 1001, 5001, ACK)
    yield tcp(client, server, 1001, 5001, PSH | ACK, b"z" * 10)


Kind = Callable[[tuple[str, int], tuple[str, int]], Iterator[bytes]]
KINDS: dict[str, Kind] = {
    kind.__name__: kind for kind in (half_open, unanswered, begun_before, waiting, one_sided, left_open)
}


def frames(kind: Kind, count: int) -> Iterator[Frame]:
    """Give the packets of a crowd, one connection after another."""
    time_ns = START_NS
    for number in range(count):
        client = f"10.1.0.{1 + number // _PORTS}", 1024 + number % _PORTS
        for packet in kind(client, ("10.2.0.1", 80)):
            yield Frame(packet, time_ns)
            time_ns += _STEP_NS


def write_crowd(path: Path, kind: Kind, count: int) -> Path:
    """Write the capture of a crowd; it is never in memory as a whole."""
    with path.open("wb") as file:
        file.write(pcap([]))
        some: list[Frame] = []
        for frame in frames(kind, count):
            some.append(frame)
            if len(some) >= _WRITTEN_AT_ONCE:
                file.write(pcap(some)[24:])
                some.clear()
        file.write(pcap(some)[24:])
    return path
