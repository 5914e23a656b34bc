"""One process of a playground, seen from plg: a socket to its PID 1 and descriptors into its namespace.

States: coming (PID 1 sets itself up) → standing (its descriptors are here) → gone. close() ends it
in any of them.
"""

from __future__ import annotations

import array
import contextlib
import errno
import os
import signal
import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from netplayground.errors import SandboxError
from netplayground.sandbox import protocol, tables, tun
from netplayground.sandbox.last_will import LastWill
from netplayground.sandbox.proxy import write_once
from netplayground.sandbox.refusals import Refusal, Step, attempting

_LARGEST: Final = 65536


@dataclass(frozen=True, slots=True)
class ProcessSpec:
    """One process to be: addresses may carry the subnet's prefix (IPv4Interface), else they are hosts."""

    name: str
    position: int
    command: str
    address4: IPv4Address
    address6: IPv6Address | None = None


@dataclass(frozen=True, slots=True)
class ProcessExited:
    """The command's own process has ended, by itself (`code`) or by a signal; the rest may still live."""

    code: int | None
    signal: int | None


@dataclass(frozen=True, slots=True)
class CommandFailed:
    """The command could not be run."""

    errno: int
    text: str


@dataclass(frozen=True, slots=True)
class Gone:
    """Nothing of the process is left but its namespace's network, which plg holds until close()."""


Event = ProcessExited | CommandFailed | Gone


@dataclass(frozen=True, slots=True)
class IdMaps:
    """The texts for uid_map and gid_map of a process's user namespace."""

    uids: str
    gids: str


