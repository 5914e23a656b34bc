"""One process of a playground, seen from plg: a socket to its PID 1 and descriptors into its namespace.

States: coming (its child and PID 1 report each step) → standing (its descriptors are here) → gone. close() ends it
in any of them.
"""

from __future__ import annotations

import array
import contextlib
import os
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from netplayground.errors import LimitError, SandboxError
from netplayground.sandbox import control, tables, tun
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
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProcessExited:
    """The command's own process has ended, by itself (`code`) or by a signal; the rest of it may still live."""

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

    def __init__(self, spec: ProcessSpec, channel: socket.socket, child: int, table_names: Sequence[str]) -> None:
        self.name = spec.name
        self.position = spec.position
        self._table_names = table_names
        self.tun_fd = -1
        self._channel = channel
        self._tables: dict[str, int] = {}
        self._child = child
        self._pid = 0
        self._is_gone = False
        channel.setblocking(False)

    @property
    def control(self) -> int:
        """The descriptor that becomes readable when read_messages() has something."""
        return self._channel.fileno()

    @property
    def pid(self) -> int:
        """PID 1 of the process's namespace, as plg's namespace numbers it."""
        return self._pid

    def attend_birth(self, id_maps: IdMaps) -> bool:
        """Serve one message of the set-up; True when the process stands."""
        message, descriptors = _receive_with_descriptors(self._channel, 1 + len(self._table_names))
        match message:
            case control.Unshared():
                self._write_maps(id_maps)
                self._tell(control.Mapped())
            case control.Born(pid):
                self._pid = pid
                self._reap_child()
                self._tell(control.Adopted())
            case control.Refused(step, number, subject):
                raise Refusal(Step(step), number, f"{self.name}: {subject}" if subject else self.name)
            case control.Ready():
                self._hold(descriptors)
                return True
            case None:
                raise SandboxError(f"cannot set up process {self.name}: it ended before it stood")
        return False

    def _write_maps(self, id_maps: IdMaps) -> None:
        with attempting(Step.ID_MAPS):
            write_once(f"/proc/{self._child}/uid_map", id_maps.uids)
            write_once(f"/proc/{self._child}/gid_map", id_maps.gids)

    def _hold(self, descriptors: list[int]) -> None:
        if len(descriptors) != 1 + len(self._table_names):
            for descriptor in descriptors:
                os.close(descriptor)
            raise LimitError(
                f"cannot hold the descriptors of process {self.name}: the limit on open files is reached; "
                "raise it with ulimit -n"
            )
        self.tun_fd = descriptors[0]
        self._tables = dict(zip(self._table_names, descriptors[1:], strict=True))

    def start(self) -> None:
        """Let the command run."""
        self._tell(control.Start())

    def signal(self, number: int) -> None:
        """Send a signal to the command's process group, and wake the group if it is stopped."""
        self._tell(control.Deliver(number))

    def finish(self) -> None:
        """Send the kill signal; what is left after the grace gets SIGKILL, and Gone follows in any case."""
        self._tell(control.Finish())

    def kill(self) -> None:
        """SIGKILL to everything in the process's PID namespace."""
        if self._pid and not self._is_gone:
            os.kill(self._pid, signal.SIGKILL)

    def read_messages(self) -> list[Event]:
        """What has happened since the last call; never waits for the process."""
        events: list[Event] = []
        while not self._is_gone:
            try:
                message = control.receive(self._channel)
            except BlockingIOError:
                break
            match message:
                case None:
                    self._reap()
                    events.append(Gone())
                case control.Exited(status):
                    events.append(_exited(status))
                case control.CommandFailed(number, text):
                    events.append(CommandFailed(number, text))
        return events

    def listening(self) -> set[tuple[tables.Address, int]]:
        """Addresses and ports on which something in the namespace listens (TCP)."""
        found: set[tuple[tables.Address, int]] = set()
        for name in ("/proc/net/tcp", "/proc/net/tcp6"):
            if name in self._tables:
                found |= tables.parse_listening(_read_listeners(self._tables[name]))
        return found

    def unix_listeners(self) -> set[str]:
        """Names of the UNIX sockets on which something in the namespace listens; `@` begins an abstract one."""
        return tables.parse_unix_listeners(_read_table(self._tables["/proc/net/unix"]))

    def tx_dropped(self) -> int:
        """Packets that the process's TUN lost because its transmit queue was full."""
        return tables.parse_tx_dropped(_read_table(self._tables["/proc/net/dev"]), tun.NAME)

    def close(self) -> None:
        """Kill what is left, wait for its end, and let the namespace's network go."""
        self.abandon()
        self._await_end()
        for descriptor in (self.tun_fd, *self._tables.values()):
            if descriptor >= 0:
                os.close(descriptor)
        self.tun_fd = -1
        self._tables.clear()
        self._channel.close()

    def _tell(self, message: control.Message) -> None:
        # A process that is gone needs no telling; read_messages() reports it.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            control.send(self._channel, message)

    def abandon(self) -> None:
        """Tell whoever is at the other end that this is the end, without waiting."""
        if self._is_gone or self._channel.fileno() < 0:
            return
        self.kill()
        with contextlib.suppress(OSError):
            self._channel.shutdown(socket.SHUT_WR)

    def _await_end(self) -> None:
        """Everything that is told after the end was told is forgotten, but for a PID 1 that was on its way."""
        if self._is_gone or self._channel.fileno() < 0:
            return
        self._channel.setblocking(True)
        while (message := control.receive(self._channel)) is not None:
            if isinstance(message, control.Born):
                self._pid = message.pid
        self._reap()

    def _reap(self) -> None:
        self._is_gone = True
        self._reap_child()
        if self._pid:
            _wait_for(self._pid)

    def _reap_child(self) -> None:
        if self._child:
            _wait_for(self._child)
            self._child = 0


def _exited(status: int) -> ProcessExited:
    if os.WIFSIGNALED(status):
        return ProcessExited(None, os.WTERMSIG(status))
    return ProcessExited(os.WEXITSTATUS(status), None)


def _wait_for(pid: int) -> None:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _receive_with_descriptors(channel: socket.socket, most: int) -> tuple[control.Message | None, list[int]]:
    descriptors = array.array("i")
    space = socket.CMSG_LEN(most * descriptors.itemsize)
    data, ancillary, _, _ = channel.recvmsg(_LARGEST, space, socket.MSG_CMSG_CLOEXEC)
    for level, kind, content in ancillary:
        if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
            descriptors.frombytes(content[: len(content) - len(content) % descriptors.itemsize])
    return (control.parse_message(data) if data else None), list(descriptors)


def _read_table(descriptor: int) -> str:
    return b"".join(_pieces(descriptor)).decode("utf-8", "replace")


def _read_listeners(descriptor: int) -> str:
    """The beginning of a TCP table: its listeners stand before its connections, of which there may be thousands."""
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
