"""A listener that remembers what it was told, and a way to feed frames to a reassembler."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from capture.frames import Frame

from netplayground.capture.connection import Connection, Gaps
from netplayground.capture.network import parse_network, parse_segment
from netplayground.capture.reassembly import Limits, Reassembler
from netplayground.capture.stream import Overlap
from netplayground.dump.model import Ending
from netplayground.packet.checksum import Octets


@dataclass
class Heard:
    """One connection as it was told."""

    client: bytes = b""
    said: list[bytearray] = field(default_factory=lambda: [bytearray(), bytearray()])
    missing: list[int] = field(default_factory=lambda: [0, 0])
    differing: list[int] = field(default_factory=lambda: [0, 0])
    ends_missing: list[int] = field(default_factory=list)
    fins: list[int] = field(default_factory=list)
    established: bool = False
    has_start: bool = True
    ending: Ending | None = None
    sequences: dict[tuple[int, int], int] = field(default_factory=dict)

    @property
    def streams(self) -> tuple[bytes, bytes]:
        return bytes(self.said[0]), bytes(self.said[1])


class Ears:
    """The listener."""

    def __init__(self) -> None:
        self.heard: list[Heard] = []

    def opened(self, connection: Connection) -> None:
        heard = Heard(has_start=connection.initial[connection.client] >= 0)
        key = connection.key
        half = (len(key) - 4) // 2
        heard.client = key[:half] if connection.client == 0 else key[half : 2 * half]
        connection.told = heard
        self.heard.append(heard)

    def established(self, connection: Connection) -> None:
        heard = _told(connection)
        assert not heard.established and heard.ending is None
        heard.established = True

    def said(self, connection: Connection, side: int, sequence: int, data: Octets) -> None:
        heard = _told(connection)
        assert heard.established and heard.ending is None and side not in heard.fins and len(data)
        for at, octet in enumerate(bytes(data)):
            heard.sequences[side, sequence + at] = octet
        heard.said[side] += data

    def missed(self, connection: Connection, side: int, length: int) -> None:
        heard = _told(connection)
        assert length > 0 and side not in heard.fins
        heard.missing[side] += length

    def end_missed(self, connection: Connection, side: int) -> None:
        heard = _told(connection)
        assert side not in heard.fins and side not in heard.ends_missing
        heard.ends_missing.append(side)

    def differed(self, connection: Connection, side: int, sequence: int, count: int) -> None:
        if connection.is_opened:
            _told(connection).differing[side] += count

    def finished(self, connection: Connection, side: int) -> None:
        heard = _told(connection)
        assert side not in heard.fins and heard.ending is None
        heard.fins.append(side)

    def ended(self, connection: Connection, ending: Ending) -> None:
        heard = _told(connection)
        assert heard.ending is None
        heard.ending = ending

    def recall(self, connection: Connection, side: int, sequence: int, length: int) -> bytes | None:
        heard = _told(connection)
        octets = [heard.sequences.get((side, at)) for at in range(sequence, sequence + length)]
        return None if None in octets else bytes(octet for octet in octets if octet is not None)


def _told(connection: Connection) -> Heard:
    heard = connection.told
    assert isinstance(heard, Heard)
    return heard


def feed(reassembler: Reassembler, frame: Frame) -> None:
    """Hand one captured packet over."""
    buffer = memoryview(frame.packet)
    reassembler.advance(max(reassembler.now, frame.time_ns), 1)
    segment = parse_segment(buffer, parse_network(buffer, 0, len(buffer)))
    data = buffer[segment.begin : segment.end]
    reassembler.segment(
        segment.key, segment.sequence, segment.acknowledgement, segment.flags, data, segment.missing
    )


def reassemble(
    frames: Iterable[Frame],
    overlap: Overlap = Overlap.FIRST_WINS,
    gaps: Gaps = Gaps.SKIP,
    limits: Limits | None = None,
) -> list[Heard]:
    """Give the connections of a whole capture."""
    ears = Ears()
    reassembler = Reassembler(ears, overlap, gaps, limits)
    for frame in frames:
        feed(reassembler, frame)
    reassembler.finish()
    assert reassembler.held == 0
    return ears.heard
