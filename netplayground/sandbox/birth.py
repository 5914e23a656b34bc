"""From a fork of plg to PID 1 of a process's own namespaces.

The child is born into a user namespace of its own and into network, mount, UTS and PID namespaces that this
one owns. It may not write its id maps: plg does, and says so. Then PID 1 sets everything up with all the
power that it has in its own namespaces, hands plg the descriptors, and gives that power up.

None of this runs an exec: whoever is here is a copy of plg that must close what is not its own, restore
signals, and leave with os._exit, so that nothing of plg's runs twice. Every page that it touches is copied:
what can be computed before the fork, is.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from netplayground.sandbox import files, kernel, network, powers, protocol, tun, tuning
from netplayground.sandbox.command import CommandPlan
from netplayground.sandbox.last_will import LastWill
from netplayground.sandbox.pid1 import Ending, FirstProcess
from netplayground.sandbox.refusals import Refusal, Step, attempting

# Read through descriptors that plg holds, so that it never has to enter the namespace.
TABLES: Final = (
    "/proc/net/tcp",
    "/proc/net/tcp6",
    "/proc/net/udp",
    "/proc/net/udp6",
    "/proc/net/unix",
    "/proc/net/dev",
)
_NAMESPACES = (
    kernel.CLONE_NEWUSER
    | kernel.CLONE_NEWNET
    | kernel.CLONE_NEWNS
    | kernel.CLONE_NEWUTS
    | kernel.CLONE_NEWPID
)


@dataclass(frozen=True, slots=True)
class CommonPlan:
    """What is the same for every process of a run."""

    mtu: int
    queue: int
    tun_index: int
    settings: Mapping[str, str]
    view: files.FileView
    environment: Mapping[str, str]
    tables: tuple[str, ...]
    handled_signals: frozenset[int]
    last_capability: int
    ending: Ending


@dataclass(frozen=True, slots=True)
class BirthPlan:
    """All that a new process needs to know: what it shares with the others, then what is its own."""

    common: CommonPlan
    hostname: str | None
    addresses: tuple[network.Interface, ...]
    requests: network.Batch
    command: CommandPlan


def fork_child(plan: BirthPlan, channel: socket.socket) -> int:
    """Fork PID 1 of new namespaces and return its pid; signals must be blocked while this runs."""
    with attempting(Step.NAMESPACES):
        pid = kernel.fork_into(_NAMESPACES)
    if pid == 0:
        _live(plan, channel)
    return pid


def _live(plan: BirthPlan, channel: socket.socket) -> NoReturn:
    try:
        gc.disable()
        _leave_parent_behind(plan, channel)
        # Should plg be dead already, the channel says so.
        kernel.die_with_parent(signal.SIGKILL)
        _expect(channel, protocol.Mapped)
        last_will = LastWill()
        _set_up(plan, channel, last_will)
        FirstProcess(channel, plan.command, plan.common.ending, last_will).run()
    except BrokenPipeError:
        pass
    except Refusal as refusal:
        _report(channel, refusal)
    except BaseException as error:
        _report(channel, Refusal(Step.UNKNOWN, 0, repr(error)))
    finally:
        os._exit(1)


def _report(channel: socket.socket, refusal: Refusal) -> None:
    try:
        protocol.send(channel, protocol.Refused(refusal.step.value, refusal.number, refusal.subject))
    except OSError:
        # plg is gone, or this process has no descriptor or memory left to speak with: its end says enough.
        os._exit(1)


def _leave_parent_behind(plan: BirthPlan, channel: socket.socket) -> None:
    """Signals back to default, and no descriptor of plg's: one kept would keep alive what it leads to."""
    signal.set_wakeup_fd(-1)
    for number in plan.common.handled_signals:
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    streams = plan.command.streams
    own = () if streams is None else streams.descriptors
    kernel.close_all_but({0, 1, 2, channel.fileno(), *own, *plan.command.inheritance.descriptors})
    channel.setblocking(True)


def _set_up(plan: BirthPlan, channel: socket.socket, last_will: LastWill) -> None:
    common = plan.common
    files.arrange(common.view)
    if plan.hostname is not None:
        with attempting(Step.HOSTNAME):
            socket.sethostname(plan.hostname)
    with attempting(Step.SETTINGS):
        tuning.apply(common.settings)
    with attempting(Step.TUN):
        descriptor = tun.open_tun()
    with attempting(Step.LINKS):
        network.apply(_requests(plan))
    held = (descriptor, last_will.descriptor, *_open_tables(common.tables))
    with attempting(Step.POWER):
        powers.limit_power(common.last_capability)
        kernel.make_undumpable()
    protocol.send(channel, protocol.Ready(), held)
    for descriptor in {*held} - {last_will.descriptor}:
        os.close(descriptor)


def _requests(plan: BirthPlan) -> network.Batch:
    """The messages made before the fork, unless the device got another index than in the proxy namespace."""
    index = socket.if_nametoindex(tun.NAME)
    if index == plan.common.tun_index:
        return plan.requests
    return network.process_requests(index, plan.common.mtu, plan.common.queue, plan.addresses)


def _open_tables(paths: Iterable[str]) -> list[int]:
    with attempting(Step.TABLES):
        return [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths]


def _expect(channel: socket.socket, kind: type[protocol.Message]) -> None:
    message = protocol.receive(channel)
    if message is None:
        os._exit(1)
    assert isinstance(message, kind), message
