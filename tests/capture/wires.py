"""Two network namespaces with a wire between them, to capture on; nothing of them stays.

A namespace is anonymous and lives as long as its descriptor, and the sockets and processes in it.
"""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from needs import cannot_run, needs_program, needs_root
from netplayground.sandbox import kernel

HERE, THERE = "10.77.0.1", "10.77.0.2"
HERE6, THERE6 = "fd00:77::1", "fd00:77::2"
DEADLINE_S = 60.0


class Net:
    """One network namespace; its loopback is up."""

    def __init__(self) -> None:
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            kernel.unshare(kernel.CLONE_NEWNET)
            self.fd = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            cannot_run(f"needs a network namespace of its own: {error.strerror}")
        finally:
            kernel.setns(home, kernel.CLONE_NEWNET)
            os.close(home)
        self.ip("link", "set", "lo", "up")

    def close(self) -> None:
        os.close(self.fd)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be in it: sockets made here stay in it, programs started here run in it."""
        home = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        kernel.setns(self.fd, kernel.CLONE_NEWNET)
        try:
            yield
        finally:
            kernel.setns(home, kernel.CLONE_NEWNET)
            os.close(home)

    def ip(self, *words: str) -> str:
        """Run iproute2's `ip` in it."""
        with self.entered():
            ended = subprocess.run(["ip", *words], capture_output=True, text=True, timeout=DEADLINE_S)
        assert ended.returncode == 0, (words, ended.stderr)
        return ended.stdout

    def listen(self, address: str, port: int) -> socket.socket:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with self.entered():
            listener = socket.create_server((address, port), family=family, backlog=512)
        listener.settimeout(DEADLINE_S)
        return listener

    def connect(self, address: str, port: int) -> socket.socket:
        with self.entered():
            return socket.create_connection((address, port), timeout=DEADLINE_S)

    def datagrams(self, address: str, port: int = 0) -> socket.socket:
        with self.entered():
            speaker = socket.socket(
                socket.AF_INET6 if ":" in address else socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC
            )
        speaker.bind((address, port))
        speaker.settimeout(DEADLINE_S)
        return speaker


class Wire:
    """Two namespaces, `here` and `there`, and a veth pair; its end is called `wire` in both."""

    def __init__(self) -> None:
        needs_root()
        needs_program("ip")
        self.here, self.there = Net(), Net()
        other = f"/proc/{os.getpid()}/fd/{self.there.fd}"
        self.here.ip(*("link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", other))
        ends = (self.here, (HERE, HERE6)), (self.there, (THERE, THERE6))
        for net, (v4, v6) in ends:
            # The kernel's own talk (MLD, router solicitations) would come and go as it likes.
            net.ip("link", "set", "wire", "addrgenmode", "none")
            net.ip("address", "add", f"{v4}/24", "dev", "wire")
            net.ip("address", "add", f"{v6}/64", "dev", "wire", "nodad")
        for net, _ in ends:
            net.ip("link", "set", "wire", "up")

    def close(self) -> None:
        self.here.close()
        self.there.close()

    def say(self, port: int, up: bytes, down: bytes, address: str = THERE) -> tuple[str, int]:
        """Let a client (here) say `up` and a server (there) answer `down`; give the client's end."""
        with self.there.listen(address, port) as listener, self.here.connect(address, port) as client:
            server, _ = listener.accept()
            with server:
                end: tuple[str, int] = client.getsockname()[:2]
                server.settimeout(DEADLINE_S)
                speak(client, up, server)
                speak(server, down, client)
        return end


def speak(speaker: socket.socket, data: bytes, hearer: socket.socket) -> None:
    """Say all and be heard, then say no more."""

    def say() -> None:
        speaker.sendall(data)
        speaker.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=say)
    thread.start()
    heard = 0
    while piece := hearer.recv(1 << 20):
        heard += len(piece)
    thread.join(DEADLINE_S)
    assert heard == len(data)


@contextmanager
def laid() -> Iterator[Wire]:
    """Lay a wire for one test."""
    wire = Wire()
    try:
        yield wire
    finally:
        wire.close()
