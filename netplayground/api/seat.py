"""The seat of this program in a playground, by way of its agent (sandbox/agent.py says what it is asked)."""

from __future__ import annotations

import contextlib
import json
import os
import socket
from collections.abc import Mapping, Sequence

from netplayground.errors import PlaygroundOverError
from netplayground.sandbox.agent import CONVERSATION, END

_LARGEST = 65536
_MOST_DESCRIPTORS = 8


class Seat:
    """Asks the agent; from any thread, and from any fork."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def end(self) -> None:
        """Let the agent exit; a second time it does nothing."""
        if self._channel.fileno() >= 0:
            with contextlib.suppress(ConnectionError):  # it is gone
                self._channel.send(END)
            self._channel.close()

    def open_socket(self, family: int, kind: int, protocol: int) -> int:
        """The descriptor of a socket in the seat's network; OSError."""
        request = {"do": "socket", "family": family, "type": kind, "protocol": protocol}
        with self._converse(request) as conversation:
            return _answer(conversation)[1][0]

    def namespaces(self) -> dict[str, int]:
        """Descriptors of the seat's namespaces by kind, in the order in which they are to be entered."""
        with self._converse({"do": "namespaces"}) as conversation:
            answer, descriptors = _answer(conversation)
        names = answer["names"]
        assert isinstance(names, list)
        return dict(zip(names, descriptors, strict=True))

    def run(
        self, command: str, environment: Mapping[str, str], folder: str, standard: Sequence[int]
    ) -> socket.socket:
        """Begin to run a line of the shell, with these three as stdin, stdout and stderr. What comes back is
        readable at its end, for `status_of`; to close it before that kills the command."""
        request = {"do": "run", "command": command, "environment": dict(environment), "folder": folder}
        return self._converse(request, standard)

    def _converse(self, request: Mapping[str, object], descriptors: Sequence[int] = ()) -> socket.socket:
        here, there = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            here.settimeout(None)  # whatever setdefaulttimeout() says
            with there:
                socket.send_fds(self._channel, [CONVERSATION], [there.fileno()])
            line = json.dumps(request).encode() + b"\n"
            sent = socket.send_fds(here, [line], descriptors) if descriptors else 0
            if sent < len(line):
                here.sendall(line[sent:])
            return here
        except (BrokenPipeError, ConnectionError) as error:
            here.close()
            raise _over() from error
        except OSError as error:
            here.close()
            if self._channel.fileno() < 0:
                raise _over() from error
            raise


def status_of(conversation: socket.socket) -> int:
    """The status of a command that is over, as waitpid() gives it."""
    status = _answer(conversation)[0]["status"]
    assert isinstance(status, int)
    return status


def _answer(conversation: socket.socket) -> tuple[dict[str, object], list[int]]:
    try:
        line, descriptors, _, _ = socket.recv_fds(
            conversation, _LARGEST, _MOST_DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
        )
        while line and not line.endswith(b"\n") and (more := conversation.recv(_LARGEST)):
            line += more
    except ConnectionResetError as error:
        raise _over() from error
    if not line.endswith(b"\n"):
        raise _over()
    answer: dict[str, object] = json.loads(line)
    number = answer.get("errno")
    if isinstance(number, int):
        raise OSError(number, os.strerror(number))
    return answer, descriptors


def _over() -> PlaygroundOverError:
    return PlaygroundOverError("cannot ask for anything: the playground is over")
