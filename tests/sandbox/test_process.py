from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from netplayground.errors import SandboxError
from netplayground.sandbox import protocol
from netplayground.sandbox.process import (
    CommandFailed,
    Gone,
    ProcessExited,
    ProcessSpec,
    SandboxedProcess,
)
from netplayground.sandbox.refusals import Refusal, Step

TABLES = ("/proc/net/tcp",)


class FirstProcessTwin:
    """The other end of a process's socket, played by the test; its PID is a child that has ended."""

    def __init__(self) -> None:
        here, self.channel = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        # Until it has ended it has the other end open too.
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
        spec = ProcessSpec("p1", 1, "true", IPv4Address("10.0.0.1"))
        self.process = SandboxedProcess(spec, here, pid, TABLES)


@pytest.fixture
def twin() -> Iterator[FirstProcessTwin]:
    twin = FirstProcessTwin()
    yield twin
    twin.channel.close()
    twin.process.close()


def test_nothing_said_is_no_event(twin: FirstProcessTwin) -> None:
    assert twin.process.read_messages() == []


def test_exit_and_end_come_in_order(twin: FirstProcessTwin) -> None:
    protocol.send(twin.channel, protocol.Exited(3 << 8))
    assert twin.process.read_messages() == [ProcessExited(3, None)]
    twin.channel.close()
    assert twin.process.read_messages() == [Gone()]
    assert twin.process.read_messages() == []


def test_a_signal_is_told_from_a_code(twin: FirstProcessTwin) -> None:
    protocol.send(twin.channel, protocol.Exited(11))
    assert twin.process.read_messages() == [ProcessExited(None, 11)]


def test_a_command_that_cannot_run_is_told(twin: FirstProcessTwin) -> None:
    protocol.send(twin.channel, protocol.CommandFailed(2, "No such file or directory: /bin/sh"))
    assert twin.process.read_messages() == [CommandFailed(2, "No such file or directory: /bin/sh")]


def test_words_to_a_process_that_is_gone_are_dropped(twin: FirstProcessTwin) -> None:
    twin.channel.close()
    twin.process.signal(15)
    twin.process.finish()
    assert twin.process.read_messages() == [Gone()]


def test_a_refusal_names_the_process(twin: FirstProcessTwin) -> None:
    protocol.send(twin.channel, protocol.Refused(Step.PROC.value, errno.EPERM, "/proc"))
    with pytest.raises(Refusal) as caught:
        twin.process.await_birth()
    assert (caught.value.step, caught.value.number, caught.value.subject) == (Step.PROC, 1, "p1: /proc")


def test_a_pid_1_in_trouble_is_an_error(twin: FirstProcessTwin) -> None:
    protocol.send(twin.channel, protocol.Refused(Step.UNKNOWN.value, 0, "MemoryError()"))
    with pytest.raises(SandboxError, match=r"p1: MemoryError\(\)"):
        twin.process.read_messages()


def test_an_early_end_is_an_error(twin: FirstProcessTwin) -> None:
    twin.channel.close()
    with pytest.raises(SandboxError, match="p1"):
        twin.process.await_birth()


def test_an_early_end_with_words_unread_is_an_error(twin: FirstProcessTwin) -> None:
    twin.process.start()
    twin.channel.close()
    with pytest.raises(SandboxError, match="p1"):
        twin.process.await_birth()


def test_descriptors_come_with_the_last_word(twin: FirstProcessTwin, tmp_path: Path) -> None:
    with (
        open("/proc/net/tcp", encoding="ascii") as table,
        open(os.devnull, encoding="ascii") as tun,
        open(tmp_path / "last will", "w", encoding="ascii") as will,
    ):
        protocol.send(twin.channel, protocol.Ready(), (tun.fileno(), will.fileno(), table.fileno()))
    twin.process.await_birth()
    assert twin.process.tun_fd >= 0
    assert not os.get_inheritable(twin.process.tun_fd)
    twin.process.listening()


def test_missing_descriptors_are_a_limit(twin: FirstProcessTwin) -> None:
    with open(os.devnull, encoding="ascii") as tun:
        protocol.send(twin.channel, protocol.Ready(), (tun.fileno(),))
    with pytest.raises(Refusal) as caught:
        twin.process.await_birth()
    assert caught.value.number == errno.EMFILE
