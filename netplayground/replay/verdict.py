"""What a replay found: values for the summary and, as JSON, for machines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum

from netplayground.dump.model import SIDES
from netplayground.replay.tape import LeftOut

WINDOW = 16
"""Bytes shown before the first that differs; twice as many after."""


class DivergenceKind(Enum):
    """What a live process did otherwise than recorded."""

    DIFFERENT = "different bytes"
    MISSING = "missing bytes"
    EXTRA = "extra bytes"
    CLOSED = "closed otherwise"
    NO_CONNECTION = "missing connection"
    EXTRA_CONNECTION = "extra connection"
    REORDERED = "other order"
    STALLED = "stalled"


@dataclass(frozen=True, slots=True)
class Divergence:
    """One place where a live process left the tape.

    `record` is the recorded connection (None: the tape has none); `side` is the process's in it; `offset`
    counts the bytes that this side had said there by then, in the recording. `expected` and `actual` begin at
    `window`, a little before `offset`, for bytes that differ.
    """

    kind: DivergenceKind
    process: str
    record: int | None
    connection: str
    """For people: who to whom, "app -> db:5432"."""
    side: int
    offset: int
    text: str
    """What happened, in one clause."""
    time_ns: int
    """On the tape, since its beginning."""
    window: int = 0
    expected: bytes = b""
    actual: bytes = b""

    def describe(self) -> str:
        """One line without the bytes."""
        number = "" if self.record is None else f" {self.record}"
        return f"{self.process}, connection{number} {self.connection}, byte {self.offset}: {self.text}"

    def as_json(self) -> dict[str, object]:
        """What `--report` writes of it."""
        return {
            "kind": self.kind.name.lower().replace("_", "-"),
            "process": self.process,
            "record": self.record,
            "connection": self.connection,
            "side": SIDES[self.side],
            "offset": self.offset,
            "text": self.text,
            "time_ns": self.time_ns,
            "window": self.window,
            "expected": self.expected.hex(),
            "actual": self.actual.hex(),
        }


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a whole replay came to. `divergences` is in recorded order; only so many are kept as a person may
    read, `divergence_count` counts all. `bytes` count what live processes were to say and to hear."""

    connections: int
    connections_matched: int
    bytes: int
    bytes_matched: int
    datagrams: int = 0
    datagrams_matched: int = 0
    divergence_count: int = 0
    divergences: tuple[Divergence, ...] = ()
    notes: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    reordered: int = 0
    rematched: int = 0
    masked_bytes: int = 0
    is_over: bool = False
    """Whether all that the tape had was played and heard."""
    left_out: tuple[LeftOut, ...] = ()
    """Connections of a capture that are not whole, and were not played."""
    missing: str = ""
    """What a torn tape lacks."""

    @property
    def has_diverged(self) -> bool:
        return self.divergence_count > 0

    @property
    def first(self) -> Divergence | None:
        """The divergence that comes first in the recording."""
        return self.divergences[0] if self.divergences else None

    @property
    def connection_share(self) -> float:
        return self.connections_matched / self.connections if self.connections else 1.0

    @property
    def byte_share(self) -> float:
        return self.bytes_matched / self.bytes if self.bytes else 1.0

    @property
    def datagram_share(self) -> float:
        return self.datagrams_matched / self.datagrams if self.datagrams else 1.0

    def as_json(self) -> dict[str, object]:
        """What `--report` writes."""
        return {
            "connections": self.connections,
            "connections_matched": self.connections_matched,
            "bytes": self.bytes,
            "bytes_matched": self.bytes_matched,
            "datagrams": self.datagrams,
            "datagrams_matched": self.datagrams_matched,
            "divergence_count": self.divergence_count,
            "divergences": [divergence.as_json() for divergence in self.divergences],
            "notes": dict(self.notes),
            "warnings": list(self.warnings),
            "reordered": self.reordered,
            "rematched": self.rematched,
            "masked_bytes": self.masked_bytes,
            "is_over": self.is_over,
            "left_out": [
                {"connection": each.connection.id, "bytes": each.bytes, "why": each.why}
                for each in self.left_out
            ],
            "missing": self.missing,
        }
