"""PID 1 of a process's namespaces: starts the command, passes signals on, reaps, takes everything with it.

States: waiting (for Start) → running → ending → gone. The command's end, or the word Finish, starts the
ending: the kill signal to whatever is left, a grace, SIGKILL. When no child is left, PID 1 ends. It ends at
once, and the kernel kills everything in its namespace, when plg is gone.

The kernel spares PID 1 every signal from inside for which it has no handler; it has two that do nothing but
wake it: for SIGCHLD, and for the signal by which the kernel tells of plg's death.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from dataclasses import dataclass
from typing import NoReturn

from netplayground.sandbox import kernel, protocol
from netplayground.sandbox.command import CommandPlan, run_command
from netplayground.sandbox.last_will import LastWill

_AFTER_SIGKILL_S = 2.0
_LONGEST_WAIT_S = 1e6  # poll(2) takes milliseconds in an int
_PLG_IS_GONE = (
    signal.SIGPWR
)  # any signal that nobody uses to end programs: a fork of PID 1 has the handler too


@dataclass(frozen=True, slots=True)
class Ending:
    """How what is left of a process is ended."""

    kill_signal: int
    grace_s: float


class FirstProcess:
    """The loop of PID 1."""

    def __init__(
        self, channel: socket.socket, command: CommandPlan, ending: Ending, last_will: LastWill
    ) -> None:
        self._channel = channel
        self._last_will = last_will
        self._command = command
        self._ending = ending
        self._leader = 0
        self._leader_lives = False
        self._deadline: float | None = None
        self._killing = False
        self._wakeup = _wake_on(signal.SIGCHLD, _PLG_IS_GONE)

    def run(self) -> NoReturn:
        """Serve until nothing is left, or plg is gone."""
        # From now on the channel's end of file is heeded, and there is a last will to execute: not SIGKILL.
        kernel.die_with_parent(_PLG_IS_GONE)
        poller = select.poll()
        poller.register(self._channel, select.POLLIN)
        poller.register(self._wakeup, select.POLLIN)
        while True:
            for descriptor, _ in poller.poll(self._milliseconds_left()):
                if descriptor == self._wakeup:
                    _drain(self._wakeup)
                else:
                    self._obey(protocol.receive(self._channel))
            self._reap()
            if self._deadline is not None and time.monotonic() >= self._deadline:
                self._escalate()

    def _milliseconds_left(self) -> int | None:
        if self._deadline is None:
            return None
        return max(0, int(min(self._deadline - time.monotonic(), _LONGEST_WAIT_S) * 1000) + 1)

    def _obey(self, message: protocol.Message | None) -> None:
        match message:
            case None:
                self._last_will.execute()
                os._exit(1)
            case protocol.Start():
                self._start()
            case protocol.Deliver(number):
                self._signal_group(number)
            case protocol.Finish():
                self._finish()

    def _start(self) -> None:
        try:
            self._leader = os.fork()
        except OSError as error:
            protocol.send(self._channel, protocol.CommandFailed(error.errno or 0, str(error.strerror)))
            os._exit(1)
        if self._leader == 0:
            run_command(self._command, self._channel)
        self._leader_lives = True
        # Here too, so that a signal that comes before the child has got so far finds the group. The child may
        # have got further, even to its exec or its end.
        with contextlib.suppress(PermissionError, ProcessLookupError):
            os.setpgid(self._leader, self._leader)
        # The group has no parent in its session from now on: the kernel drops a stop typed at the terminal,
        # which nobody would ever undo.
        os.setsid()

    def _signal_group(self, number: int) -> None:
        if not self._leader_lives:
            return
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._leader, number)
            if number not in (signal.SIGSTOP, signal.SIGTSTP):
                os.killpg(self._leader, signal.SIGCONT)

    def _finish(self) -> None:
        if not self._leader:
            os._exit(0)
        if self._deadline is None:
            self._signal_group(self._ending.kill_signal)
            self._deadline = time.monotonic() + self._ending.grace_s

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                if self._leader:
                    os._exit(0)
                return
            if pid == 0:
                return
            if pid == self._leader and self._leader_lives:
                self._leader_ended(status)

    def _leader_ended(self, status: int) -> None:
        self._leader_lives = False
        protocol.send(self._channel, protocol.Exited(status))
        if self._deadline is None:
            self._signal_all(self._ending.kill_signal)
            self._signal_all(signal.SIGCONT)
            self._deadline = time.monotonic() + self._ending.grace_s
        else:
            self._signal_all_outside_group()

    def _escalate(self) -> None:
        """The grace is over; and when SIGKILL did not help either, the kernel's own clean-up must."""
        if self._killing:
            os._exit(0)
        self._killing = True
        self._deadline = time.monotonic() + _AFTER_SIGKILL_S
        self._signal_all(signal.SIGKILL)

    def _signal_all_outside_group(self) -> None:
        """Those that Finish did not reach: on a second kill signal many a program skips its clean end."""
        for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
            with contextlib.suppress(ProcessLookupError):
                if pid != os.getpid() and os.getpgid(pid) != self._leader:
                    os.kill(pid, self._ending.kill_signal)
                    os.kill(pid, signal.SIGCONT)

    @staticmethod
    def _signal_all(number: int) -> None:
        """Everything in the namespace but PID 1 itself."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(-1, number)


def _wake_on(*numbers: int) -> int:
    """A descriptor that becomes readable when one of these signals comes."""
    readable, writable = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(writable, warn_on_full_buffer=False)
    for number in numbers:
        signal.signal(number, lambda number, frame: None)
    return readable


def _drain(descriptor: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(descriptor, 512):
            pass
