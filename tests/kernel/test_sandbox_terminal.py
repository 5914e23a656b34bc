"""A single command has plg's terminal as if it had been started there itself."""

from __future__ import annotations

import os
import pty
import select
import sys
import time
from pathlib import Path

import pytest

from needs import needs_root, needs_tun

_ROOT = Path(__file__).resolve().parent.parent.parent
_PROGRAM = """
import os, select, sys
from ipaddress import IPv4Interface
from netplayground.sandbox.playground import Sandbox
from netplayground.sandbox.process import Gone, ProcessSpec
from netplayground.sandbox.proxy import enter_proxy_namespace
specs = [ProcessSpec(f"p{n}", n, c, IPv4Interface(f"10.0.0.{n}/24")) for n, c in enumerate(sys.argv[1:], 1)]
sandbox = Sandbox(specs, enter_proxy_namespace())
sandbox.build()
for process in sandbox.processes:
    process.start()
for process in sandbox.processes:
    while Gone() not in (events := process.read_messages()):
        for event in events:
            print(event)
        select.select([process.control], [], [])
sandbox.close()
print("foreground again:", os.tcgetpgrp(0) == os.getpgrp())
"""


@pytest.fixture(autouse=True)
def real_root() -> None:
    needs_root()
    needs_tun()


class Terminal:
    """plg on a terminal of its own, at which the test types."""

    def __init__(self, *commands: str) -> None:
        os.environ["PYTHONPATH"] = str(_ROOT)
        self.pid, self.descriptor = pty.fork()
        if self.pid == 0:
            os.execv(sys.executable, [sys.executable, "-c", _PROGRAM, *commands])
        self.seen = ""

    def type(self, text: str) -> None:
        os.write(self.descriptor, text.encode())

    def await_text(self, wanted: str) -> None:
        deadline = time.monotonic() + 10
        while wanted not in self.seen:
            ready, _, _ = select.select([self.descriptor], [], [], deadline - time.monotonic())
            assert ready, f"{wanted!r} did not come: {self.seen!r}"
            self.seen += os.read(self.descriptor, 4096).decode()

    def await_end(self) -> None:
        self.await_text("foreground again: True")
        os.waitpid(self.pid, 0)
        os.close(self.descriptor)


def test_the_only_command_reads_the_terminal() -> None:
    terminal = Terminal("read line; echo got $line")
    terminal.type("hello\n")
    terminal.await_text("got hello")
    terminal.await_end()


def test_interrupt_key_goes_to_the_command() -> None:
    terminal = Terminal("trap 'echo interrupted; exit 3' INT; echo up; while :; do sleep 0.01; done")
    terminal.await_text("up\r\n")
    terminal.type("\x03")
    terminal.await_text("interrupted")
    terminal.await_text("ProcessExited(code=3")
    terminal.await_end()


def test_stop_key_does_not_freeze_the_run() -> None:
    terminal = Terminal("echo up; read line; echo got $line")
    terminal.await_text("up\r\n")
    terminal.type("\x1a")
    terminal.type("still here\n")
    terminal.await_text("got still here")
    terminal.await_end()


def test_interactive_shell_controls_jobs() -> None:
    terminal = Terminal("exec bash --norc --noprofile -i")
    terminal.type("sleep 77 &\n")
    terminal.type("kill %1; wait %1; echo status $((100 + $?)); exit\n")
    terminal.await_text("status 243")
    terminal.await_end()


def test_several_commands_do_not_touch_the_terminal() -> None:
    terminal = Terminal("cat; echo first is done", "true")
    terminal.await_text("first is done")
    terminal.await_end()