class SandboxedProcess:
    """plg's hold on one process. After Gone, `control` stays readable: stop polling it."""

    def __init__(
        self, spec: ProcessSpec, channel: socket.socket, pid: int, table_names: Sequence[str]
    ) -> None:
        self.name = spec.name
        self.position = spec.position
        self._table_names = table_names
        self.tun_fd = -1
        self._channel = channel
        self._last_will: LastWill | None = None
        self._tables: dict[str, int] = {}
        self.pid = pid
        self._is_gone = False
        channel.setblocking(False)

    @property
    def control(self) -> int:
        """The descriptor that becomes readable when read_messages() has something."""
        return self._channel.fileno()

    def let_be_born(self, id_maps: IdMaps) -> None:
        """Give the process its ids, and let it set itself up."""
        with attempting(Step.ID_MAPS):
            write_once(f"/proc/{self.pid}/uid_map", id_maps.uids)
            write_once(f"/proc/{self.pid}/gid_map", id_maps.gids)
        self._tell(protocol.Mapped())

    def await_birth(self) -> None:
        """Take what the process says when its set-up is done; to be called when `control` is readable."""
        message, descriptors = _receive_with_descriptors(self._channel, 2 + len(self._table_names))
        match message:
            case protocol.Refused(step, number, subject):
                raise Refusal(Step(step), number, f"{self.name}: {subject}" if subject else self.name)
            case protocol.Ready():
                self._hold(descriptors)
            case _:
                raise SandboxError(f"cannot set up process {self.name}: it ended before it stood")

    def _hold(self, descriptors: list[int]) -> None:
        if len(descriptors) != 2 + len(self._table_names):
            for descriptor in descriptors:
                os.close(descriptor)
            # The kernel drops what has no room, and only sets a flag.
            raise Refusal(Step.DESCRIPTORS, errno.EMFILE, self.name)
        self.tun_fd = descriptors[0]
        self._last_will = LastWill(descriptors[1])
        self._tables = dict(zip(self._table_names, descriptors[2:], strict=True))

    def start(self) -> None:
        """Let the command run."""
        self._tell(protocol.Start())

    def signal(self, number: int) -> None:
        """Send a signal to the command's process group, and wake the group if it is stopped."""
        self._tell(protocol.Deliver(number))

    def finish(self) -> None:
        """Send the kill signal; what is left after the grace gets SIGKILL, and Gone follows in any case."""
        self._tell(protocol.Finish())

    def kill(self) -> None:
        """SIGKILL to everything in the process's PID namespace."""
        if not self._is_gone:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)

    def read_messages(self) -> list[Event]:
        """What has happened since the last call; never waits for the process."""
        events: list[Event] = []
        while not self._is_gone:
            try:
                message = protocol.receive(self._channel)
            except BlockingIOError:
                break
            match message:
                case None:
                    self._reap()
                    events.append(Gone())
                case protocol.Exited(status):
                    events.append(_exited(status))
                case protocol.CommandFailed(number, text):
                    events.append(CommandFailed(number, text))
                case protocol.Refused(_, _, subject):
                    raise SandboxError(f"cannot go on with process {self.name}: {subject}")
        return events

    def listening(self) -> set[tuple[tables.Address, int]]:
        """Addresses and ports on which something in the namespace listens (TCP)."""
        found: set[tuple[tables.Address, int]] = set()
        for name in ("/proc/net/tcp", "/proc/net/tcp6"):
            if name in self._tables:
                found |= tables.parse_listening(_read_listeners(self._tables[name]))
        return found

    def receiving(self) -> set[tuple[tables.Address, int]]:
        """Addresses and ports on which something in the namespace takes datagrams (UDP)."""
        found: set[tuple[tables.Address, int]] = set()
        for name in ("/proc/net/udp", "/proc/net/udp6"):
            if name in self._tables:
                found |= tables.parse_receiving(_read_table(self._tables[name]))
        return found

    def unix_listeners(self) -> set[str]:
        """Names of the listening UNIX sockets of the namespace; `@` begins an abstract one."""
        return tables.parse_unix_listeners(_read_table(self._tables["/proc/net/unix"]))

    def tx_dropped(self) -> int:
        """Packets that the process's TUN lost because its transmit queue was full."""
        return tables.parse_tx_dropped(_read_table(self._tables["/proc/net/dev"]), tun.NAME)

    def close(self) -> None:
        """Kill what is left, wait for its end, and let the namespace's network go."""
        self.kill()
        if not self._is_gone:
            self._reap()
        if self._last_will is not None:
            self._last_will.execute()
            os.close(self._last_will.descriptor)
            self._last_will = None
        for descriptor in (self.tun_fd, *self._tables.values()):
            if descriptor >= 0:
                os.close(descriptor)
        self.tun_fd = -1
        self._tables.clear()
        self._channel.close()

    def _tell(self, message: protocol.Message) -> None:
        # A process that is gone needs no telling; read_messages() reports it.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            protocol.send(self._channel, message)

    def _reap(self) -> None:
        """PID 1 has closed its end: it is on its last steps, or the kernel ends the rest of its namespace."""
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self.pid, 0)
        self._is_gone = True


def _exited(status: int) -> ProcessExited:
    if os.WIFSIGNALED(status):
        return ProcessExited(None, os.WTERMSIG(status))
    return ProcessExited(os.WEXITSTATUS(status), None)


def _receive_with_descriptors(channel: socket.socket, most: int) -> tuple[protocol.Message | None, list[int]]:
    descriptors = array.array("i")
    space = socket.CMSG_LEN(most * descriptors.itemsize)
    try:
        data, ancillary, _, _ = channel.recvmsg(_LARGEST, space, socket.MSG_CMSG_CLOEXEC)
    except ConnectionResetError:
        # The other end went with something of ours unread.
        return None, []
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    return (protocol.parse_message(data) if data else None), list(descriptors)


def _read_table(descriptor: int) -> str:
    return b"".join(_pieces(descriptor)).decode("utf-8", "replace")


def _read_listeners(descriptor: int) -> str:
    """The beginning of a TCP table: listeners stand before connections, of which there may be thousands."""
    text = ""
    for piece in _pieces(descriptor):
        text += piece.decode("ascii")
        if not tables.may_list_more(text):
            break
    return text


def _pieces(descriptor: int) -> Iterator[bytes]:
    offset = 0
    while piece := os.pread(descriptor, _LARGEST, offset):
        yield piece
        offset += len(piece)
