"""How a run goes, at one moment: for people who look on."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass

FIRST_LOOK_S = 0.5
"""Whoever looks on is told nothing of a run that is over sooner."""
LOOK_EVERY_S = 0.25
REST_PER_LOOK = 50
"""After a look that took long, because there are many connections to count, the next one comes later."""


@dataclass(frozen=True, slots=True)
class ProcessStatus:
    """One process, and what it does or how it ended."""

    name: str
    state: str
    is_running: bool
    has_failed: bool = False


@dataclass(frozen=True, slots=True)
class TapeStatus:
    """How far a replay is; times are the recording's, since its beginning."""

    position_ns: int
    length_ns: int
    divergences: int


@dataclass(frozen=True, slots=True)
class Status:
    """A run after `seconds`. A replay has a tape, and does not count bytes and datagrams."""

    seconds: float
    processes: tuple[ProcessStatus, ...]
    open_connections: int
    dropped: int
    connections: int = 0
    bytes_to_servers: int = 0
    bytes_to_clients: int = 0
    datagrams: int = 0
    tape: TapeStatus | None = None


Watch = Callable[[Status], None]


def emit_status(status: Status) -> bytes:
    """As it goes to another process."""
    return json.dumps(asdict(status)).encode()


def parse_status(data: bytes) -> Status:
    """What `emit_status` gave."""
    fields = json.loads(data)
    processes = tuple(ProcessStatus(**each) for each in fields.pop("processes"))
    tape = fields.pop("tape")
    return Status(**fields, processes=processes, tape=None if tape is None else TapeStatus(**tape))
