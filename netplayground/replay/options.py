"""How a replay is to be played, as values."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

SECOND_NS = 1_000_000_000


class Pace(Enum):
    """Whether an event waits for its time and for its turn."""

    TIMED = "timed"  # for both; recorded time is divided by `speed`
    MAX = "max"  # for its turn, and for short gaps between connections of one process
    FLOOD = "flood"  # for neither


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
    patience_ns: int = SECOND_NS // 5
    stall_ns: int = 10 * SECOND_NS  # 0: never
    strict_order: bool = False
    on_divergence: OnDivergence = OnDivergence.FAIL
    ignore: tuple[bytes, ...] = ()  # regular expressions
    ephemeral: tuple[int, int] = (32768, 60999)
    """Linux's net.ipv4.ip_local_port_range: a server's port in it was chosen by its kernel."""
