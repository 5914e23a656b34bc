"""Somebody who follows the README: his folder and programs, and what of his own a section's examples meet."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shlex
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from capture.wires import Net
from journey.runs import Place

from needs import needs_program, needs_root

DEADLINE_S = 60.0

_TESTS = """
import socket

def test_the_database_answers():
    with socket.create_connection(("db", 6379)) as database:
        database.sendall(b"PING\\r\\n")
        assert database.recv(100) == b"+PONG\\r\\n"
"""
_SERVER = """#!/usr/bin/env python3
import socket
listener = socket.create_server(("0.0.0.0", 5432))
while True:
    talk, _ = listener.accept()
    if talk.recv(100) == b"question":
        talk.sendall(b"answer" * 1000)
    talk.close()
"""


class Reader(Place):
    """The folder of somebody who follows the README; programs are found as after its `pip install`."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.programs = self.folder("programs")
        self.wire: Wire | None = None
        python = shlex.quote(sys.executable)
        self._program("python", f'exec {python} "$@"')
        self._program("python3", f'exec {python} "$@"')
        self._program("plg", f'exec {python} -m netplayground "$@"')
        self._program("pytest", f'exec {python} -m pytest -p no:cacheprovider {_plugin()} "$@"')
        if os.geteuid() == 0:
            self._program("sudo", 'exec "$@"')

    def _program(self, name: str, script: str) -> None:
        path = self.programs / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def environment(self) -> dict[str, str]:
        # What leads the tests that run here is nothing to the reader's own.
        kept = {
            name: value
            for name, value in super().environment().items()
            if name != "CI" and not name.startswith(("PYTEST_", "COV_"))
        }
        path = os.pathsep.join([str(self.programs), kept.get("PATH", os.defpath)])
        return {**kept, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


def _plugin() -> str:
    """Words for pytest where plg's plugin is there, but not installed: a checkout on PYTHONPATH."""
    installed = {each.value for each in importlib.metadata.entry_points(group="pytest11")}
    name = "netplayground.pytest_plugin"
    return "" if name in installed or importlib.util.find_spec(name) is None else f"-p {name}"


@dataclass
class Wire:
    """A reader's eth0; at its other end a client asks the reader's server, again and again."""

    here: Net
    there: Net

    def asked_until(self, is_over: Callable[[], bool]) -> None:
        deadline = time.monotonic() + DEADLINE_S
        while not is_over():
            assert time.monotonic() < deadline, "nothing was captured"
            with self.there.entered():
                client = socket.create_connection(("10.1.2.3", 5432), timeout=DEADLINE_S)
            with client:
                client.sendall(b"question")
                while client.recv(1 << 16):
                    pass


@contextmanager
def _wired(place: Reader) -> Iterator[None]:
    """eth0 is 10.1.2.3 and has a server at port 5432; the reader has its program."""
    needs_root()
    needs_program("ip")
    server = place.file("server", _SERVER)
    server.chmod(server.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    place.wire = wire = Wire(Net(), Net())
    other = f"/proc/{os.getpid()}/fd/{wire.there.fd}"
    wire.here.ip(*("link", "add", "eth0", "type", "veth", "peer", "name", "eth0", "netns", other))
    for net, address in ((wire.here, "10.1.2.3/24"), (wire.there, "10.1.2.4/24")):
        net.ip("address", "add", address, "dev", "eth0")
        net.ip("link", "set", "eth0", "up")
    listener = wire.here.listen("10.1.2.3", 5432)
    thread = threading.Thread(target=_serve, args=(listener,))
    thread.start()
    try:
        yield
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE_S)
        listener.close()
        wire.here.close()
        wire.there.close()


def _serve(listener: socket.socket) -> None:
    listener.settimeout(None)
    while True:
        try:
            talk, _ = listener.accept()
        except OSError:
            return
        with talk:
            if talk.recv(100) == b"question":
                talk.sendall(b"answer" * 1000)


def nothing(_reader: Reader | None = None) -> AbstractContextManager[None]:
    return nullcontext()


def _tested(place: Reader) -> AbstractContextManager[None]:
    """The reader has tests of his own that ask the database."""
    (place.path / "tests").mkdir()
    place.file("tests/test_database.py", _TESTS)
    return nothing()


PREPARED: dict[str, Callable[[Reader], AbstractContextManager[None]]] = {
    "Captures": _wired,
    "In a CI job": _tested,
}
"""By section."""
