"""How a replay is to be played, as values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from netplayground.errors import UsageError

SECOND_NS = 1_000_000_000

_ECHO_RULE = re.compile(r"(\d+):(\d+)@(\d+)", re.ASCII)
_LARGEST = 65_507


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


class Strictness(Enum):
    """How datagrams are compared."""

    STRICT = "strict"
    LOSSY = "lossy"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class EchoRule:
    """Bytes of a request that its answer repeats, in datagrams to and from a port."""

    offset: int
    length: int
    port: int

    def __str__(self) -> str:
        return f"{self.offset}:{self.length}@{self.port}"


def parse_echo_rule(text: str) -> EchoRule:
    """OFFSET:LEN@PORT; UsageError for anything else."""
    match = _ECHO_RULE.fullmatch(text)
    if match is None:
        raise UsageError(f"cannot use --echo {text}: not like OFFSET:LEN@PORT")
    rule = EchoRule(*map(int, match.groups()))
    if not rule.length or rule.offset + rule.length > _LARGEST or not 1 <= rule.port <= 65535:
        raise UsageError(f"cannot use --echo {text}: no datagram has such bytes or such a port")
    return rule


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
    udp: Strictness = Strictness.LOSSY
    echo: tuple[EchoRule, ...] = ()
    ephemeral: tuple[int, int] = (32768, 60999)
    """Linux's net.ipv4.ip_local_port_range: a server's port in it was chosen by its kernel."""
