"""What the page holds of a recording: every event that fits, in the order of the run, and its payload.

Events are columns (time, flow, what, length, bytes kept); payload is one text of bytes, in which each flow's
two directions lie one after the other, so that a search finds what crosses the border of two chunks. Where
not all fits, each direction keeps its beginning, and each flow its first chunks (`fair_limit`); what was left
out is said in a sentence each. One walk through the recording; memory is bounded by the room.
"""

from __future__ import annotations

import base64
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from netplayground.dump.model import Datagram, Event, EventKind
from netplayground.dump.recording import Recording
from netplayground.dump.soundness import Soundness
from netplayground.replay.redaction import Span, parse_redactions
from netplayground.report.flows import DatagramFlows, Flow, Lanes, flow_of_connection
from netplayground.report.share import fair_limit

KINDS = tuple(kind.value for kind in EventKind)
_CODES = {kind: code for code, kind in enumerate(EventKind)}
_SIDE_BIT = 0x80
_TALK = (EventKind.CHUNK, EventKind.DATAGRAM)

Progress = Callable[[int, int], None]
"""Told how many bytes of the file have been read, and how many there are."""


@dataclass(frozen=True, slots=True)
class Room:
    """How much a page may hold: bytes of payload, chunks (datagrams too), flows."""

    payload: int = 16 << 20
    chunks: int = 300_000
    flows: int = 50_000


@dataclass(slots=True)
class Columns:
    """The events, a value of each for every event; `seconds` count from the start of the run."""

    seconds: array[float] = field(default_factory=lambda: array("d"))
    flow: array[int] = field(default_factory=lambda: array("I"))
    kind: array[int] = field(default_factory=lambda: array("B"))
    length: array[int] = field(default_factory=lambda: array("Q"))
    kept: array[int] = field(default_factory=lambda: array("I"))

    def as_json(self) -> dict[str, str]:
        """Each column as base64 of its little-endian numbers; lengths as doubles, for JavaScript."""
        lengths = array("d", map(float, self.length))
        return {
            "seconds": emit_column(self.seconds),
            "flow": emit_column(self.flow),
            "kind": emit_column(self.kind),
            "length": emit_column(lengths),
            "kept": emit_column(self.kept),
        }


@dataclass(slots=True)
class Content:
    """All that the page tells of the traffic; `left_out` is for people."""

    lanes: list[str]
    flows: list[Flow]
    columns: Columns
    redacted: array[int]
    """Triples: a direction (twice its flow, plus its side), where in its bytes what was redacted begins, and
    where it ends."""
    first_ns: int | None
    left_out: tuple[str, ...]

    def payload(self) -> str:
        """All bytes kept, as base64."""
        return base64.b64encode(b"".join(side for flow in self.flows for side in flow.payload)).decode()


def read_content(recording: Recording, room: Room, progress: Progress) -> Content:
    """Walk through a recording and keep what fits; DamagedDumpError where it is not what was written."""
    return _Reader(recording, room).read(progress)


class _Reader:
    def __init__(self, recording: Recording, room: Room) -> None:
        self._recording = recording
        self._soundness = Soundness(recording)
        self._room = room
        self._lanes = Lanes(recording.processes)
        self._connections = [
            flow_of_connection(recording.connections[identity], self._lanes)
            for identity in range(min(len(recording.connections), room.flows))
        ]
        self._datagrams = DatagramFlows(self._lanes, room.flows - len(self._connections))
        for datagram in recording.datagrams():
            self._datagrams.count(datagram)
        self._flows = self._connections + self._datagrams.flows
        self._stream_limit = fair_limit((size for flow in self._flows for size in flow.bytes), room.payload)
        self._chunk_limit = fair_limit((sum(flow.chunks) for flow in self._flows), room.chunks)
        self._columns = Columns()
        self._began_ns = recording.run.started_ns
        self._chunks_left = 0
        self._bytes_left = 0
        self._first_ns: int | None = None
        self._redactions = parse_redactions(recording.facts())
        self._redacted = array("I")

    def read(self, progress: Progress) -> Content:
        for at, each in self._numbered():
            if isinstance(each, Datagram):
                found = self._datagrams.find(each)
                flow, side = found if found is not None else (-1, 0)
                flow += len(self._connections) if found is not None else 0
                self._take(flow, EventKind.DATAGRAM, side, each)
            else:
                identity, event = each
                flow = identity if identity < len(self._connections) else -1
                self._take(flow, event.kind, event.side, event)
            if not at & 0xFFF:
                progress(self._place(each), self._recording.size)
        for (identity, side), spans in self._redactions.streams.items():
            if identity < len(self._connections):
                self._redact(identity, side, 0, spans)
        return Content(
            self._lanes.names,
            self._flows,
            self._columns,
            self._redacted,
            self._first_ns,
            tuple(self._sentences()),
        )

    def _redact(self, flow: int, side: int, at: int, spans: Iterable[Span]) -> None:
        """Note what was redacted, as far as the page holds it; it counts from `at`."""
        held = len(self._flows[flow].payload[side])
        for start, end in spans:
            if at + start < held:
                self._redacted.extend((2 * flow + side, at + start, min(at + end, held)))

    def _numbered(self) -> Iterator[tuple[int, tuple[int, Event] | Datagram]]:
        return enumerate(self._recording.in_order())

    def _take(self, flow: int, kind: EventKind, side: int, event: Event | Datagram) -> None:
        if self._first_ns is None:
            self._first_ns = event.time_ns
        if flow < 0:
            self._chunks_left += kind in _TALK
            self._bytes_left += event.length
            return
        its = self._flows[flow]
        if kind in _TALK:
            if its.kept_chunks >= self._chunk_limit:
                self._chunks_left += 1
                self._bytes_left += event.length
                return
            its.kept_chunks += 1
        payload = its.payload[side]
        kept = min(event.length, self._stream_limit - len(payload))
        if kept:
            self._soundness.assure(event.offset, kept)
            payload += self._recording.read(event.offset, kept)
            if kind is EventKind.DATAGRAM:
                spans = self._redactions.datagrams.get(event.offset, ())
                self._redact(flow, side, len(payload) - kept, spans)
        self._bytes_left += event.length - kept
        self._append(flow, kind, side, event, kept)

    def _append(self, flow: int, kind: EventKind, side: int, event: Event | Datagram, kept: int) -> None:
        columns = self._columns
        columns.seconds.append(max(0, event.time_ns - self._began_ns) / 1e9)
        columns.flow.append(flow)
        columns.kind.append(_CODES[kind] | (_SIDE_BIT if side else 0))
        columns.length.append(event.length)
        columns.kept.append(kept)

    def _place(self, each: tuple[int, Event] | Datagram) -> int:
        return each.offset if isinstance(each, Datagram) else each[1].offset

    def _sentences(self) -> Iterator[str]:
        there = len(self._recording.connections)
        if there > len(self._connections):
            left = there - len(self._connections)
            yield f"{left:,} of {there:,} connections: the page holds the first ones."
        if self._chunks_left:
            yield (
                f"{self._chunks_left:,} chunks: of each connection the page holds "
                f"the first {self._chunk_limit:,}."
            )
        if self._bytes_left:
            yield (
                f"{self._bytes_left:,} bytes of payload: of each direction of each connection the page holds "
                f"at most the first {self._stream_limit:,}."
            )


def emit_column(column: array[int] | array[float]) -> str:
    """Little-endian numbers as base64."""
    if sys.byteorder == "big":
        column = column[:]
        column.byteswap()
    return base64.b64encode(column.tobytes()).decode()
