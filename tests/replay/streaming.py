"""Tapes for the tests, made of what one side says on each of their records."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from ipaddress import ip_address

from netplayground.dump.model import CLIENT, Connection, Ending, Endpoint
from netplayground.replay.tape import CHUNK, ESTABLISHED, FIN, SYN, Record, Tape


def connection(number: int) -> Connection:
    client, server = Endpoint(ip_address("10.0.0.2"), 40000 + number), Endpoint(ip_address("10.0.0.1"), 80)
    return Connection(number, client, server, "app", "db", 0, 0, None, (0, 0), (0, 0), Ending.OPEN, 0, 0)


def tape_of(*streams: bytes, events: Sequence[int] = (7,), side: int = CLIENT) -> Tape:
    """A tape with a record for each stream; its chunks are of the given lengths, over and over."""
    held = b"".join(streams)

    def read(offset: int, length: int) -> bytes:
        assert offset + length <= len(held) and length > 0
        return held[offset : offset + length]

    tape = Tape((), read)
    base = 0
    for number, stream in enumerate(streams):
        tape.records.append(Record(number, connection(number), 0, 1))
        tape.add(number, SYN, 0)
        tape.add(number, ESTABLISHED, 0)
        at = 0
        for piece in pieces(stream, events):
            tape.add(number, CHUNK | side, 0, base + at, len(piece))
            at += len(piece)
        tape.add(number, FIN | side, 0)
        base += len(stream)
    return tape


def pieces(data: bytes, sizes: Sequence[int]) -> Iterator[bytes]:
    """Cut data into pieces of the given sizes, over and over."""
    at = turn = 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        yield data[at : at + size]
        at, turn = at + size, turn + 1
