"""From a fork of PID 1 to the user's command: everything as if a shell had started it, then exec."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from netplayground.sandbox import protocol
from netplayground.sandbox.agent import become_agent
from netplayground.sandbox.identity import Identity
from netplayground.sandbox.inheritance import Inheritance

SHELL = "/bin/sh"
_CANNOT_RUN = 126


@dataclass(frozen=True, slots=True)
class Streams:
    """Descriptors that a command has as its stdout and stderr, in place of plg's own. Whoever opened them
    closes them. With a `channel` it is no command, but the agent of a seat (agent.py)."""

    stdout: int
    stderr: int
    channel: int | None = None

    @property
    def descriptors(self) -> tuple[int, ...]:
        """All of them."""
        own = () if self.channel is None else (self.channel,)
        return (self.stdout, self.stderr, *own)


@dataclass(frozen=True, slots=True)
class CommandPlan:
    """How one command runs."""

    command: str
    environment: Mapping[str, str]
    identity: Identity
    inheritance: Inheritance
    inherits_stdin: bool
    takes_terminal: bool
    streams: Streams | None = None


def run_command(plan: CommandPlan, channel: socket.socket) -> NoReturn:
    """Become the command, or tell plg why that cannot be."""
    try:
        os.setpgid(0, 0)
        if plan.takes_terminal:
            _take_terminal()
        if not plan.inherits_stdin:
            _close_stdin()
        if plan.streams is not None:
            os.dup2(plan.streams.stdout, 1)
            os.dup2(plan.streams.stderr, 2)
        plan.inheritance.restore()
        plan.identity.assume()
        if plan.streams is not None and plan.streams.channel is not None:
            become_agent(plan.streams.channel, plan.environment, plan.inheritance)
        os.execve(SHELL, ["sh", "-c", plan.command], plan.environment)
    except OSError as error:
        text = f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
        protocol.send(channel, protocol.CommandFailed(error.errno or 0, text))
    finally:
        os._exit(_CANNOT_RUN)


def _take_terminal() -> None:
    """Become the terminal's foreground; the terminal stops whoever asks for that from the background."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    os.tcsetpgrp(0, os.getpgrp())


def _close_stdin() -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0, inheritable=True)
    if nothing != 0:
        os.close(nothing)
