"""The agent of a seat: it does inside what the program that has the seat asks for from outside.

A seat is a process of the run without a command: whoever started plg plays its part. The agent runs in place
of a command, with the namespaces and the powers that a command would have. Each packet of its channel brings
a conversation, a stream socket of its own, so that any number of threads and forks may ask at the same time.
A conversation is one request, a line of JSON, and one answer:

    {"do": "socket", "family": …, "type": …, "protocol": …}    → {} and a socket made in this network
    {"do": "namespaces"}                                       → {"names": […]} and a descriptor of each
    {"do": "run", "command": …, "environment": …, "folder": …} → {"status": …} of waitpid(2), at its end

`run` comes with three descriptors, its stdin, stdout and stderr. What the kernel refuses is {"errno": …}.
Whoever hangs up before the answer ends what was asked for. At the end of the channel the agent exits, and
with it the seat; a packet `end` says the same while somebody else still holds the other end.
"""

from __future__ import annotations

import array
import contextlib
import json
import os
import selectors
import signal
import socket
import traceback
from collections.abc import Mapping
from typing import Final, NoReturn

from netplayground.sandbox import kernel
from netplayground.sandbox.inheritance import Inheritance

CONVERSATION: Final = b"."
END: Final = b"end"
NAMESPACES: Final = ("user", "net", "uts", "mnt", "pid")
"""In the order in which one who comes from outside has to enter them."""

_SHELL: Final = "/bin/sh"
_STANDARD: Final = 3
_LARGEST: Final = 65536
_CANNOT_RUN: Final = 126


class Agent:
    """Serves conversations until the channel ends."""

    def __init__(self, channel: int, environment: Mapping[str, str], inheritance: Inheritance) -> None:
        self._own = {name: value for name, value in environment.items() if name.startswith("PLG_")}
        self._inheritance = inheritance
        self._channel = socket.socket(fileno=channel)
        self._selector = selectors.DefaultSelector()
        self._running: dict[socket.socket, int] = {}  # conversation -> pid of its command

    def serve(self) -> NoReturn:
        """Serve, then exit."""
        self._selector.register(self._channel, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.fileobj is self._channel:
                    self._take_conversation()
                elif isinstance(key.fileobj, socket.socket):
                    self._hang_up(key.fileobj)
                else:
                    self._command_ended(*key.data)

    def _take_conversation(self) -> None:
        packet, descriptors = _receive(self._channel, 16, 1)
        if not packet or packet == END:
            os._exit(0)
        for descriptor in descriptors:
            conversation = socket.socket(fileno=descriptor)
            with contextlib.suppress(ConnectionError):  # it is of no interest any more
                if self._serve(conversation):
                    continue
            conversation.close()

    def _serve(self, conversation: socket.socket) -> bool:
        """Answer one request; whether the answer comes later."""
        line, descriptors = _read_request(conversation)
        if not line.endswith(b"\n"):
            return False
        request = json.loads(line)
        try:
            match request["do"]:
                case "socket":
                    with socket.socket(request["family"], request["type"], request["protocol"]) as made:
                        _answer(conversation, {}, (made.fileno(),))
                case "namespaces":
                    self._give_namespaces(conversation)
                case "run":
                    self._run(conversation, request, descriptors)
                    return True
        except OSError as error:
            if isinstance(error, ConnectionError):
                raise
            _answer(conversation, {"errno": error.errno})
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        return False

    def _give_namespaces(self, conversation: socket.socket) -> None:
        flags = os.O_RDONLY | os.O_CLOEXEC
        held: list[int] = []
        try:
            for name in NAMESPACES:
                held.append(os.open(f"/proc/self/ns/{name}", flags))
            _answer(conversation, {"names": NAMESPACES}, tuple(held))
        finally:
            for descriptor in held:
                os.close(descriptor)

    # Commands.

    def _run(
        self, conversation: socket.socket, request: Mapping[str, object], descriptors: list[int]
    ) -> None:
        if len(descriptors) != _STANDARD:
            raise OSError(9, "no descriptors")
        pid = os.fork()
        if pid == 0:
            self._become(request, descriptors)
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(pid, pid)
        handle = os.pidfd_open(pid)
        self._running[conversation] = pid
        self._selector.register(handle, selectors.EVENT_READ, (handle, pid, conversation))
        self._selector.register(conversation, selectors.EVENT_READ)

    def _become(self, request: Mapping[str, object], descriptors: list[int]) -> NoReturn:
        try:
            os.setpgid(0, 0)
            _take_standard(descriptors)
            kernel.close_all_but({*range(_STANDARD), *self._inheritance.descriptors})
            folder, environment = request["folder"], request["environment"]
            assert isinstance(folder, str) and isinstance(environment, dict)
            os.chdir(folder)
            self._inheritance.restore()
            os.execve(_SHELL, ["sh", "-c", str(request["command"])], {**environment, **self._own})
        except OSError as error:
            os.write(2, f"{error.filename or _SHELL}: {error.strerror}\n".encode())
        finally:
            os._exit(_CANNOT_RUN)

    def _command_ended(self, handle: int, pid: int, conversation: socket.socket) -> None:
        _, status = os.waitpid(pid, 0)
        self._selector.unregister(handle)
        os.close(handle)
        if self._running.pop(conversation, None) is not None:
            self._selector.unregister(conversation)
            with contextlib.suppress(ConnectionError):
                _answer(conversation, {"status": status})
            conversation.close()

    def _hang_up(self, conversation: socket.socket) -> None:
        """Nobody waits for the command any more."""
        pid = self._running.pop(conversation, None)
        if pid is None:
            return  # its command has ended in the same batch of events
        self._selector.unregister(conversation)
        conversation.close()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


def _take_standard(descriptors: list[int]) -> None:
    """Make these three the calling process's stdin, stdout and stderr; none of them is one of the old."""
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number, inheritable=True)


def become_agent(channel: int, environment: Mapping[str, str], inheritance: Inheritance) -> NoReturn:
    """Be the agent from now on: a fork of PID 1, without its handlers and its descriptors."""
    signal.set_wakeup_fd(-1)
    for number in (signal.SIGCHLD, signal.SIGPWR):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    kernel.close_all_but({*range(_STANDARD), channel, *inheritance.descriptors})
    try:
        Agent(channel, environment, inheritance).serve()
    except Exception:
        traceback.print_exc()
        os._exit(1)


def _read_request(conversation: socket.socket) -> tuple[bytes, list[int]]:
    line, descriptors = _receive(conversation, _LARGEST, _STANDARD)
    while line and not line.endswith(b"\n") and (more := conversation.recv(_LARGEST)):
        line += more
    return line, descriptors


def _receive(channel: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    found = array.array("i")
    flags = socket.MSG_CMSG_CLOEXEC
    data, ancillary, _, _ = channel.recvmsg(size, socket.CMSG_SPACE(most * found.itemsize), flags)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            found.frombytes(content[: len(content) - len(content) % found.itemsize])
    return data, list(found)


def _answer(
    conversation: socket.socket, answer: Mapping[str, object], descriptors: tuple[int, ...] = ()
) -> None:
    line = json.dumps(answer).encode() + b"\n"
    if descriptors:
        socket.send_fds(conversation, [line], descriptors)
    else:
        conversation.sendall(line)
