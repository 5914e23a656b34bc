"""From a fork of plg to PID 1 of a process's own namespaces.

    plg ── fork ── child: a user namespace of its own; plg writes its id maps, which it may not do itself
                     └─ then network, mount, UTS and PID namespaces, which the user namespace owns ─ fork ── PID 1

The child ends as soon as PID 1 exists. plg, a subreaper, inherits PID 1 and says so; only then PID 1 ties its life
to plg's, for the kernel would take the child's end for the end of the parent. PID 1 sets everything up with all the
power that it has in its own namespaces, hands plg the descriptors, and gives that power up.

None of this runs an exec: whoever is here is a copy of plg that must close what is not its own, restore signals,
and leave with os._exit, so that nothing of plg's runs twice.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, NoReturn

from netplayground.sandbox import control, files, kernel, network, powers, tun, tuning
from netplayground.sandbox.command import CommandPlan
from netplayground.sandbox.pid1 import Ending, FirstProcess
from netplayground.sandbox.refusals import Refusal, Step, attempting

# Read through descriptors that plg holds, so that it never has to enter the namespace.
TABLES: Final = ("/proc/net/tcp", "/proc/net/tcp6", "/proc/net/unix", "/proc/net/dev")
_OWNED = kernel.CLONE_NEWNET | kernel.CLONE_NEWNS | kernel.CLONE_NEWUTS | kernel.CLONE_NEWPID


@dataclass(frozen=True, slots=True)
class CommonPlan:
    """What is the same for every process of a run."""

    mtu: int
    queue: int
    settings: Mapping[str, str]
    view: files.FileView
    tables: tuple[str, ...]
    last_capability: int
    ending: Ending


@dataclass(frozen=True, slots=True)
class BirthPlan:
    """All that a new process needs to know: what it shares with the others, then what is its own."""

    common: CommonPlan
    hostname: str | None
    addresses: tuple[network.Interface, ...]
    command: CommandPlan


def fork_child(plan: BirthPlan, channel: socket.socket) -> int:
    """Fork the child that makes the namespaces, and return its pid; signals must be blocked while this runs."""
    pid = os.fork()
    if pid == 0:
        _live(plan, channel)
    return pid


def _live(plan: BirthPlan, channel: socket.socket) -> NoReturn:
    try:
        gc.disable()
        _leave_parent_behind(plan, channel)
        _make_namespaces(channel)
        _set_up(plan, channel)
        FirstProcess(channel, plan.command, plan.common.ending).run()
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
        control.send(channel, control.Refused(refusal.step.value, refusal.number, refusal.subject))
    except OSError:
        # plg is gone, or this process has no descriptor or memory left to speak with: its end says enough.
        os._exit(1)


def _leave_parent_behind(plan: BirthPlan, channel: socket.socket) -> None:
    """Signals back to default, and no descriptor of plg's: a forgotten one would keep alive what it leads to."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    kernel.close_all_but({0, 1, 2, channel.fileno(), *plan.command.inheritance.descriptors})
    channel.setblocking(True)


def _make_namespaces(channel: socket.socket) -> None:
    """Return in PID 1; the process that was called ends here."""
    with attempting(Step.USER_NAMESPACE):
        kernel.unshare(kernel.CLONE_NEWUSER)
    control.send(channel, control.Unshared())
    _expect(channel, control.Mapped)
    with attempting(Step.NAMESPACES):
        kernel.unshare(_OWNED)
    with attempting(Step.FORK):
        pid = os.fork()
    if pid:
        control.send(channel, control.Born(pid))
        os._exit(0)


def _set_up(plan: BirthPlan, channel: socket.socket) -> None:
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
        index = socket.if_nametoindex(tun.NAME)
        network.apply(network.process_requests(index, common.mtu, common.queue, plan.addresses))
    held = (descriptor, *_open_tables(common.tables))
    with attempting(Step.POWER):
        powers.limit_power(common.last_capability)
        kernel.make_undumpable()
    _expect(channel, control.Adopted)
    kernel.die_with_parent(signal.SIGKILL)
    control.send(channel, control.Ready(), held)
    for descriptor in held:
        os.close(descriptor)


def _open_tables(paths: Iterable[str]) -> list[int]:
    with attempting(Step.TABLES):
        return [os.open(path, os.O_RDONLY | os.O_CLOEXEC) for path in paths]


def _expect(channel: socket.socket, kind: type[control.Message]) -> None:
    message = control.receive(channel)
    if message is None:
        os._exit(1)
    assert isinstance(message, kind), message
