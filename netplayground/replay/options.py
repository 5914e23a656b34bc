"""How a replay is to be played, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

SECOND_NS = 1_000_000_000


class Pace(Enum):
    """Whether an event waits for its time and for its turn."""

    TIMED = "timed"
    """Both; recorded time divided by `speed`."""
    MAX = "max"
    """Turn, no time but short gaps between connections of one process."""
    FLOOD = "flood"
    """Neither."""


class OnDivergence(Enum):
    """What a divergence does to the run."""

    FAIL = "fail"
    WARN = "warn"
    STOP = "stop"


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """The options of a replay; times in nanoseconds."""

    pace: Pace = Pace.TIMED
    speed: float = 1.0
    patience_ns: int = 200_000_000
    stall_ns: int = 10 * SECOND_NS
    """0: never."""
    strict_order: bool = False
    on_divergence: OnDivergence = OnDivergence.FAIL
    ignore: tuple[bytes, ...] = ()
    """Regular expressions on bytes."""
    ephemeral: tuple[int, int] = field(default=(32768, 60999))
    """The recording host's net.ipv4.ip_local_port_range: server ports in it are dynamic."""
