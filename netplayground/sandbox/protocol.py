"""The words that plg and a process's PID 1 exchange over their socket pair, each one packet.

While the process is born:   ← Mapped   Ready → (with descriptors)
While it lives:              ← Start   ← Deliver / ← Finish   CommandFailed →   Exited →   then end of file
At any point:                Refused → and end of file, when the kernel said no

The end of file toward PID 1 means that plg is gone, and PID 1 with everything under it goes too.
"""

from __future__ import annotations

import json
import socket
from dataclasses import astuple, dataclass

_LARGEST = 65536


@dataclass(frozen=True, slots=True)
class Mapped:
    """plg has written the id maps."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The namespaces stand; the descriptors of `playground.HeldFiles` come along."""


@dataclass(frozen=True, slots=True)
class Refused:
    """A step of the set-up that the kernel refused; `step` is a `refusals.Step` value."""

    step: str
    errno: int
    subject: str


@dataclass(frozen=True, slots=True)
class Start:
    """Let the command run."""


@dataclass(frozen=True, slots=True)
class Deliver:
    """Send a signal to the command's process group."""

    signal: int


@dataclass(frozen=True, slots=True)
class Finish:
    """Send the kill signal, and after the grace SIGKILL to whatever is left."""


@dataclass(frozen=True, slots=True)
class CommandFailed:
    """The command could not be run at all."""

    errno: int
    text: str


@dataclass(frozen=True, slots=True)
class Exited:
    """The command's own process has ended; `status` is as waitpid() gives it."""

    status: int


Message = Mapped | Ready | Refused | Start | Deliver | Finish | CommandFailed | Exited
_KINDS = {kind.__name__: kind for kind in Message.__args__}


class MalformedMessage(ValueError):
    """The bytes are no message of this protocol."""


def emit_message(message: Message) -> bytes:
    return json.dumps([type(message).__name__, *astuple(message)]).encode()


def parse_message(data: bytes) -> Message:
    """The message, or MalformedMessage."""
    try:
        name, *values = json.loads(data)
        kind = _KINDS[name]
        expected = [{"int": int, "str": str}[field.type] for field in kind.__dataclass_fields__.values()]
        if [type(value) for value in values] != expected:
            raise TypeError(f"wrong values for {name}")
        message: Message = kind(*values)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise MalformedMessage(f"not a control message: {data[:80]!r}") from error
    return message


def send(channel: socket.socket, message: Message, descriptors: tuple[int, ...] = ()) -> None:
    if descriptors:
        socket.send_fds(channel, [emit_message(message)], descriptors)
    else:
        channel.send(emit_message(message))


def receive(channel: socket.socket) -> Message | None:
    """The next message; None when the other end is gone."""
    try:
        data = channel.recv(_LARGEST)
    except ConnectionResetError:
        # The other end went with something of ours unread.
        return None
    return parse_message(data) if data else None
