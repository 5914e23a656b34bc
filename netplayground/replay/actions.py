"""What a player asks of whoever has the sockets: values, to be carried out in the order in which they come.

`connection` is the id that `Player.on_syn` gave, or, for a canned client, that of the first `Connect`. `side`
is always the process that is to hear it: `Give(7, CLIENT, …)` goes to the client's socket of connection 7.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Accept:
    """Let the held SYN go: the live client's connect() succeeds."""

    connection: int


@dataclass(frozen=True, slots=True)
class Refuse:
    """Answer the held SYN with RST; the connection is over."""

    connection: int


@dataclass(frozen=True, slots=True)
class Unreachable:
    """Answer the held SYN with ICMP unreachable; the connection is over."""

    connection: int


@dataclass(frozen=True, slots=True)
class Silence:
    """Forget the held SYN without a word, and those that the client sends again for it."""

    connection: int


@dataclass(frozen=True, slots=True)
class Connect:
    """Connect to a live server, for a live client (whose SYN is held) or for a canned one, from `client`'s address.

    Where `is_dynamic`, the server chose its port anew: `port` itself if it listens there, else its newest
    listening port of the ephemeral range that no other connection was sent to. Answer with `on_connected` or
    `on_connect_failed`; after a failure the same action comes again, 10 ms later.
    """

    connection: int
    client: str
    server: str
    port: int
    is_dynamic: bool


@dataclass(frozen=True, slots=True)
class Give:
    """Hand the process on `side` these bytes of the tape's file."""

    connection: int
    side: int
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class GiveBytes:
    """Hand the process on `side` these bytes, which stand in no file."""

    connection: int
    side: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Fin:
    """Close the direction toward the process on `side`, after all that it was given before."""

    connection: int
    side: int


@dataclass(frozen=True, slots=True)
class Reset:
    """Abort the connection toward the process on `side`, after all that it was given before."""

    connection: int
    side: int


@dataclass(frozen=True, slots=True)
class Signal:
    """Send the process its kill signal: the recording's run ended it here."""

    process: str


@dataclass(frozen=True, slots=True)
class EndRun:
    """End the run as the end of a recording does; comes once."""

    why: str


Action = (
    Accept
    | Refuse
    | Unreachable
    | Silence
    | Connect
    | Give
    | GiveBytes
    | Fin
    | Reset
    | Signal
    | EndRun
)
